"""Jobs as rows of the database, and rows as jobs."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from datalad_slurm.jobs.claims import beginning
from datalad_slurm.jobs.logs import LogName
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.notes import COMMITTED_IN, RELEASED
from datalad_slurm.jobs.task_outputs import with_claims
from datalad_slurm.jobs.tasks import TaskId, expand_tasks, fold_tasks
from datalad_slurm.tracking.process import current_process, process_from_row, process_to_row
from datalad_slurm.tracking.schema import ClaimRow, JobRow, SlurmJobRow

__all__ = [
    "add_claims",
    "load",
    "new_row",
    "note_slurm_jobs",
    "release_tasks",
    "slurm_job_from_row",
    "slurm_job_to_row",
]


def new_row(job: TrackedJob) -> JobRow:
    """Return the row of a job that this process claims now."""
    return JobRow(
        token=job.token,
        cmd=job.cmd,
        pwd=job.pwd,
        dsid=job.dsid,
        message=job.message,
        declared_outputs=list(job.declared_outputs),
        inputs=list(job.inputs),
        extra_inputs=list(job.extra_inputs),
        chain=list(job.chain),
        commit_at_submission=job.commit_at_submission,
        claimed_at=int(time.time()),
        claimed_by=process_to_row(current_process()),
        extra=dict(job.extra),
        identities=dict(job.identities),
        templates=list(job.templates),
    )


def add_claims(session: Session, tracked_id: int, claims: Iterable[str]) -> None:
    """Add the rows of what a job claims, which may be thousands, in one statement."""
    rows = [
        {"job": tracked_id, "path": path, "start": beginning(path)}
        for path in dict.fromkeys(claims)
    ]
    if rows:
        session.execute(insert(ClaimRow), rows)


def renew_claims(session: Session, tracked_id: int) -> None:
    """Let a job claim what the tasks that it has now claim, where outputs have patterns."""
    if not session.get_one(JobRow, tracked_id).templates:
        return
    (job,) = load(session, JobRow.id == tracked_id)
    claims = with_claims(job).outputs
    if claims != job.outputs:
        session.execute(delete(ClaimRow).where(ClaimRow.job == tracked_id))
        add_claims(session, tracked_id, claims)


def note_slurm_jobs(session: Session, tracked_id: int, slurm_jobs: Sequence[SlurmJob]) -> None:
    """Add the jobs that Slurm took, or bring them up to date."""
    noted = session.scalars(select(SlurmJobRow).where(SlurmJobRow.job == tracked_id))
    known = {(row.job_id, row.cluster): row for row in noted}
    for job in slurm_jobs:
        row = known.get((job.job_id, job.cluster))
        if row is None:
            row = SlurmJobRow(job=tracked_id, job_id=job.job_id, cluster=job.cluster)
            session.add(row)
        for name, value in slurm_job_to_row(job).items():
            setattr(row, name, value)
    session.flush()
    renew_claims(session, tracked_id)


def release_tasks(session: Session, tracked_id: int, tasks: Iterable[TaskId]) -> None:
    """Let tasks of a job be open no more, and claim nothing; with the last one it is forgotten."""
    released = set(tasks)
    job = session.get(JobRow, tracked_id)
    if job is None:
        return
    is_left, count = False, 0
    for row in session.scalars(select(SlurmJobRow).where(SlurmJobRow.job == tracked_id)):
        if row.tasks is None:
            is_left = True
            continue
        tasks = expand_tasks(row.job_id, row.tasks)
        left = [task for task in tasks if task not in released]
        row.tasks = fold_tasks(left)
        count += len(tasks) - len(left)
        is_left |= bool(left)
    if not is_left:
        session.execute(delete(JobRow).where(JobRow.id == tracked_id))
        return
    extra = {key: value for key, value in job.extra.items() if key != COMMITTED_IN}
    job.extra = {**extra, RELEASED: extra.get(RELEASED, 0) + count}
    session.flush()
    renew_claims(session, tracked_id)


def slurm_job_to_row(job: SlurmJob) -> dict[str, Any]:
    """Return a Slurm job as it is kept in the database, without what names it."""
    return {
        "attempt": job.attempt,
        "submitted": job.submitted,
        "name": job.name,
        "work_dir": job.work_dir,
        "logs": [[log.pattern, log.index] for log in job.logs],
        "tasks": None if job.tasks is None else fold_tasks(job.tasks),
        "facts": dict(job.facts),
    }


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
            slurm_jobs[row.job].append(slurm_job_from_row(row))
        return [_tracked_job(row, outputs[row.id], slurm_jobs[row.id]) for row in rows]
    except (TypeError, KeyError, AttributeError) as exc:
        raise ValueError(f"a row does not hold what was written to it: {exc}") from exc


def slurm_job_from_row(row: Any) -> SlurmJob:
    """Return a Slurm job from what the database keeps."""
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
        templates=tuple(row.templates),
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
