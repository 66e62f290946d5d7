"""A tracked job that is submitted again: from one attempt to the next, or back.

Between the two it is a claim without a Slurm job, as before its first
submission, so whoever finds it left by a crash settles it in the same way.
Its notes hold what is to be put back (see `datalad_slurm.jobs.attempts`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from datalad_slurm.jobs.attempts import Retry
from datalad_slurm.jobs.errors import JobNotTrackedError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.notes import COMMITTED_IN
from datalad_slurm.tracking.process import current_process, process_to_row
from datalad_slurm.tracking.rows import (
    load,
    note_slurm_jobs,
    slurm_job_from_row,
    slurm_job_to_row,
)
from datalad_slurm.tracking.schema import JobRow, SlurmJobRow

__all__ = ["begin", "submitted", "withdrawn"]

#: What is kept of a row while it is submitted again.
_COLUMNS = ("cmd", "claimed_at", "claimed_by", "commit_at_submission", "identities", "extra")
#: True of one attempt only.
_OF_ONE_ATTEMPT = ("began", "submitted_cmd", "untouched_outputs", COMMITTED_IN)


def begin(session: Session, job: TrackedJob, retry: Retry) -> None:
    """Make a tracked job a claim again.

    Raises
    ------
    JobNotTrackedError
        When its Slurm jobs are not those that it had when it was read.
    """
    found = load(session, JobRow.id == job.id)
    if not found or _tasks(found[0]) != _tasks(job):
        raise JobNotTrackedError(
            f"job {job.label} was finished, closed or submitted again by another command meanwhile"
        )
    row = session.get_one(JobRow, job.id)
    extra = {name: value for name, value in row.extra.items() if name not in _OF_ONE_ATTEMPT}
    pending = {
        "before": {name: getattr(row, name) for name in _COLUMNS},
        "slurm_jobs": [_to_json(slurm_job) for slurm_job in found[0].slurm_jobs],
        "kept": [_to_json(slurm_job) for slurm_job in retry.kept],
    }
    if retry.submitted_cmd != retry.cmd:
        extra["submitted_cmd"] = retry.submitted_cmd
    row.extra = extra | {
        "attempt": job.attempt + 1,
        "attempts": [*job.attempts, *map(dict, retry.replaced)],
        "submission": retry.token,
        "retry": pending,
    }
    row.cmd = retry.cmd
    row.commit_at_submission = retry.commit_at_submission
    row.claimed_at = int(time.time())
    row.claimed_by = process_to_row(current_process())
    _drop_slurm_jobs(session, job.id)


def submitted(session: Session, row: JobRow, slurm_jobs: Sequence[SlurmJob]) -> list[SlurmJob]:
    """Return which Slurm jobs to note with a tracked job, now that it has some.

    For one that was submitted again, those that stay are put back with them. Slurm
    jobs of earlier attempts, which a slow command may describe yet, are left out.
    """
    pending = row.extra.get("retry", {})
    earlier = {entry["slurm_job_id"] for entry in row.extra.get("attempts", ())}
    new = [job for job in slurm_jobs if job.job_id not in earlier]
    kept: list[SlurmJob] = []
    if pending and new:
        kept = [_from_json(noted) for noted in pending["kept"]]
        row.extra = {name: value for name, value in row.extra.items() if name != "retry"}
    known = session.scalars(select(SlurmJobRow).where(SlurmJobRow.job == row.id))
    attempts = {noted.job_id: noted.attempt for noted in known}
    latest = row.extra.get("attempt", 1)
    return [
        *kept,
        *(replace(job, attempt=attempts.get(job.job_id, max(job.attempt, latest))) for job in new),
    ]


def withdrawn(session: Session, tracked_id: int) -> bool:
    """Put a job back that was to be submitted again; return whether it was such a one."""
    row = session.get(JobRow, tracked_id)
    pending = row.extra.get("retry") if row is not None else None
    if row is None or pending is None:
        return False
    for name, value in pending["before"].items():
        setattr(row, name, value)
    note_slurm_jobs(session, row.id, [_from_json(noted) for noted in pending["slurm_jobs"]])
    return True


def _tasks(job: TrackedJob) -> list[tuple[int, str, Any]]:
    return [(each.job_id, each.cluster, each.tasks) for each in job.slurm_jobs]


def _drop_slurm_jobs(session: Session, tracked_id: int) -> None:
    session.execute(delete(SlurmJobRow).where(SlurmJobRow.job == tracked_id))


def _to_json(job: SlurmJob) -> dict[str, Any]:
    return {"job_id": job.job_id, "cluster": job.cluster, **slurm_job_to_row(job)}


def _from_json(noted: dict[str, Any]) -> SlurmJob:
    return slurm_job_from_row(SimpleNamespace(**noted))
