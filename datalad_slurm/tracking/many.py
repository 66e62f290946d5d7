"""Claim, note and free many jobs, in one transaction each."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from datalad_slurm.jobs.claims import first_collision
from datalad_slurm.jobs.errors import OutputConflictError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.tracking.process import current_process
from datalad_slurm.tracking.rows import claim_values, job_values, slurm_job_values
from datalad_slurm.tracking.schema import ClaimRow, JobRow, SlurmJobRow
from datalad_slurm.tracking.store import Tracker

__all__ = ["claim_all", "free_all", "note_all", "note_submissions"]

_AT_A_TIME = 500  # SQLite bounds the number of parameters


def claim_all(
    tracker: Tracker, jobs: Sequence[tuple[str, TrackedJob]], *, check: bool = True
) -> list[TrackedJob]:
    """Claim the outputs of jobs that are about to be submitted: all of them, or none.

    Parameters
    ----------
    tracker : Tracker
        The open jobs of the dataset.
    jobs : sequence of pairs
        How messages name each job, and what it claims.
    check : bool
        Whether to refuse outputs that an open job, or another one of these, claims.

    Raises
    ------
    OutputConflictError
        When two claims collide; names both.
    """
    claims = [(path, number) for number, (_, job) in enumerate(jobs) for path in job.outputs]
    while True:
        with tracker.database.transaction() as session:
            held = list(session.execute(select(ClaimRow.path, ClaimRow.job))) if check else []
            paths = [*(path for path, _ in held), *(path for path, _ in claims)]
            # numbers of rows are positive
            owners = [*(job for _, job in held), *(-number for _, number in claims)]
            hit = first_collision(paths, owners, len(held)) if check else None
            if hit is None:
                return _insert(session, [job for _, job in jobs])
        label = jobs[-owners[hit[1]]][0]
        if hit[0] >= len(held):
            raise OutputConflictError(
                f"{label}: output '{paths[hit[1]]}' conflicts with '{paths[hit[0]]}' of "
                f"{jobs[-owners[hit[0]]][0]}; each job needs outputs of its own"
            )
        try:
            tracker.refuse_conflicts([paths[hit[1]]])
        except OutputConflictError as exc:
            raise OutputConflictError(f"{label}: {exc}") from exc
        # the other job was finished meanwhile


def _insert(session: Session, jobs: Iterable[TrackedJob]) -> list[TrackedJob]:
    first = (session.scalar(select(func.max(JobRow.id))) or 0) + 1
    process, now = current_process(), int(time.time())
    claimed = [
        replace(job, id=number, claimed_at=now, claimed_by=process)
        for number, job in enumerate(jobs, first)
    ]
    session.execute(insert(JobRow), [job_values(job) for job in claimed])
    session.execute(insert(ClaimRow), [values for job in claimed for values in claim_values(job)])
    return claimed


def note_submissions(tracker: Tracker, found: Mapping[int, Sequence[SlurmJob]]) -> set[int]:
    """Note the jobs that Slurm took; return the tracked jobs that are gone.

    Jobs that are noted already are brought up to date.
    """
    with tracker.database.transaction() as session:
        there = {row.id for row in _chosen(session, [JobRow.id], JobRow.id, found)}
        columns = [SlurmJobRow.id, SlurmJobRow.job, SlurmJobRow.job_id, SlurmJobRow.cluster]
        noted = _chosen(session, columns, SlurmJobRow.job, found)
        known = {(row.job, row.job_id, row.cluster): row.id for row in noted}
        rows = [
            slurm_job_values(tracked_id, job)
            for tracked_id in found
            if tracked_id in there
            for job in found[tracked_id]
        ]
        old = [
            {"id": known[name], **row}
            for row in rows
            if (name := (row["job"], row["job_id"], row["cluster"])) in known
        ]
        new = [row for row in rows if (row["job"], row["job_id"], row["cluster"]) not in known]
        for statement, values in ((update(SlurmJobRow), old), (insert(SlurmJobRow), new)):
            if values:
                session.execute(statement, values)
    return set(found) - there


def note_all(
    tracker: Tracker,
    *,
    extra: Mapping[int, Mapping[str, Any]] | None = None,
    identities: Mapping[int, Mapping[str, Any]] | None = None,
) -> None:
    """Note more about jobs, beside what was noted before; those that are gone are passed over.

    Parameters
    ----------
    tracker : Tracker
        The open jobs of the dataset.
    extra, identities : mapping, optional
        What to note, by the tracked jobs' ids.
    """
    extra, identities = extra or {}, identities or {}
    columns = [JobRow.id, JobRow.extra, JobRow.identities]
    with tracker.database.transaction() as session:
        rows = [
            {
                "id": row.id,
                "extra": {**row.extra, **extra.get(row.id, {})},
                "identities": {**row.identities, **identities.get(row.id, {})},
            }
            for row in _chosen(session, columns, JobRow.id, {**extra, **identities})
        ]
        if rows:
            session.execute(update(JobRow), rows)


def free_all(tracker: Tracker, tracked_ids: Collection[int]) -> set[int]:
    """Drop claims, unless a job was noted for them; return those that are gone."""
    ids = list(tracked_ids)
    freed: set[int] = set()
    with tracker.database.transaction() as session:
        for start in range(0, len(ids), _AT_A_TIME):
            chosen = JobRow.id.in_(ids[start : start + _AT_A_TIME]), ~JobRow.slurm_jobs.any()
            freed.update(session.scalars(delete(JobRow).where(*chosen).returning(JobRow.id)))
    return freed


def _chosen(
    session: Session, columns: Sequence[Any], among: Any, values: Iterable[int]
) -> Iterator[Any]:
    """Yield columns of the rows in which one of them is among some values."""
    wanted = list(values)
    for start in range(0, len(wanted), _AT_A_TIME):
        yield from session.execute(
            select(*columns).where(among.in_(wanted[start : start + _AT_A_TIME]))
        )
