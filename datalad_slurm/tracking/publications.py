"""Commits on their way to the branches, so that none is lost or made twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import delete, select

from datalad_slurm.jobs.tasks import TaskId, expand_tasks, fold_tasks
from datalad_slurm.tracking.database import Database
from datalad_slurm.tracking.rows import release_tasks
from datalad_slurm.tracking.schema import PublicationRow
from datalad_slurm.tracking.store import forget_rows

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


def note(database: Database, publications: Iterable[Publication]) -> None:
    """Note commits before the branches are moved onto them."""
    with database.transaction() as session:
        for each in publications:
            session.add(
                PublicationRow(
                    subdataset=each.subdataset,
                    branch=each.branch,
                    base=each.base,
                    tip=each.tip,
                    jobs=list(each.jobs),
                    parts=[
                        [tracked_id, job_id, fold_tasks(tasks)]
                        for tracked_id, part in each.parts.items()
                        for job_id, tasks in _by_job(part).items()
                    ],
                )
            )


def pending(database: Database) -> Sequence[Publication]:
    """Return what was noted, but neither completed nor withdrawn."""
    with database.transaction() as session:
        rows = session.scalars(select(PublicationRow).order_by(PublicationRow.id))
        return [
            Publication(row.subdataset, row.branch, row.base, row.tip, tuple(row.jobs), _parts(row))
            for row in rows
        ]


def _by_job(tasks: Iterable[TaskId]) -> dict[int, list[TaskId]]:
    groups: dict[int, list[TaskId]] = {}
    for task in tasks:
        groups.setdefault(task.job_id, []).append(task)
    return groups


def _parts(row: PublicationRow) -> dict[int, tuple[TaskId, ...]]:
    parts: dict[int, tuple[TaskId, ...]] = {}
    for tracked_id, job_id, tasks in row.parts:
        parts[tracked_id] = (*parts.get(tracked_id, ()), *expand_tasks(job_id, tasks))
    return parts


def complete(database: Database, jobs: Iterable[int]) -> None:
    """Forget jobs, or their tasks, whose commits the branch has, and all that was noted."""
    with database.transaction() as session:
        parts: dict[int, tuple[TaskId, ...]] = {}
        for row in session.scalars(select(PublicationRow)):
            parts |= _parts(row)
        committed = list(jobs)
        forget_rows(session, (tracked_id for tracked_id in committed if tracked_id not in parts))
        for tracked_id in parts.keys() & committed:
            release_tasks(session, tracked_id, parts[tracked_id])
        session.execute(delete(PublicationRow))


def withdraw(database: Database) -> None:
    """Forget commits that did not become the branches'; their jobs stay open."""
    complete(database, ())
