"""Refuse outputs that an open job claims."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import chain

from datalad_slurm.jobs.claims import beginning, bounds_of_prefix, collide, common_beginning
from datalad_slurm.jobs.conflicts import ClaimIndex
from datalad_slurm.jobs.errors import OutputConflictError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.names import JobName
from datalad_slurm.jobs.task_outputs import task_of
from datalad_slurm.tracking.rows import ONE, load
from datalad_slurm.tracking.schema import path_from_row, path_to_row

__all__ = ["holders", "refuse_conflicts", "refuse_conflicts_of"]

#: Of more outputs, the claims that may collide with them are read at once.
_LOOKED_UP_ONE_BY_ONE = 50
#: claims whose beginning a text begins with; CROSS JOIN keeps SQLite from reading all claims
_CLAIMS_ABOVE = """
WITH RECURSIVE lengths (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM lengths WHERE n < length(?1))
SELECT path, job FROM lengths CROSS JOIN claims ON start = substr(?1, 1, n)"""
_CLAIMS_BELOW = "SELECT path, job FROM claims WHERE start >= ? AND start < ?"
_CLAIMS_FROM = "SELECT path, job FROM claims WHERE start >= ?"


def refuse_conflicts_of(connection: sqlite3.Connection, job: TrackedJob) -> None:
    """Make sure, inside a transaction, that no open job claims what a new one is to claim.

    Raises
    ------
    OutputConflictError
        As `refuse_conflicts` does.
    """
    refuse_conflicts(connection, job.outputs)
    if job.states:
        refuse_conflicts(connection, job.states, "checkpoint")


def refuse_conflicts(
    connection: sqlite3.Connection, outputs: Iterable[str], what: str = "output"
) -> None:
    """Make sure, inside a transaction, that no open job claims any of these outputs.

    Parameters
    ----------
    connection : sqlite3.Connection
        The transaction.
    outputs : iterable of str
        Claims.
    what : str
        How messages call them.

    Raises
    ------
    OutputConflictError
        Names the job, or its task, and the path or glob.
    """
    outputs = list(outputs)
    if len(outputs) <= _LOOKED_UP_ONE_BY_ONE:
        hits = ((output, _find_conflict(connection, output)) for output in outputs)
    else:
        # all claims that may collide with one of them begin like what they have in common
        others = ClaimIndex(_claims_near(connection, common_beginning(outputs)))
        hits = ((output, others.find(output)) for output in outputs)
    for output, hit in hits:
        if hit is None:
            continue
        path, tracked_id = hit
        (holder,) = load(connection, ONE, tracked_id)
        who, ways_on = _named(holder, path)
        wanted = output or "."
        covers = "" if path == output else f", which claims '{path or '.'}'"
        raise OutputConflictError(
            f"{what} '{wanted}' conflicts with {who}{covers}; {ways_on}, or choose another {what}"
        )


def holders(connection: sqlite3.Connection, path: str) -> set[int]:
    """Return the ids of the jobs, and claims, whose claims collide with one, in a transaction."""
    near = _claims_near(connection, beginning(path))
    return {job for held, job in near if collide(path, held)}


def _named(holder: TrackedJob, path: str) -> tuple[str, str]:
    """Return whose claim a path is, and what to do so that it ends."""
    if not holder.is_submitted:
        return f"a job that {holder.claimed_by} is submitting", "wait for that"
    name = JobName(holder.job_id, holder.slurm_jobs[0].cluster)
    task = task_of(holder, path)
    who = f"task {task}" if task else f"job {name}"
    command = shlex.join(["datalad", "slurm-finish", str(name)])
    return who, f"finish or close that job first ({command})"


def _find_conflict(connection: sqlite3.Connection, output: str) -> tuple[str, int] | None:
    near = _claims_near(connection, beginning(output))
    # without globs the first that is found this way collides
    return next(((path, job) for path, job in near if collide(output, path)), None)


def _claims_near(connection: sqlite3.Connection, start: str) -> Iterator[tuple[str, int]]:
    """Yield path and job of each claim that may collide with one that begins in this way."""
    bounds = bounds_of_prefix(start)
    below = (
        connection.execute(_CLAIMS_FROM, (path_to_row(start),))
        if bounds is None
        else connection.execute(_CLAIMS_BELOW, tuple(map(path_to_row, bounds)))
    )
    above = connection.execute(_CLAIMS_ABOVE, (path_to_row(start),))
    for path, job in chain(above, below):
        yield path_from_row(path), job
