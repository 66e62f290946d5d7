"""The names of logs: what slurmctld shows of them, and what the node makes of them.

The rows of tests/data/logs-*.json are what a real Slurm did: the name given to
sbatch, what `scontrol show job` showed of it (of the array's common record, or
of the task's own), and the file that the task wrote.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.logs import LogName, candidates, names_by_task
from datalad_slurm.jobs.tasks import TaskId
from tests.unit.captures import VERSIONS, log_names

DIR = "/home/alice/project"
JOB = TaskId(12)
#: slurmctld shows these filled in, though the node does not fill them in, or the other way round
UNTELLABLE = {
    "22.05": {"%%j.out", "a\\%j.out", "%a%%a.out", "%5x.out", "%x-%4a.out"},
    "24.11": {"a\\%j.out", "%a%%a.out", "%b.out", "%04a.out", "%016A.out", "e%3a%2j.out"}
    | {"%x-%4a.out"},
}


def rows(version, *, tellable):
    for row in log_names(version):
        seen_as_written = row["shown"] == row["file"]
        if (row["option"] not in UNTELLABLE[version] or seen_as_written) == tellable:
            record = "of-its-own" if row["record"] in ("", row["task"].partition("_")[2]) else "all"
            yield pytest.param(row, id=f"{version}-{row['option']}-{row['task']}-{record}")


def log_of(row):
    index = int(row["record"]) if row["record"].isdigit() else -1
    return LogName(f"{DIR}/{row['shown']}", index)


def task_of(row):
    job_id, _, index = row["task"].partition("_")
    return TaskId(int(job_id), int(index or -1))


def found(row):
    """Return the log that is taken for the task's, as the first that exists."""
    paths = candidates(log_of(row), task_of(row), row["raw_id"], row["node"])
    return next((path for path in paths if path.removeprefix(f"{DIR}/") in row["files"]), None)


@pytest.mark.parametrize(
    "row", [row for version in VERSIONS for row in rows(version, tellable=True)]
)
def test_the_first_candidate_that_exists_is_the_log_of_the_task(row):
    assert found(row) == f"{DIR}/{row['file']}"


@pytest.mark.parametrize(
    "row", [row for version in VERSIONS for row in rows(version, tellable=False)]
)
def test_a_name_that_slurm_does_not_tell_is_never_taken_for_another_file(row):
    assert found(row) in (None, f"{DIR}/{row['file']}")


def first(pattern, task=JOB, raw_id=None, node="n1"):
    return candidates(LogName(pattern), task, raw_id, node)[0]


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        pytest.param("/d/slurm-12.out", "/d/slurm-12.out", id="nothing-left"),
        pytest.param("/d/%N.out", "/d/n1.out", id="host"),
        pytest.param("/d/%5N.out", "/d/n1.out", id="host-not-padded"),
        pytest.param("/d/%n.out", "/d/0.out", id="node-number"),
        pytest.param("/d/%t.out", "/d/0.out", id="task-of-the-step"),
        pytest.param("/d/%3t.out", "/d/000.out", id="task-of-the-step-padded"),
        pytest.param("/d/%s.out", "/d/batch.out", id="step"),
        pytest.param("/d/%J.out", "/d/12.out", id="job-and-step"),
        pytest.param("/d/%8j.out", "/d/00000012.out", id="padded"),
        pytest.param("/d/%1j.out", "/d/12.out", id="narrow"),
        pytest.param("/d/%%x", "/d/%x", id="percent"),
        pytest.param("/d/%%", "/d/%", id="percent-at-the-end"),
        pytest.param("/d/x%", "/d/x%", id="lone-percent"),
        pytest.param("/d/%q-%i.out", "/d/%q-%i.out", id="unknown"),
        pytest.param("/dev/null", "/dev/null", id="dev-null"),
    ],
)
def test_the_node_fills_in_what_slurmctld_leaves(pattern, path):
    assert first(pattern) == path


@pytest.mark.parametrize("width", [10, 11, 99, 99999999999999])
def test_no_number_is_padded_to_more_than_ten_digits(width):
    assert first(f"/d/%{width}j.out") == "/d/0000000012.out"


def test_a_host_named_by_a_number_is_not_padded():
    assert first("/d/%5N.out", node="042") == "/d/042.out"


def test_of_a_host_only_the_short_name_counts():
    assert first("/d/%N.out", node="n1.cluster.example.org") == "/d/n1.out"


def test_a_backslash_switches_patterns_off_and_goes():
    assert first("/d/x\\%N.out") == "/d/x%N.out"
    assert first("/d/a\\b-%N.out") == "/d/ab-%N.out"


def test_an_index_taken_from_the_common_record_is_filled_in():
    assert first("/d/12_4294967294.out", TaskId(12, 3)) == "/d/12_3.out"


def test_a_plain_job_keeps_the_number_that_stands_for_no_index():
    assert first("/d/12_4294967294.out") == "/d/12_4294967294.out"


@pytest.mark.parametrize("shown", ["%4a", "4294967294"], ids=["22.05", "24.11"])
def test_an_index_is_found_with_leading_zeros(shown):
    paths = candidates(LogName(f"/d/{shown}.out"), TaskId(12, 3), 15, "n1")
    assert "/d/0003.out" in paths


def test_the_id_of_a_task_that_slurmctld_shows_padded_is_found():
    paths = candidates(LogName("/d/00000012.out"), TaskId(12, 3), 15, "n1")
    assert "/d/00000015.out" in paths


def test_the_id_of_the_task_comes_before_the_id_of_the_array():
    # tasks whose own logs are named by their own id must not all find the one of the array's id
    paths = candidates(LogName("/d/12.out"), TaskId(12, 3), 15, "n1")
    assert paths == ["/d/15.out", "/d/12.out"]


def test_a_name_that_only_looks_like_a_pattern_is_a_candidate_as_it_is():
    # such as that of a job whose name, %x, has a percent sign
    paths = candidates(LogName("/d/p%N.out"), TaskId(12), None, "n1")
    assert paths == ["/d/pn1.out", "/d/p%N.out"]


def test_every_place_may_hold_either_id():
    paths = candidates(LogName("/12/12-12.out"), TaskId(12, 3), 15, "n1")
    expected = {f"/{a}/{b}-{c}.out" for a in (12, 15) for b in (12, 15) for c in (12, 15)}
    assert set(paths) == expected
    assert len(paths) == len(expected)


def test_an_id_inside_a_longer_number_is_none():
    assert first("/d/1234-512.out", TaskId(12, 3), 15) == "/d/1234-512.out"


def test_a_task_has_its_own_logs_where_slurmctld_told_them():
    own, others, common = LogName("/d/3", 3), LogName("/d/4", 4), LogName("/d/x")
    assert names_by_task([common, own, others])(TaskId(12, 3)) == [own]
    assert names_by_task([common, own, others])(TaskId(12, 5)) == [common]
    assert names_by_task([common])(TaskId(12)) == [common]


@pytest.mark.faults
@given(
    st.text(),
    st.integers(-1, 5000),
    st.none() | st.integers(1, 10**9),
    st.text(st.characters(exclude_characters="%\\"), max_size=5),
)
def test_any_name_has_few_candidates_and_each_once(pattern, index, raw_id, node):
    paths = candidates(LogName(pattern), TaskId(12, index), raw_id, node)
    assert 1 <= len(paths) <= 500
    assert len(set(paths)) == len(paths)
