"""Ids, counts and sizes as squeue and sacct write them."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datalad_slurm.jobs.quantities import parse_size
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.slurm.notation import NamedTasks, parse_number, parse_task_name


def tasks(*found, step=""):
    return NamedTasks(found, step)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("12", tasks(TaskId(12))),
        ("12.batch", tasks(TaskId(12), step="batch")),
        ("12.0", tasks(TaskId(12), step="0")),
        ("12.extern", tasks(TaskId(12), step="extern")),
        ("12_3", tasks(TaskId(12, 3))),
        ("12_3.batch", tasks(TaskId(12, 3), step="batch")),
        ("12+0", tasks(TaskId(12, component=0))),
        ("12+1.batch", tasks(TaskId(12, component=1), step="batch")),
        ("12_[3]", tasks(TaskId(12, 3))),
        ("12_[3-5%2]", tasks(TaskId(12, 3), TaskId(12, 4), TaskId(12, 5))),
        ("12_[1-5:2,9]", tasks(TaskId(12, 1), TaskId(12, 3), TaskId(12, 5), TaskId(12, 9))),
    ],
)
def test_an_id_stands_for_its_tasks(text, named):
    assert parse_task_name(text) == named


@pytest.mark.parametrize(
    "text",
    [
        *("", " 12", "12 ", "x", "-1", "12_", "12_x", "12+", "12_3_4", "12_3+1", "CLUSTER: c1"),
        *("12_[", "12_[]", "12_[1,3,...]", "12_[1,3,7-9,20,60-", "12_[a]", "٣", "1" * 19),
        pytest.param("12_[5-3]", id="nothing-in-the-range"),
    ],
)
def test_what_is_no_id_stands_for_nothing(text):
    assert parse_task_name(text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("0", 0), ("12", 12), ("1795257075", 1795257075)),
        *((text, None) for text in ("", "Unknown", "None", "N/A", "-1", "1.5", "٣", "9" * 19)),
    ],
)
def test_a_number_or_none(text, number):
    assert parse_number(text) == number


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("4724K", 4724 * 2**10),
        ("200M", 200 * 2**20),
        ("1.50G", 3 * 2**29),
        ("2T", 2**41),
        ("4Gn", 2**32),
        ("200Mc", 200 * 2**20),
        *((text, None) for text in ("", "16?", "K", "1,5K", "-1K", "4 K", "Unknown", "4GB")),
    ],
)
def test_a_size_in_bytes_or_none(text, size):
    assert parse_size(text) == size


@pytest.mark.faults
@given(st.text() | st.from_regex(r"\d+(_\[?[\d,:%-]{0,8}\]?)?(\+\d+)?(\.\w+)?"))
def test_no_text_breaks_the_parser_of_ids(text):
    named = parse_task_name(text)
    assert named is None or named.tasks


@pytest.mark.faults
@given(st.text() | st.from_regex(r"\d{1,400}(\.\d{1,5})?[KMGTP]?[nc]?"))
@example("9" * 400)
@example("9" * 5000)
def test_no_text_breaks_the_parser_of_sizes(text):
    size = parse_size(text)
    assert size is None or (size >= 0 and math.isfinite(size))


@pytest.mark.faults
@given(st.text())
@example("9" * 5000)
def test_no_text_breaks_the_parser_of_numbers(text):
    number = parse_number(text)
    assert number is None or 0 <= number < 10**18
