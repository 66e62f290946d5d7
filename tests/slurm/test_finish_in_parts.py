"""Very many jobs are committed a part at a time: what is done stays done."""

from __future__ import annotations

import pytest

from datalad_slurm.jobs.errors import DatasetError
from datalad_slurm.workflow import deliver
from tests.slurm.sweeps import (
    Killed,
    assert_sound,
    claims,
    jobs_in_history,
    noted_jobs,
)
from tests.slurm.test_schedule import finish, schedule


@pytest.fixture
def five_jobs(box, slurm, monkeypatch):
    """Five jobs that have ended, of which two are committed at once."""
    monkeypatch.setattr(deliver, "_JOBS_AT_ONCE", 2)
    jobs = [
        schedule(box, ["sbatch", "--wrap", f"echo {name} > {name}"], [name]) for name in "abcde"
    ]
    slurm.wait(*jobs)
    return jobs


def at_the_second_part(error: BaseException):
    """Return what publishes the first part, and fails to publish the second."""
    publish = deliver.publish_parcels
    calls = 0

    def publish_or_fail(*args):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise error
        return publish(*args)

    return publish_or_fail


def assert_only_the_first_part_is_committed(box, jobs):
    assert jobs_in_history(box) == jobs[:2]
    assert noted_jobs(box) == jobs[2:]
    assert claims(box) == ["c", "d", "e"]


def assert_the_next_finish_commits_the_others(box, jobs):
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert jobs_in_history(box) == jobs
    assert noted_jobs(box) == []
    assert box.status() == ""
    assert_sound(box, "in the end")


def test_jobs_are_committed_and_forgotten_part_by_part(box, five_jobs, monkeypatch):
    publish = deliver.publish_parcels
    parts = []

    def note_and_publish(context, parcels, shape):
        parts.append([parcel.findings.job.job_id for parcel in parcels])
        assert noted_jobs(box) == five_jobs[2 * len(parts) - 2 :]
        return publish(context, parcels, shape)

    monkeypatch.setattr(deliver, "publish_parcels", note_and_publish)
    results = finish(box)
    assert parts == [five_jobs[:2], five_jobs[2:4], five_jobs[4:]]
    assert [res["slurm_job_id"] for res in results if res["action"] == "save"] == five_jobs
    assert box.status() == ""


def test_a_finish_that_is_killed_between_two_parts_keeps_the_first(box, five_jobs, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(deliver, "publish_parcels", at_the_second_part(Killed()))
        with pytest.raises(Killed):
            finish(box)
    assert_only_the_first_part_is_committed(box, five_jobs)
    assert_the_next_finish_commits_the_others(box, five_jobs)


def test_a_finish_that_fails_in_the_second_part_keeps_the_first_and_says_so(
    box, five_jobs, monkeypatch
):
    with monkeypatch.context() as patch:
        failing = at_the_second_part(DatasetError("git failed"))
        patch.setattr(deliver, "publish_parcels", failing)
        results = finish(box)
    saved = [res["slurm_job_id"] for res in results if res["action"] == "save"]
    assert saved == five_jobs[:2]
    (failed,) = [res for res in results if res["status"] == "error"]
    assert "git failed" in failed["message"]
    assert_only_the_first_part_is_committed(box, five_jobs)
    assert_the_next_finish_commits_the_others(box, five_jobs)
