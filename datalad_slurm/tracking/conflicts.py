"""Refuse outputs that an open job claims."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Result, and_, or_, select
from sqlalchemy.orm import Session

from datalad_slurm.jobs.claims import (
    beginning,
    bounds_of_prefix,
    collide,
    common_beginning,
    prefixes,
)
from datalad_slurm.jobs.conflicts import ClaimIndex
from datalad_slurm.jobs.errors import OutputConflictError
from datalad_slurm.jobs.task_outputs import task_of
from datalad_slurm.tracking.rows import load
from datalad_slurm.tracking.schema import ClaimRow, JobRow

__all__ = ["refuse_conflicts"]

#: Of more outputs, the claims that may collide with them are read at once.
_LOOKED_UP_ONE_BY_ONE = 50


def refuse_conflicts(session: Session, outputs: Iterable[str]) -> None:
    """Make sure, inside a transaction, that no open job claims any of these outputs.

    Raises
    ------
    OutputConflictError
        Names the job, or its task, and the path or glob.
    """
    outputs = list(outputs)
    if len(outputs) <= _LOOKED_UP_ONE_BY_ONE:
        hits = ((output, _find_conflict(session, output)) for output in outputs)
    else:
        # all claims that may collide with one of them begin like what they have in common
        near = _near(session, common_beginning(outputs))
        others = ClaimIndex((row.path, row.job) for row in near)
        hits = ((output, others.find(output)) for output in outputs)
    for output, hit in hits:
        if hit is None:
            continue
        path, tracked_id = hit
        (holder,) = load(session, JobRow.id == tracked_id)
        task = task_of(holder, path)
        who = (
            (f"task {task}" if task else f"job {holder.job_id}")
            if holder.is_submitted
            else f"a job that {holder.claimed_by} is submitting"
        )
        ways_on = "wait for that"
        if holder.is_submitted:
            ways_on = f"finish or close that job first (datalad slurm-finish {holder.job_id})"
        wanted = output or "."
        covers = "" if path == output else f", which claims '{path or '.'}'"
        raise OutputConflictError(
            f"output '{wanted}' conflicts with {who}{covers}; {ways_on}, or choose another output"
        )


def _near(session: Session, start: str) -> Result[tuple[str, int]]:
    """Return claims that begin with a text, or with a beginning of it."""
    conditions: list[Any] = [ClaimRow.start.in_(prefixes(start))]
    bounds = bounds_of_prefix(start)
    if bounds is None:
        conditions.append(ClaimRow.start >= start)
    else:
        conditions.append(and_(ClaimRow.start >= bounds[0], ClaimRow.start < bounds[1]))
    return session.execute(select(ClaimRow.path, ClaimRow.job).where(or_(*conditions)))


def _find_conflict(session: Session, output: str) -> tuple[str, int] | None:
    near = _near(session, beginning(output))
    # without globs the first that is found this way collides
    hit = next((row for row in near if collide(output, row.path)), None)
    near.close()
    return None if hit is None else (hit.path, hit.job)
