"""Find the open job that claims what another wants to write."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import chain

from datalad_slurm.jobs.claims import beginning, bounds_of_prefix, collide
from datalad_slurm.jobs.errors import OutputConflictError
from datalad_slurm.jobs.names import JobName
from datalad_slurm.tracking.rows import ONE, load
from datalad_slurm.tracking.schema import path_from_row, path_to_row

__all__ = ["refuse_conflicts"]

#: claims whose beginning a text begins with; CROSS JOIN keeps SQLite from reading all claims
_CLAIMS_ABOVE = """
WITH RECURSIVE lengths (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM lengths WHERE n < length(?1))
SELECT path, job FROM lengths CROSS JOIN claims ON start = substr(?1, 1, n)"""
_CLAIMS_BELOW = "SELECT path, job FROM claims WHERE start >= ? AND start < ?"
_CLAIMS_FROM = "SELECT path, job FROM claims WHERE start >= ?"


def refuse_conflicts(connection: sqlite3.Connection, outputs: Iterable[str]) -> None:
    """Make sure, inside a transaction, that no open job claims any of these outputs.

    Raises
    ------
    OutputConflictError
        When one does; names the job and the path or glob.
    """
    for output in outputs:
        near = _claims_near(connection, beginning(output))
        # without globs the first that is found this way collides
        hit = next(((path, job) for path, job in near if collide(output, path)), None)
        if hit is None:
            continue
        path, tracked_id = hit
        (holder,) = load(connection, ONE, tracked_id)
        if holder.is_submitted:
            name = JobName(holder.job_id, holder.slurm_jobs[0].cluster)
            who = f"job {name}"
            command = shlex.join(["datalad", "slurm-finish", str(name)])
            ways_on = f"finish or close that job first ({command})"
        else:
            who, ways_on = f"a job that {holder.claimed_by} is submitting", "wait for that"
        wanted = output or "."
        covers = "" if path == output else f", which claims '{path or '.'}'"
        raise OutputConflictError(
            f"output '{wanted}' conflicts with {who}{covers}; {ways_on}, or choose another output"
        )


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
