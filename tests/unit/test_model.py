"""A job in a word, in numbers, and task by task."""

import pytest

from datalad_slurm.jobs.model import Answer, JobStatus, SlurmJob, TrackedJob
from datalad_slurm.jobs.tasks import TaskId
from tests.unit.builders import array, known, unknown


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["COMPLETED"], "COMPLETED"),
        (["COMPLETED", "COMPLETED"], "COMPLETED"),
        (["COMPLETED", "TIMEOUT"], "TIMEOUT"),
        (["TIMEOUT", "TIMEOUT"], "TIMEOUT"),
        (["TIMEOUT", "OUT_OF_MEMORY", "COMPLETED"], "FAILED"),
        (["PENDING"], "PENDING"),
        (["PENDING", "RUNNING", "PENDING"], "RUNNING"),
        (["SUSPENDED", "PENDING"], "SUSPENDED"),
        (["COMPLETED", "PENDING"], "RUNNING"),
        (["FAILED", "RUNNING"], "RUNNING"),
        (["RUNNING", "COMPLETING", "COMPLETING"], "COMPLETING"),
        (["PENDING", "PENDING", "CONFIGURING"], "PENDING"),
        (["FROBNICATED", "COMPLETED"], "FROBNICATED"),
        (["COMPLETED", ""], "UNKNOWN"),
        (["RUNNING", ""], "UNKNOWN"),
        ([], "UNKNOWN"),
    ],
    ids="+".join,
)
def test_one_word_for_all_tasks(words, word):
    assert array(*words).word == word


def test_a_job_of_which_tasks_may_be_missing_is_still_running():
    status = JobStatus((known("COMPLETED"),), is_complete=False)
    assert status.word == "RUNNING"
    assert not status.has_ended
    assert not status.is_ok


@pytest.mark.parametrize(
    ("words", "progress"),
    [
        (["RUNNING"], ""),
        (["PENDING", "PENDING"], "0/2 done, 2 pending"),
        (["COMPLETED", "RUNNING", "PENDING"], "1/3 done, 1 pending, 1 running"),
        (["COMPLETED", "TIMEOUT", "FAILED", "RUNNING"], "1/4 done, 2 failed, 1 running"),
        (["COMPLETED", "", ""], "1/3 done"),
    ],
    ids=["one-task", "waiting", "running", "failing", "unknown"],
)
def test_the_progress_of_an_array(words, progress):
    assert array(*words).progress == progress


def test_an_ending_that_may_not_last_is_no_progress():
    tasks = (
        known("COMPLETED", TaskId(12, 0)),
        unknown(TaskId(12, 1), Answer.QUERY_FAILED, "NODE_FAIL"),
    )
    assert JobStatus(tasks).progress == "1/2 done"


def test_tasks_are_described_as_the_handbook_has_them():
    status = array("COMPLETED", "COMPLETED", "TIMEOUT")
    assert status.describe() == "12_0: COMPLETED, 12_1: COMPLETED, 12_2: TIMEOUT"


def test_what_is_not_known_is_said():
    tasks = (
        unknown(),
        unknown(TaskId(13), Answer.QUERY_FAILED, "PREEMPTED"),
    )
    assert JobStatus(tasks).describe() == (
        "12: not known yet, 13: the query failed (last seen PREEMPTED)"
    )


def test_many_tasks_are_described_by_their_ranges():
    words = ["COMPLETED"] * 30
    words[4] = words[7] = "FAILED"
    assert array(*words).describe() == "12_[0-3,5-6,8-29]: COMPLETED, 12_[4,7]: FAILED"


def test_many_plain_jobs_are_described_by_their_ids():
    status = JobStatus(tuple(known("COMPLETED", TaskId(job_id)) for job_id in range(100, 130)))
    text = status.describe()
    assert "-1" not in text
    assert "100" in text


def test_many_components_are_described_by_their_offsets():
    status = JobStatus(tuple(known("COMPLETED", TaskId(12, component=i)) for i in range(30)))
    text = status.describe()
    assert "-1" not in text
    assert "12+0" in text


def test_a_tracked_job_is_named_by_its_first_slurm_job():
    job = TrackedJob(1, "t0k", "cmd", ".", "", ())
    assert not job.is_submitted
    assert "t0k" in job.label
    job = TrackedJob(1, "t0k", "cmd", ".", "", (), slurm_jobs=(SlurmJob(12), SlurmJob(13)))
    assert job.is_submitted
    assert job.label == "12"
