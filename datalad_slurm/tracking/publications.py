"""Commits on their way to the branches, so that none is lost or made twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from datalad_slurm.jobs.tasks import TaskId, expand_tasks, fold_tasks
from datalad_slurm.tracking.database import Database
from datalad_slurm.tracking.rows import forget_rows, release_tasks
from datalad_slurm.tracking.schema import from_json, path_from_row, path_to_row, to_json

__all__ = ["Publication", "complete", "note", "pending", "withdraw"]


@dataclass(frozen=True)
class Publication:
    """Built commits of one repository, and the tracked jobs that they are to replace."""

    #: path relative to the root; empty for the dataset itself
    subdataset: str
    #: full name of the branch, or ``HEAD`` when it is detached
    branch: str
    base: str
    tip: str
    #: ids of tracked jobs
    jobs: tuple[int, ...]
    #: of those that stay open, the tasks that are committed, by the tracked job
    parts: Mapping[int, tuple[TaskId, ...]] = field(default_factory=dict)


_NOTE = """
INSERT INTO publications (subdataset, branch, base, tip, jobs, parts) VALUES (?, ?, ?, ?, ?, ?)"""
_PENDING = "SELECT subdataset, branch, base, tip, jobs, parts FROM publications ORDER BY id"


def note(database: Database, publications: Iterable[Publication]) -> None:
    """Note commits before the branches are moved onto them."""
    rows = [
        (
            path_to_row(each.subdataset),
            each.branch,
            each.base,
            each.tip,
            to_json(each.jobs),
            to_json(
                [
                    [tracked_id, job_id, fold_tasks(tasks)]
                    for tracked_id, part in each.parts.items()
                    for job_id, tasks in _by_job(part).items()
                ]
            ),
        )
        for each in publications
    ]
    with database.transaction() as connection:
        connection.executemany(_NOTE, rows)


def pending(database: Database) -> Sequence[Publication]:
    """Return what was noted, but neither completed nor withdrawn."""
    with database.transaction() as connection:
        return [
            Publication(
                path_from_row(subdataset), branch, base, tip, tuple(from_json(jobs)), _parts(parts)
            )
            for subdataset, branch, base, tip, jobs, parts in connection.execute(_PENDING)
        ]


def _by_job(tasks: Iterable[TaskId]) -> dict[int, list[TaskId]]:
    groups: dict[int, list[TaskId]] = {}
    for task in tasks:
        groups.setdefault(task.job_id, []).append(task)
    return groups


def _parts(noted: str) -> dict[int, tuple[TaskId, ...]]:
    parts: dict[int, tuple[TaskId, ...]] = {}
    for tracked_id, job_id, tasks in from_json(noted):
        parts[tracked_id] = (*parts.get(tracked_id, ()), *expand_tasks(job_id, tasks))
    return parts


def complete(database: Database, jobs: Iterable[int]) -> None:
    """Forget jobs, or their tasks, whose commits the branch has, and all that was noted."""
    with database.transaction() as connection:
        parts: dict[int, tuple[TaskId, ...]] = {}
        for (noted,) in connection.execute("SELECT parts FROM publications"):
            parts |= _parts(noted)
        committed = list(jobs)
        forget_rows(connection, (each for each in committed if each not in parts))
        for tracked_id in parts.keys() & committed:
            release_tasks(connection, tracked_id, parts[tracked_id])
        connection.execute("DELETE FROM publications")


def withdraw(database: Database) -> None:
    """Forget commits that did not become the branches'; their jobs stay open."""
    complete(database, ())
