"""Attempts at a job, and the runs that Slurm has made of each."""

import pytest

from datalad_slurm.jobs.attempts import recorded_attempts, replaced_by_retry
from datalad_slurm.jobs.model import JobStatus, SlurmJob, TrackedJob
from datalad_slurm.jobs.status import Observation, resolve
from datalad_slurm.jobs.tasks import TaskId
from tests.unit.builders import SUBMITTED, accounted, known

ONE, TWO, THREE = (TaskId(12, index) for index in (1, 2, 3))
JOB = SlurmJob(12, submitted=SUBMITTED, tasks=(ONE, TWO, THREE))


def run(word, after=0, task=TWO):
    """Return a run that was submitted some time after the job."""
    moment = SUBMITTED + after
    return accounted(word, task, submitted=moment, started=moment, ended=moment + 5)


def tracked(*slurm_jobs, **extra):
    return TrackedJob(1, "t", "sbatch job.sh", "", "", (), slurm_jobs=slurm_jobs, extra=extra)


def shown(entries):
    return [(each["attempt"], each.get("tasks"), each["state"]) for each in entries]


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([run("REQUEUED"), run("PREEMPTED", 50), run("COMPLETED", 99)], ["REQUEUED", "PREEMPTED"]),
        ([run("RESIZING"), run("COMPLETED", 99)], []),
        ([run("REQUEUED", -9), run("COMPLETED", 99)], []),
        ([run("COMPLETED", 99), run("FAILED", 150)], []),
    ],
    ids=["requeued twice", "resized", "earlier job of this id", "later job of this id"],
)
def test_the_runs_before_the_latest_are_those_of_this_job(runs, words):
    seen = Observation(accounting=[run("COMPLETED", 99)], runs=runs)
    status = resolve(JOB, seen)
    assert [run.word for run in status.tasks[1].earlier_runs] == words
    assert status.tasks[0].earlier_runs == ()


def test_runs_of_tasks_that_went_alike_are_one_entry():
    restarted = [
        known("COMPLETED", task, ended=9)._replace(earlier_runs=(run(word, task=task),))
        for task, word in ((ONE, "REQUEUED"), (TWO, "REQUEUED"), (THREE, "NODE_FAIL"))
    ]
    entries = recorded_attempts(tracked(JOB), JobStatus(tuple(restarted)), [])
    assert shown(entries) == [
        (1, "3", "NODE_FAIL"),
        (1, "1-2", "REQUEUED"),
        (1, "1-3", "COMPLETED"),
    ]


def test_a_job_that_has_run_once_has_no_list():
    status = JobStatus(tuple(known("COMPLETED", task) for task in JOB.tasks))
    assert recorded_attempts(tracked(JOB), status, []) == []


def test_what_is_run_again_keeps_the_runs_of_its_attempt():
    failed = known("FAILED", TWO, ended=9)._replace(earlier_runs=(run("PREEMPTED"),))
    status = JobStatus((known("COMPLETED", ONE), failed, known("COMPLETED", THREE)))
    kept, replaced = replaced_by_retry(tracked(JOB), status, [TWO], {12: ["log"]})
    assert [job.tasks for job in kept] == [(ONE, THREE)]
    assert shown(replaced) == [(1, "2", "PREEMPTED"), (1, "2", "FAILED")]
    assert [each.get("logs") for each in replaced] == [None, ["log"]]
