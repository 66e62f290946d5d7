"""What a job noted itself: when it counts, and what it means."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from datalad_slurm.jobs.endings import Ending
from datalad_slurm.jobs.model import Answer, SlurmJob
from datalad_slurm.jobs.plan import Action, FailedJobs, decide
from datalad_slurm.jobs.status import Observation, resolve
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.node.endings import read_endings
from tests.unit.builders import SUBMITTED, accounted, queued

TASK = TaskId(12)
JOB = SlurmJob(12, submitted=SUBMITTED, tasks=(TASK,))
#: accounting that was never set up, that fails, that works
NONE = {"has_accounting": False}
DOWN = {"accounting_failure": "sacct is down"}
SITES = {"none": NONE, "down": DOWN, "works": {}}


def noted(task=TASK, ended=SUBMITTED + 60, exit_code="0:0", **more):
    more = {"raw_id": 12, "node": "n1", "cluster": "c1", "started": SUBMITTED + 5} | more
    return Ending(task, ended=ended, exit_code="" if ended is None else exit_code, **more)


def see(*endings, **more):
    now = {"time": SUBMITTED + 1000.0}
    return Observation(endings={ending.task: ending for ending in endings}, **(now | more))


@pytest.mark.parametrize(
    ("ending", "word"),
    [
        (noted(), "COMPLETED"),
        (noted(exit_code="3:0"), "FAILED"),
        (noted(exit_code="0:9"), "FAILED"),
        (noted(exit_code="0:15", was_terminated=True), "CANCELLED"),
        (noted(was_terminated=True), "CANCELLED"),
        (noted(was_terminated=True, limit=SUBMITTED + 61), "CANCELLED"),
        (noted(was_terminated=True, limit=SUBMITTED + 60), "TIMEOUT"),
        (noted(exit_code="0:15", was_terminated=True, limit=SUBMITTED + 50), "TIMEOUT"),
        (noted(limit=SUBMITTED + 50), "COMPLETED"),
        (noted(ended=None), "FAILED"),
    ],
)
def test_how_a_run_ended_is_told_from_what_was_noted(ending, word):
    status = resolve(JOB, see(ending, **NONE))
    (task,) = status.tasks
    assert (task.word, task.answer, status.failure) == (word, Answer.KNOWN, "")
    assert task.facts is not None
    assert (task.facts.exit_code, task.facts.nodes) == (ending.exit_code, "n1")
    assert task.facts.elapsed == (None if ending.ended is None else 55)
    assert status.is_unexplained == (ending.ended is None)


OPEN = ("PENDING", "RUNNING", "REQUEUED", "FROBNICATED")


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("word", [*OPEN, "COMPLETED", "FAILED", "TIMEOUT"])
def test_what_slurmctld_says_wins(site, word):
    for ending in (noted(), noted(exit_code="1:0"), noted(ended=None)):
        (task,) = resolve(JOB, see(ending, queue=[queued(word)], **SITES[site])).tasks
        assert (task.word, task.answer) == (word, Answer.KNOWN)
        assert task.has_ended == (word not in OPEN)
        assert (task.facts is not None) == task.has_ended
        if task.facts is not None:
            assert task.facts.word == word
            assert task.facts.source


@pytest.mark.parametrize(
    ("site", "ending"), [*itertools.product(SITES, (noted(), noted(ended=None)))]
)
def test_nothing_noted_counts_while_slurmctld_does_not_answer(site, ending):
    status = resolve(JOB, see(ending, queue_failure="squeue is down", **SITES[site]))
    assert not status.has_ended
    assert decide(status, FailedJobs.ACCEPT, close_unknown=True) is Action.ASK_AGAIN


@pytest.mark.parametrize("site", SITES)
def test_an_ending_that_was_noted_counts_when_slurmctld_has_forgotten_the_job(site):
    assert resolve(JOB, see(noted(), **SITES[site])).is_ok


def test_an_ending_in_the_accounting_wins_over_a_noted_one():
    (task,) = resolve(JOB, see(noted(), accounting=[accounted("TIMEOUT")])).tasks
    assert task.word == "TIMEOUT"
    assert not task.facts.source


def test_an_accounting_that_has_missed_the_ending_does_not():
    assert resolve(JOB, see(noted(), accounting=[accounted("RUNNING")])).is_ok


@pytest.mark.parametrize("more", [DOWN, {}, {"accounting": [accounted("RUNNING")]}])
def test_a_job_that_only_began_stays_open_where_the_accounting_may_still_tell(more):
    status = resolve(JOB, see(noted(ended=None), **more))
    assert not status.has_ended
    assert decide(status, FailedJobs.ACCEPT) is Action.ASK_AGAIN


def test_a_job_that_only_began_is_the_users_to_judge_where_there_is_no_accounting():
    status = resolve(JOB, see(noted(ended=None), **NONE))
    assert decide(status, FailedJobs.KEEP_OPEN) is Action.REFUSE
    assert decide(status, FailedJobs.ACCEPT) is Action.COMMIT
    assert decide(status, FailedJobs.CLOSE) is Action.CLOSE
    assert decide(status, FailedJobs.KEEP_OPEN, close_unknown=True) is Action.CLOSE


def test_a_job_that_failed_is_not_closed_as_unknown():
    status = resolve(JOB, see(noted(exit_code="1:0"), **NONE))
    assert decide(status, FailedJobs.KEEP_OPEN, close_unknown=True) is Action.REFUSE


def test_without_accounting_a_job_of_which_nothing_is_noted_is_unknown_not_a_failed_query():
    status = resolve(JOB, see(**NONE))
    assert status.is_unknown
    assert decide(status, FailedJobs.CLOSE) is Action.ASK_AGAIN
    assert decide(status, FailedJobs.KEEP_OPEN, close_unknown=True) is Action.CLOSE


ARRAY = SlurmJob(12, submitted=SUBMITTED, tasks=tuple(TaskId(12, index) for index in range(3)))


def test_tasks_of_an_array_that_never_began_were_cancelled_once_the_others_are_over():
    first, second, _ = ARRAY.tasks
    for ending in (noted(second), noted(second, ended=None)):
        seen = see(noted(first), ending, **NONE)
        assert resolve(ARRAY, seen).tasks[2].word == "CANCELLED"
        assert resolve(ARRAY, seen).has_ended
    for more in ({"time": SUBMITTED + 90.0}, {"queue": [queued("RUNNING", second)]}):
        assert not resolve(ARRAY, see(noted(first), noted(second), **(NONE | more))).has_ended


def test_an_array_with_a_task_that_only_began_can_be_closed_as_unknown():
    seen = see(
        *(noted(task, ended=None) for task in ARRAY.tasks[:1]), noted(ARRAY.tasks[1]), **NONE
    )
    status = resolve(ARRAY, seen)
    assert decide(status, FailedJobs.KEEP_OPEN, close_unknown=True) is Action.CLOSE


def test_a_job_whose_tasks_are_unknown_is_told_by_its_notes():
    nameless = SlurmJob(12, submitted=SUBMITTED)
    assert resolve(nameless, see(noted(), **NONE)).is_ok
    task = noted(TaskId(12, 1))
    assert not resolve(nameless, see(task, **NONE)).has_ended
    assert resolve(nameless, see(task, **NONE, time=SUBMITTED + 9000.0)).is_ok


def test_notes_of_other_jobs_do_not_count():
    assert resolve(JOB, see(noted(TaskId(13)), **NONE)).is_unknown


def write(directory, name, **values):
    values = {"job": 15, "node": "n1", "cluster": "c1", "start": 100, "limit": ""} | values
    (directory / name).write_text("".join(f"{key}={value}\n" for key, value in values.items()))


def test_the_latest_run_of_each_task_is_read(tmp_path):
    write(tmp_path, "12.0.began")
    write(tmp_path, "12.0.ended", end=160, exit_code="1:0", received="")
    write(tmp_path, "12_3.9.ended", end=170, exit_code="1:0")
    write(tmp_path, "12_3.10.began")
    write(tmp_path, "12_3.10.ended", end=180, exit_code="0:0", limit=190, received="X:1 TERM:170")
    write(tmp_path, "14.0.ended", end=160, exit_code="0:0")
    write(tmp_path, "14.1.began", start=200, received="USR1:1 WINTERM:2")
    before = Ending(TaskId(12, 3), 15, "n1", "c1", 100, 170, "1:0")
    first = Ending(TaskId(14), 15, "n1", "c1", 100, 160, "0:0")
    latest = Ending(TaskId(12, 3), 15, "n1", "c1", 100, 180, "0:0", 190, was_terminated=True)
    assert read_endings(tmp_path) == {
        TaskId(12): Ending(TaskId(12), 15, "n1", "c1", 100, 160, "1:0"),
        TaskId(12, 3): replace(latest, earlier=(before,)),
        TaskId(14): Ending(TaskId(14), 15, "n1", "c1", 200, earlier=(first,)),
    }


def test_runs_that_were_cut_short_are_told_from_notes_where_there_is_no_accounting():
    before = noted(exit_code="0:15", was_terminated=True, started=SUBMITTED + 1)
    (task,) = resolve(JOB, see(noted(earlier=(before,)), **NONE)).tasks
    assert [(run.word, run.started) for run in task.earlier_runs] == [("REQUEUED", SUBMITTED + 1)]
    assert task.word == "COMPLETED"


def test_what_is_no_note_is_passed_over(tmp_path):
    for name in ("12.0.ended.part", "x", "12.ended", "12.0.lost"):
        write(tmp_path, name)
    (tmp_path / "13.0.began").write_text("start=\n\xff")
    (tmp_path / "slurm-12.abc").mkdir()
    (tmp_path / "14.0.ended").mkdir()
    assert read_endings(tmp_path) == {}
    assert read_endings(tmp_path / "gone") == {}
