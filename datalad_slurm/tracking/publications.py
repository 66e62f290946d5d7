"""Commits on their way to the branch, so that none is lost or made twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import delete, select

from datalad_slurm.tracking.database import Database
from datalad_slurm.tracking.schema import PublicationRow
from datalad_slurm.tracking.store import forget_rows

__all__ = ["Publication", "complete", "discard", "note", "pending"]


@dataclass(frozen=True)
class Publication:
    """Built commits, and the tracked jobs that they are to replace."""

    id: int
    branch: str
    base: str
    tip: str
    jobs: tuple[int, ...]


def note(database: Database, branch: str, base: str, tip: str, jobs: Iterable[int]) -> Publication:
    """Note commits before the branch is moved onto them."""
    row = PublicationRow(branch=branch, base=base, tip=tip, jobs=list(jobs))
    with database.transaction() as session:
        session.add(row)
        session.flush()
        return _publication(row)


def pending(database: Database) -> list[Publication]:
    """Return what was noted, but neither completed nor discarded."""
    with database.transaction() as session:
        rows = session.scalars(select(PublicationRow).order_by(PublicationRow.id))
        return [_publication(row) for row in rows]


def complete(database: Database, publication: Publication) -> None:
    """Forget the jobs, now that the branch has their commits."""
    with database.transaction() as session:
        forget_rows(session, publication.jobs)
        session.execute(delete(PublicationRow).where(PublicationRow.id == publication.id))


def discard(database: Database, publication: Publication) -> None:
    """Forget commits that did not become the branch's; their jobs stay open."""
    with database.transaction() as session:
        session.execute(delete(PublicationRow).where(PublicationRow.id == publication.id))


def _publication(row: PublicationRow) -> Publication:
    return Publication(row.id, row.branch, row.base, row.tip, tuple(row.jobs))
