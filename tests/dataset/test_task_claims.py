"""Claims of array tasks: kept for each, released one by one, and fast for ten thousand."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace

import pytest

from datalad_slurm.jobs.attempts import Retry
from datalad_slurm.jobs.errors import OutputConflictError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.task_outputs import claims_expected, marked
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.tracking import publications
from datalad_slurm.tracking.publications import Publication
from datalad_slurm.tracking.store import FILE_NAME, Tracker


def job(*outputs, indices=None, token="1"):
    templates = tuple(map(marked, outputs))
    claims = claims_expected(templates, indices, None, token)
    return TrackedJob(0, token, "sbatch", ".", "", claims, outputs, templates)


def array(*indices, job_id=12):
    return SlurmJob(job_id, name="n", tasks=tuple(TaskId(job_id, index) for index in indices))


@pytest.fixture
def tracker(tmp_path):
    return Tracker(tmp_path)


def submitted(tracker, *outputs, jobs=()):
    claim = tracker.claim(job(*outputs))
    tracker.note_submission(claim.id, jobs or [array(1, 2, 3)])
    return claim.id


def outputs(tracker):
    return [each.outputs for each in tracker.open_jobs()]


def tasks(*indices, job_id=12):
    return tuple(TaskId(job_id, index) for index in indices)


def test_exact_claims_take_the_place_of_what_could_match(tracker):
    claim = tracker.claim(job("sub-%a", "all"))
    assert claim.outputs == ("sub-[0-9]*", "all")
    tracker.note_submission(claim.id, [SlurmJob(12)])
    assert outputs(tracker) == [("sub-[0-9]*", "all")]  # slurmctld has not told the tasks yet
    tracker.note_submission(claim.id, [array(1, 2)])
    assert outputs(tracker) == [("sub-1", "sub-2", "all")]


def test_a_conflict_names_the_task(tracker):
    submitted(tracker, "sub-%a", "all")
    with pytest.raises(OutputConflictError, match="'sub-2' conflicts with task 12_2; finish"):
        tracker.claim(job("sub-%a", indices=[2, 5], token="2"))
    with pytest.raises(OutputConflictError, match=r"conflicts with job 12, which claims 'all'"):
        tracker.refuse_conflicts(["all/x"])
    tracker.claim(job("sub-%a", indices=[4, 5], token="2"))


def test_released_tasks_claim_nothing_and_are_open_no_more(tracker):
    tracked_id = submitted(tracker, "sub-%a", "all")
    tracker.release({tracked_id: tasks(1, 3)})
    (left,) = tracker.open_jobs()
    assert left.outputs == ("sub-2", "all")
    assert left.tasks == tasks(2)
    assert left.extra["released_tasks"] == 2
    tracker.release({tracked_id: tasks(1)})
    assert tracker.open_jobs() == [left]
    tracker.refuse_conflicts(["sub-1", "sub-3"])
    tracker.release({tracked_id: tasks(2)})
    assert tracker.open_jobs() == []
    tracker.refuse_conflicts(["all"])


def test_a_slow_command_that_describes_a_job_late_does_not_bring_back_released_tasks(tracker):
    tracked_id = submitted(tracker, "sub-%a")
    tracker.release({tracked_id: tasks(1, 2)})
    tracker.note_submission(tracked_id, [array(1, 2, 3)._replace(name="later")])
    (left,) = tracker.open_jobs()
    assert left.tasks == tasks(3)
    assert left.outputs == ("sub-3",)
    assert left.slurm_jobs[0].name == "later"


def test_a_job_of_which_one_submission_is_over_keeps_the_other(tracker):
    tracked_id = submitted(tracker, "sub-%a", "of-%A", jobs=[array(1), array(7, job_id=13)])
    tracker.release({tracked_id: tasks(1)})
    (left,) = tracker.open_jobs()
    assert left.outputs == ("sub-7", "of-13")
    assert [slurm_job.tasks for slurm_job in left.slurm_jobs] == [(), tasks(7, job_id=13)]
    assert left.job_id == 12
    assert Tracker(tracker.directory).open_jobs() == [left]


@pytest.mark.parametrize("noted", ["null", None])
def test_a_job_of_which_one_submission_has_unknown_tasks_stays_open(tracker, tmp_path, noted):
    tracked_id = submitted(tracker, "sub-%a", jobs=[array(1, 2), SlurmJob(13)])
    with sqlite3.connect(tmp_path / FILE_NAME) as raw:
        raw.execute("UPDATE slurm_jobs SET tasks = ? WHERE job_id = 13", (noted,))
    tracker.release({tracked_id: tasks(1, 2)})
    (open_job,) = tracker.open_jobs()
    assert [each.tasks for each in open_job.slurm_jobs] == [(), None]


def test_tasks_that_are_run_again_take_their_claims_with_them(tracker):
    tracked_id = submitted(tracker, "sub-%a", "log-%A_%a")
    (held,) = tracker.open_jobs()
    replaced = {"attempt": 1, "slurm_job_id": 12, "tasks": "3"}
    tracker.begin_retry(held, Retry("again", "sbatch", "sbatch", (array(1, 2),), (replaced,)))
    tracker.note_submission(tracked_id, [array(3, job_id=20)])
    assert outputs(tracker) == [("sub-1", "sub-2", "log-12_1", "log-12_2", "sub-3", "log-20_3")]


def test_completing_a_publication_forgets_jobs_or_releases_their_tasks(tracker):
    part = submitted(tracker, "sub-%a")
    whole = tracker.claim(replace(job("x", token="2"), templates=())).id
    tracker.note_submission(whole, [SlurmJob(30, tasks=(TaskId(30),))])
    tip = Publication("", "refs/heads/main", "a", "b", (part, whole), {part: tasks(1, 2)})
    publications.note(tracker.database, [tip])
    assert publications.pending(tracker.database) == [tip]
    publications.complete(tracker.database, [part, whole])
    assert publications.pending(tracker.database) == []
    assert [each.tasks for each in tracker.open_jobs()] == [tasks(3)]


def test_withdrawing_a_publication_leaves_all_tasks_open(tracker):
    part = submitted(tracker, "sub-%a")
    tip = Publication("", "refs/heads/main", "a", "b", (part,), {part: tasks(1, 2)})
    publications.note(tracker.database, [tip])
    publications.withdraw(tracker.database)
    assert [each.tasks for each in tracker.open_jobs()] == [tasks(1, 2, 3)]


def test_what_an_interrupted_finish_has_committed_is_forgotten_with_its_tasks(tracker):
    part = submitted(tracker, "sub-%a")
    tracker.note_extra(part, {"committed_in": {"sub": "abc"}, "kept": 1})
    tracker.release({part: tasks(1)})
    assert tracker.open_jobs()[0].extra == {"kept": 1, "released_tasks": 1}


def test_ten_thousand_tasks_are_claimed_checked_and_released_within_seconds(tracker):
    everything = range(10_000)
    begun = time.process_time()
    claim = tracker.claim(job("sub-%a/out", "log-%A_%a", indices=everything))
    tracker.note_submission(claim.id, [array(*everything)])
    other = tracker.claim(job("sub-%a/other", indices=everything, token="2"))
    with pytest.raises(OutputConflictError, match="'sub-9999/out' conflicts with task 12_9999;"):
        tracker.claim(job("sub-%a/out", indices=[*range(10_001, 20_000), 9999], token="3"))
    tracker.release({claim.id: tasks(*range(9_999))})
    assert time.process_time() - begun < 30
    assert tracker.open_jobs()[0].outputs == ("sub-9999/out", "log-12_9999")
    with sqlite3.connect(tracker.directory / FILE_NAME) as database:
        count = database.execute("select count(*) from claims where job = ?", (other.id,))
        assert count.fetchone() == (10_000,)
