"""Jobs as rows of the database, and rows as jobs."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from datalad_slurm.jobs.claims import beginning
from datalad_slurm.jobs.logs import LogName
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.tasks import expand_tasks, fold_tasks
from datalad_slurm.tracking.process import current_process, process_from_row, process_to_row
from datalad_slurm.tracking.schema import ClaimRow, JobRow, SlurmJobRow

__all__ = [
    "claim_values",
    "job_values",
    "load",
    "new_row",
    "note_slurm_jobs",
    "slurm_job_values",
]


def new_row(job: TrackedJob) -> JobRow:
    """Return the row of a job that this process claims now."""
    claimed = replace(job, claimed_at=int(time.time()), claimed_by=current_process())
    values = job_values(claimed)
    del values["id"]
    return JobRow(
        **values,
        claims=[ClaimRow(path=path, start=beginning(path)) for path in dict.fromkeys(job.outputs)],
    )


def job_values(job: TrackedJob) -> dict[str, Any]:
    """Return the columns of a job that a process has claimed."""
    return {
        "id": job.id,
        "token": job.token,
        "cmd": job.cmd,
        "pwd": job.pwd,
        "dsid": job.dsid,
        "message": job.message,
        "declared_outputs": list(job.declared_outputs),
        "inputs": list(job.inputs),
        "extra_inputs": list(job.extra_inputs),
        "chain": list(job.chain),
        "commit_at_submission": job.commit_at_submission,
        "claimed_at": job.claimed_at,
        "claimed_by": process_to_row(job.claimed_by) if job.claimed_by else {},
        "extra": dict(job.extra),
        "identities": dict(job.identities),
    }


def claim_values(job: TrackedJob) -> Iterator[dict[str, Any]]:
    """Yield the columns of what a job claims."""
    for path in dict.fromkeys(job.outputs):
        yield {"job": job.id, "path": path, "start": beginning(path)}


def slurm_job_values(tracked_id: int, job: SlurmJob) -> dict[str, Any]:
    """Return the columns of a job that Slurm took."""
    return {
        "job": tracked_id,
        "job_id": job.job_id,
        "cluster": job.cluster,
        "attempt": job.attempt,
        "submitted": job.submitted,
        "name": job.name,
        "work_dir": job.work_dir,
        "logs": [[log.pattern, log.index] for log in job.logs],
        "tasks": None if job.tasks is None else fold_tasks(job.tasks),
        "facts": dict(job.facts),
    }


def note_slurm_jobs(session: Session, tracked_id: int, slurm_jobs: Sequence[SlurmJob]) -> None:
    """Add the jobs that Slurm took, or bring them up to date."""
    noted = session.scalars(select(SlurmJobRow).where(SlurmJobRow.job == tracked_id))
    known = {(row.job_id, row.cluster): row for row in noted}
    for job in slurm_jobs:
        row = known.get((job.job_id, job.cluster))
        values = slurm_job_values(tracked_id, job)
        if row is None:
            session.add(SlurmJobRow(**values))
            continue
        for name, value in values.items():
            setattr(row, name, value)
    session.flush()


#: Plain tuples are read: at ten thousand jobs, mapped objects would cost seconds.
_JOB_COLUMNS = tuple(JobRow.__table__.columns)
_SLURM_JOB_COLUMNS = tuple(SlurmJobRow.__table__.columns)


def load(session: Session, *conditions: Any) -> list[TrackedJob]:
    """Return the jobs that meet conditions, in the order of their claims.

    Raises
    ------
    ValueError
        When the database holds something else than jobs.
    """
    rows = session.execute(select(*_JOB_COLUMNS).where(*conditions).order_by(JobRow.id)).all()
    chosen = select(JobRow.id).where(*conditions)
    outputs: defaultdict[int, list[str]] = defaultdict(list)
    for job, path in session.execute(
        select(ClaimRow.job, ClaimRow.path).where(ClaimRow.job.in_(chosen)).order_by(ClaimRow.id)
    ):
        outputs[job].append(path)
    slurm_jobs: defaultdict[int, list[SlurmJob]] = defaultdict(list)
    try:
        for row in session.execute(
            select(*_SLURM_JOB_COLUMNS).where(SlurmJobRow.job.in_(chosen)).order_by(SlurmJobRow.id)
        ):
            slurm_jobs[row.job].append(_slurm_job(row))
        return [_tracked_job(row, outputs[row.id], slurm_jobs[row.id]) for row in rows]
    except (TypeError, KeyError, AttributeError) as exc:
        raise ValueError(f"a row does not hold what was written to it: {exc}") from exc


def _slurm_job(row: Any) -> SlurmJob:
    return SlurmJob(
        job_id=row.job_id,
        cluster=row.cluster,
        submitted=row.submitted,
        attempt=row.attempt,
        name=row.name,
        work_dir=row.work_dir,
        logs=tuple(LogName(pattern, index) for pattern, index in row.logs),
        tasks=None if row.tasks is None else expand_tasks(row.job_id, row.tasks),
        facts=row.facts,
    )


def _tracked_job(row: Any, outputs: list[str], slurm_jobs: list[SlurmJob]) -> TrackedJob:
    return TrackedJob(
        id=row.id,
        token=row.token,
        cmd=row.cmd,
        pwd=row.pwd,
        dsid=row.dsid,
        outputs=tuple(outputs),
        declared_outputs=tuple(row.declared_outputs),
        inputs=tuple(row.inputs),
        extra_inputs=tuple(row.extra_inputs),
        message=row.message,
        chain=tuple(row.chain),
        commit_at_submission=row.commit_at_submission,
        claimed_at=row.claimed_at,
        claimed_by=process_from_row(row.claimed_by),
        slurm_jobs=tuple(slurm_jobs),
        extra=row.extra,
        identities=row.identities,
    )
