"""What sacct printed, read."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datalad_slurm.jobs.quantities import parse_duration
from datalad_slurm.jobs.states import JobState
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.slurm import sacct
from tests.unit.captures import VERSIONS, capture, garbage

versions = pytest.mark.parametrize("version", VERSIONS)


def rows(version, title, program="sacct"):
    return sacct.parse(capture(program, version, title))


@versions
@pytest.mark.parametrize("program", ["sacct", "sacct-with-steps"])
@pytest.mark.parametrize(
    ("title", "word", "exit_code"),
    [
        ("pending", "PENDING", "0:0"),
        ("held", "PENDING", "0:0"),
        ("running", "RUNNING", "0:0"),
        ("suspended", "SUSPENDED", "0:0"),
        ("completed", "COMPLETED", "0:0"),
        ("failed", "FAILED", "3:0"),
        ("cancelled while running", "CANCELLED", "0:0"),
        ("cancelled while pending", "CANCELLED", "0:0"),
        ("timeout", "TIMEOUT", "0:0"),
        ("requeued", "PENDING", "0:0"),
    ],
)
def test_a_plain_job(version, title, program, word, exit_code):
    (row,) = rows(version, title, program)
    assert (row.word, row.state, row.exit_code) == (word, JobState(word), exit_code)
    assert row.raw_id == row.task.job_id
    assert row.cluster == "testbed"
    assert row.submitted > 1_700_000_000


@versions
def test_an_ended_job_has_all_its_times(version):
    (row,) = rows(version, "timeout")
    assert row.submitted <= row.started < row.ended
    assert row.elapsed == row.ended - row.started
    assert (row.nodes, row.partition, row.cpus) == ("n1", "main", 1)
    assert (row.time_limit, row.requested_memory) == ("00:01:00", "200M")


@versions
def test_a_time_that_has_not_come_is_not_known(version):
    (row,) = rows(version, "pending")
    assert (row.started, row.ended) == (None, None)
    (row,) = rows(version, "cancelled while pending")
    assert row.started is None
    assert row.ended is not None


@versions
def test_peak_memory_is_that_of_the_largest_step(version):
    (row,) = rows(version, "memory", "sacct-with-steps")
    assert 60 * 2**20 < row.peak_memory < 90 * 2**20
    assert row.cpu_seconds > 0
    assert rows(version, "memory")[0].peak_memory is None


@versions
def test_an_array_that_waits_is_one_row_for_all_its_tasks(version):
    assert [row.task.index for row in rows(version, "array, pending")] == [0, 1, 2, 3, 4]


@versions
def test_a_long_index_list_is_whole(version):
    assert len(rows(version, "array, many indices")) == 57


def test_accounting_that_lags_shows_some_tasks_and_not_others():
    assert [row.task.index for row in rows("22.05", "array, partly run")] == [4]


@versions
def test_an_ended_array_has_a_row_with_its_own_id_for_each_task(version):
    found = {row.task.index: row for row in rows(version, "array, ended")}
    words = [found[index].word for index in range(5)]
    assert words == ["COMPLETED", "FAILED", "COMPLETED", "CANCELLED", "CANCELLED"]
    assert found[1].exit_code == "4:0"
    assert len({row.raw_id for row in found.values()}) == 5
    # the task that ran last has the array's own id
    assert found[4].raw_id == found[4].task.job_id


@versions
def test_an_ended_het_job_has_a_row_with_its_own_id_for_each_component(version):
    first, second = rows(version, "het, ended", "sacct-with-steps")
    job_id = first.task.job_id
    assert [first.task, second.task] == [TaskId(job_id, component=i) for i in (0, 1)]
    assert [first.raw_id, second.raw_id] == [job_id, job_id + 1]
    assert first.peak_memory is not None
    assert second.peak_memory is None


def test_a_het_job_that_accounting_does_not_know_whole_is_no_component():
    assert [row.task.component for row in rows("22.05", "het, accounting lags")] == [-1]


@versions
def test_a_het_job_that_runs_has_a_row_for_each_component(version):
    assert [row.task.component for row in rows(version, "het, running")] == [0, 1]


def test_what_is_a_guess_of_the_accounting_is_not_taken_for_a_fact():
    # Until slurmctld has told of the job itself, slurmdbd makes its row up from that of a step.
    (row,) = rows("22.05", "completed, accounting lags")
    assert row.requested_memory == ""
    assert row.is_provisional


@versions
def test_jobs_with_odd_names_are_rows_like_others(version):
    found = rows(version, "odd names")
    assert all(row.word == "PENDING" for row in found)
    assert len(found) == len({row.task for row in found})


@versions
def test_unknown_ids_are_left_out(version):
    assert rows(version, "unknown") == []
    assert rows(version, "unknown, two ids") == []
    assert len(rows(version, "known and unknown")) == 1


@versions
def test_several_jobs_at_once(version):
    found = rows(version, "several")
    assert len(found) == 9
    assert len({row.task.job_id for row in found}) == 4


def test_a_job_is_found_by_its_submit_line():
    text = capture("sacct-submit-lines", "22.05", "token")
    # the token stands after a line break in an argument
    assert sacct.parse_submit_lines(text, "token-0123456789") == [183]
    assert sacct.parse_submit_lines(text, "no such token") == []


def test_an_array_is_found_once_by_its_submit_line():
    text = capture("sacct-submit-lines", "22.05", "token")
    assert sacct.parse_submit_lines(text, "--array=0-4%2") == [15]
    assert sacct.parse_submit_lines(text, "-J het") == [22]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:00:00", 0),
        ("00:00.003", 0.003),
        ("01:02", 62),
        ("01:02:03", 3723),
        ("2-00:00:01", 172801),
        ("365-00:00:00", 31536000),
        *((text, None) for text in ("", "Unknown", "INVALID", "1:x", "-5", "--1", "1-")),
        *((text, None) for text in ("nan", "inf", "1_0:00", "1:-5", "1e5", "٣")),
    ],
)
def test_a_duration_in_seconds_or_none(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.faults
@given(st.text() | st.from_regex(r"(\d{1,4}-)?\d{1,3}(:\d\d){0,3}(\.\d+)?"))
@example("9" * 400 + "-00:00:00")
@example("9" * 5000)
def test_no_text_breaks_the_parser_of_durations(text):
    seconds = parse_duration(text)
    assert seconds is None or math.isfinite(seconds)


@pytest.mark.faults
@given(garbage("sacct") | garbage("sacct-with-steps"))
@example("12_[5-3].batch" + "\x1f" * 14 + "4K\x1f\x1f")
@example("12.batch" + "\x1f" * 14 + "9" * 400 + "\x1f\x1f")
@example("12" + "\x1f" * 12 + "9" * 400 + "-00:00" + "\x1f" * 4)
def test_nothing_that_is_printed_breaks_the_parser(text):
    found = sacct.parse(text)
    assert len(found) == len({row.task for row in found})


@pytest.mark.faults
@given(garbage("sacct-submit-lines"))
def test_no_submit_line_breaks_the_parser(text):
    assert sacct.parse_submit_lines(text, "a token that is not there") == []


@given(garbage("sacct-submit-lines"))
def test_no_submission_breaks_the_parsers_of_runs(text):
    assert all(run.job_id >= 0 and run.submitted >= 0 for run in sacct.parse_runs(text))
    told = sacct.parse_submission(text, 12)
    assert told is None or len(told) == 2


def test_runs_of_an_id_with_submit_lines_that_hold_line_breaks():
    text = "12\x1f100\x1f/d\x1fsbatch --wrap a\nb\n12_3\x1f200\x1f/d\x1fsbatch c\n"
    assert sacct.parse_runs(text) == [
        sacct.Run(12, 100, "/d\x1fsbatch --wrap a\nb"),
        sacct.Run(12, 200, "/d\x1fsbatch c"),
    ]


def test_rows_of_a_later_job_of_the_same_id_are_left_out():
    def row(state, moment):
        return "\x1f".join(["12", "12", state, moment, *[""] * 12])

    text = "\n".join([row("NODE_FAIL", "100"), row("COMPLETED", "200"), row("FAILED", "300")])
    assert [found.word for found in sacct.parse(text, {12: 300})] == ["COMPLETED"]
    assert [found.word for found in sacct.parse(text)] == ["FAILED"]


@pytest.fixture
def calls(monkeypatch):
    """Return what sacct was asked; it never answers."""
    asked = []
    monkeypatch.setattr(sacct, "query", lambda argv, timeout: asked.append(argv) or "")
    return asked


def test_many_jobs_are_asked_for_at_once(calls):
    sacct.show(range(1, 1001))
    (argv,) = calls
    assert argv[0] == "sacct"
    assert "--allocations" in argv
    assert f"--jobs={','.join(map(str, range(1, 1001)))}" in argv


def test_steps_are_asked_for_only_when_wanted(calls):
    sacct.show([12], with_steps=True)
    assert "--allocations" not in calls[0]


def test_older_jobs_are_not_asked_for(calls, monkeypatch):
    monkeypatch.setattr(sacct.time, "localtime", sacct.time.gmtime)
    sacct.show([12], since=1_700_000_000)
    assert "--starttime=2023-11-14T22:03:20" in calls[0]
    sacct.show([12])
    assert not any(word.startswith("--starttime") for word in calls[1])


def test_a_token_is_looked_for_among_queued_jobs_by_name(calls):
    # sacct lists a held or dependent job only when it is named
    sacct.find_token("t", 1_700_000_000, [7, 5])
    assert [[word for word in argv if word.startswith("--jobs")] for argv in calls] == [
        [], ["--jobs=5,7"],
    ]  # fmt: skip


def test_another_cluster_is_named(calls):
    sacct.show([12], "c1")
    assert all("--clusters=c1" in argv for argv in calls)


def test_of_nothing_nothing_is_asked(calls):
    assert sacct.show([]) == []
    assert calls == []
