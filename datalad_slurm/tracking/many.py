"""Claim, note and free many jobs, in one transaction each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from datalad_slurm.jobs.claims import first_collision
from datalad_slurm.jobs.errors import OutputConflictError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.tracking.conflicts import refuse_conflicts_of
from datalad_slurm.tracking.contents import keep
from datalad_slurm.tracking.retries import free, note_submitted
from datalad_slurm.tracking.rows import WITHOUT_SLURM_JOB, add, load
from datalad_slurm.tracking.schema import from_json, to_json
from datalad_slurm.tracking.store import Tracker

__all__ = ["claim_all", "free_all", "note_all", "note_submissions", "refuse_collisions"]


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
    if check:
        refuse_collisions(jobs)
    with tracker.database.transaction() as connection:
        for label, job in jobs if check else ():
            try:
                refuse_conflicts_of(connection, job)
            except OutputConflictError as exc:
                raise OutputConflictError(f"{label}: {exc}") from exc
        added = {add(connection, job) for _, job in jobs}
        return [job for job in load(connection, WITHOUT_SLURM_JOB) if job.id in added]


def refuse_collisions(jobs: Sequence[tuple[str, TrackedJob]]) -> None:
    """Make sure that no two of some jobs claim the same output; parameter as for `claim_all`.

    Raises
    ------
    OutputConflictError
        When two do; names both.
    """
    claims = [
        (path, number)
        for number, (_, job) in enumerate(jobs)
        for path in (*job.outputs, *job.states)
    ]
    hit = first_collision([path for path, _ in claims], [number for _, number in claims])
    if hit is not None:
        (held, holder), (wanted, job) = (claims[position] for position in hit)
        what = "checkpoint" if wanted in jobs[job][1].states else "output"
        raise OutputConflictError(
            f"{jobs[job][0]}: {what} '{wanted}' conflicts with '{held}' of {jobs[holder][0]}; "
            f"each job needs {what}s of its own"
        )


def note_submissions(tracker: Tracker, found: Mapping[int, Sequence[SlurmJob]]) -> None:
    """Note the jobs that Slurm took, by the tracked jobs' ids; those that are gone are passed over.

    Jobs that are noted already are brought up to date.
    """
    with tracker.database.transaction() as connection:
        for tracked_id, slurm_jobs in found.items():
            note_submitted(connection, tracked_id, slurm_jobs)


def note_all(
    tracker: Tracker,
    *,
    extra: Mapping[int, Mapping[str, Any]] | None = None,
    identities: Mapping[int, Mapping[str, Any]] | None = None,
    contents: Mapping[int, Mapping[str, bytes]] | None = None,
) -> None:
    """Note more about jobs, beside what was noted before; those that are gone are passed over.

    Parameters
    ----------
    tracker : Tracker
        The open jobs of the dataset.
    extra, identities : mapping, optional
        What to note, by the tracked jobs' ids.
    contents : mapping, optional
        What to keep with each, by its SHA-256.
    """
    with tracker.database.transaction() as connection:
        for column, more in (("extra", extra or {}), ("identities", identities or {})):
            noted = f"SELECT {column} FROM jobs WHERE id = ?"  # noqa: S608 - constants
            values = [
                (to_json({**from_json(before), **more[tracked_id]}), tracked_id)
                for tracked_id in more
                for (before,) in connection.execute(noted, (tracked_id,))
            ]
            note = f"UPDATE jobs SET {column} = ? WHERE id = ?"  # noqa: S608 - constants
            connection.executemany(note, values)
        for tracked_id, kept in (contents or {}).items():
            if connection.execute("SELECT 1 FROM jobs WHERE id = ?", (tracked_id,)).fetchone():
                keep(connection, tracked_id, kept)


def free_all(tracker: Tracker, tracked_ids: Iterable[int]) -> set[int]:
    """Drop claims, unless a job was noted for them; return those that are gone."""
    with tracker.database.transaction() as connection:
        return {each for each in tracked_ids if free(connection, each)}
