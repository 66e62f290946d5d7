"""Commits on their way to the branches, so that none is lost or made twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select

from datalad_slurm.tracking.database import Database
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
                )
            )


def pending(database: Database) -> Sequence[Publication]:
    """Return what was noted, but neither completed nor withdrawn."""
    with database.transaction() as session:
        rows = session.scalars(select(PublicationRow).order_by(PublicationRow.id))
        return [
            Publication(row.subdataset, row.branch, row.base, row.tip, tuple(row.jobs))
            for row in rows
        ]


def complete(database: Database, jobs: Iterable[int]) -> None:
    """Forget jobs whose commits the branch has, and all that was noted."""
    with database.transaction() as session:
        forget_rows(session, jobs)
        session.execute(delete(PublicationRow))


def withdraw(database: Database) -> None:
    """Forget commits that did not become the branches'; their jobs stay open."""
    complete(database, ())
