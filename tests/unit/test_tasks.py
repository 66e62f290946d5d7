"""Ids of tasks and lists of indices, as Slurm writes them."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.tasks import (
    TaskId,
    expand_index_list,
    expand_tasks,
    fold_tasks,
    format_index_list,
)

indices = st.sets(st.integers(0, 300) | st.integers(0, 4_000_000), min_size=1).map(sorted)


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (TaskId(12), "12"),
        (TaskId(12, index=0), "12_0"),
        (TaskId(12, index=34), "12_34"),
        (TaskId(12, component=0), "12+0"),
        (TaskId(12, component=5), "12+5"),
    ],
    ids=["job", "first-task", "task", "first-component", "component"],
)
def test_a_task_is_written_as_slurm_writes_it(task, text):
    assert str(task) == text


@given(indices)
def test_an_index_list_survives_a_round_trip(numbers):
    assert list(expand_index_list(format_index_list(numbers))) == numbers


@given(indices)
def test_an_index_list_is_as_short_as_its_gaps_allow(numbers):
    gaps = sum(after - before > 1 for before, after in pairwise(numbers))
    assert format_index_list(numbers[::-1]).count(",") == gaps


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("7", [7]),
        ("0-4", [0, 1, 2, 3, 4]),
        ("1-7:2", [1, 3, 5, 7]),
        ("1-8:3", [1, 4, 7]),
        ("1-3,7,9-10", [1, 2, 3, 7, 9, 10]),
        ("0-4%2", [0, 1, 2, 3, 4]),
        ("1-7:2,9%4", [1, 3, 5, 7, 9]),
        ("3-3", [3]),
    ],
)
def test_index_lists_as_slurm_prints_them(text, numbers):
    assert list(expand_index_list(text)) == numbers


@pytest.mark.parametrize(
    "text",
    [
        *("1,3,...", "1,3...", "1,3,7-9,1...%3", "1,3,7-9,20,60-", "1,3,", "1-", "-3", "1--3"),
        *("", "a", "1;2", "1-5:0", "1,,2", "٣", "1 2", "0x3", "1-3:", "N/A", "9" * 5000),
    ],
    ids=lambda text: text[:20] or "empty",
)
def test_a_cut_off_or_broken_index_list_is_refused(text):
    with pytest.raises(ValueError):
        list(expand_index_list(text))


@pytest.mark.parametrize("text", ["0-4294967294", "1-99999999999999", "0-99999999:2"])
def test_a_huge_range_is_refused_at_once(text):
    begun = time.perf_counter()
    with pytest.raises(ValueError, match="no list of array indices"):
        list(expand_index_list(text))
    assert time.perf_counter() - begun < 0.5


@given(
    st.just([TaskId(12)])
    | indices.map(lambda found: [TaskId(12, index=index) for index in found])
    | st.integers(1, 40).map(lambda n: [TaskId(12, component=offset) for offset in range(n)])
)
def test_folded_tasks_survive_a_round_trip(tasks):
    assert expand_tasks(12, fold_tasks(tasks)) == tuple(tasks)


@pytest.mark.parametrize(
    ("tasks", "parts"),
    [
        ([TaskId(12)], []),
        ([TaskId(12, index=i) for i in (1, 2, 3, 9)], ["1-3,9"]),
        ([TaskId(12, component=i) for i in (0, 1)], ["+0", "+1"]),
    ],
    ids=["plain", "array", "het"],
)
def test_tasks_are_folded_to_few_words(tasks, parts):
    assert fold_tasks(tasks) == parts


def test_tasks_sort_by_number():
    tasks = [TaskId(12, index=i) for i in (10, 9, 2)]
    assert sorted(tasks) == tasks[::-1]
