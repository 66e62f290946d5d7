"""What squeue printed, read."""

import re

import pytest
from hypothesis import given

from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.states import JobState
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.slurm import squeue
from tests.unit.captures import VERSIONS, capture, garbage

versions = pytest.mark.parametrize("version", VERSIONS)


def rows(version, title):
    return squeue.parse(capture("squeue", version, title))


@versions
@pytest.mark.parametrize(
    ("title", "word", "reason"),
    [
        ("pending", "PENDING", "BeginTime"),
        ("held", "PENDING", "JobHeldUser"),
        ("running", "RUNNING", "None"),
        ("suspended", "SUSPENDED", "None"),
        ("completed", "COMPLETED", "None"),
        ("failed", "FAILED", "NonZeroExitCode"),
        ("cancelled while running", "CANCELLED", "None"),
        ("cancelled while pending", "CANCELLED", "BeginTime"),
        ("timeout", "TIMEOUT", "TimeLimit"),
        ("requeued", "PENDING", "BeginTime"),
    ],
)
def test_a_plain_job(version, title, word, reason):
    (row,) = rows(version, title)
    assert (row.word, row.state, row.reason) == (word, JobState(word), reason)
    assert str(row.task) == str(row.task.job_id)
    assert row.submitted > 1_700_000_000


@versions
def test_a_running_job_has_an_elapsed_time(version):
    (row,) = rows(version, "running")
    assert re.fullmatch(r"0:0\d", row.elapsed)


@versions
def test_a_pending_array_is_one_line_for_all_its_tasks(version):
    found = rows(version, "array, pending")
    assert [row.task.index for row in found] == [0, 1, 2, 3, 4]
    assert {row.word for row in found} == {"PENDING"}


@versions
def test_an_array_that_runs_has_a_line_for_each_task(version):
    words = {row.task.index: row.word for row in rows(version, "array, partly run")}
    assert words == {0: "COMPLETED", 1: "FAILED", 2: "COMPLETED", 3: "RUNNING", 4: "RUNNING"}


@versions
def test_an_array_of_one_that_waits(version):
    assert [row.task.index for row in rows(version, "array of one, pending")] == [5]


@versions
def test_a_long_index_list_is_whole(version):
    found = rows(version, "array, many indices")
    assert [row.task.index for row in found][:6] == [1, 3, 7, 8, 9, 20]
    assert len(found) == 57


@versions
def test_a_cut_off_index_list_is_left_out(version):
    assert rows(version, "array, many indices, cut off") == []


@versions
@pytest.mark.parametrize(
    ("title", "word"), [("het, running", "RUNNING"), ("het, ended", "CANCELLED")]
)
def test_a_het_job_has_a_line_for_each_component(version, title, word):
    found = rows(version, title)
    (job_id,) = {row.task.job_id for row in found}
    assert [row.task for row in found] == [TaskId(job_id, component=i) for i in (0, 1)]
    assert {row.word for row in found} == {word}


@versions
def test_jobs_with_odd_names_are_rows_like_others(version):
    assert {row.word for row in rows(version, "odd names")} == {"PENDING"}


def test_names_are_not_asked_for_because_they_can_feign_rows(asked):
    calls, _ = asked
    squeue.show([12])
    assert not any("%j" in word for word in calls[0])


@versions
def test_unknown_ids_are_left_out(version):
    assert rows(version, "unknown, two ids") == []
    assert len(rows(version, "known and unknown")) == 1


@versions
def test_several_jobs_at_once(version):
    found = rows(version, "several")
    assert len(found) == 9
    assert len({row.task for row in found}) == 9
    assert len({row.task.job_id for row in found}) == 4


def test_the_header_of_a_cluster_is_no_job():
    (row,) = squeue.parse("CLUSTER: c1\n" + capture("squeue", "22.05", "completed"))
    assert row.word == "COMPLETED"


@versions
def test_comments_are_told_by_job(version):
    comments = squeue.parse_comments(capture("squeue-comments", version, "token"))
    assert list(comments.values()).count("token-0123456789") == 1


def test_an_array_has_one_comment():
    text = "12_1|t\n12_[2-9]|t\n13+0|t\n13+1|t\n14|u\n"
    assert squeue.parse_comments(text) == {12: "t", 13: "t", 14: "u"}


@pytest.mark.faults
@given(garbage("squeue"))
def test_nothing_that_is_printed_breaks_the_parser(text):
    assert all(row.task.job_id >= 0 for row in squeue.parse(text))


@pytest.mark.faults
@given(garbage("squeue-comments"))
def test_no_comment_breaks_the_parser(text):
    assert all(job_id >= 0 for job_id in squeue.parse_comments(text))


@pytest.fixture
def asked(monkeypatch):
    """Let squeue answer from a list, and return what it was asked."""
    calls, answers = [], []

    def query(argv, timeout):
        calls.append(argv)
        answer = answers.pop(0) if answers else ""
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(squeue, "query", query)
    return calls, answers


@versions
def test_that_slurmctld_has_forgotten_a_job_is_no_failure(asked, version):
    _, answers = asked
    answers.append(QueryFailedError(capture("squeue", version, "unknown (stderr)").strip()))
    assert squeue.show([99999]) == []


def test_any_other_failure_is_one(asked):
    _, answers = asked
    answers.append(QueryFailedError("slurm_load_jobs error: Unable to contact slurm controller"))
    with pytest.raises(QueryFailedError, match="Unable to contact"):
        squeue.show([12])


def test_many_jobs_are_asked_for_at_once_in_all_states(asked):
    calls, _ = asked
    squeue.show(range(1, 501))
    (argv,) = calls
    assert argv[0] == "squeue"
    assert "--states=all" in argv
    assert f"--jobs={','.join(map(str, range(1, 501)))}" in argv
    assert not any(word.startswith("--clusters") for word in argv)


def test_very_many_jobs_are_chosen_from_all_that_there_are(asked):
    calls, answers = asked
    answers.append(
        "7_[1-2]|PENDING|1|0:00|None\n501|RUNNING|1|0:01|None\n502|RUNNING|1|0:01|None\n"
    )
    found = squeue.show(range(1, 502))
    assert [row.task.job_id for row in found] == [7, 7, 501]
    (argv,) = calls
    assert {"squeue", "--states=all", "--all"} <= set(argv)
    assert not any(word.startswith("--jobs") for word in argv)


def test_another_cluster_is_named(asked):
    calls, _ = asked
    squeue.show([12], "c1")
    assert all("--clusters=c1" in argv for argv in calls)


def test_of_nothing_nothing_is_asked(asked):
    calls, _ = asked
    assert squeue.show([]) == []
    assert calls == []


def test_jobs_that_were_started_again_are_told(monkeypatch):
    said = "CLUSTER: other\n12                  0\n13                  2\n"
    monkeypatch.setattr(squeue, "query", lambda argv, timeout: said)
    assert squeue.find_restarted([12, 13], "other") == {13}
