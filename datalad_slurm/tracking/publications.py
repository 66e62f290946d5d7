"""Commits on their way to the branches, so that none is lost or made twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datalad_slurm.tracking.database import Database
from datalad_slurm.tracking.schema import from_json, path_from_row, path_to_row, to_json
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


_NOTE = "INSERT INTO publications (subdataset, branch, base, tip, jobs) VALUES (?, ?, ?, ?, ?)"
_PENDING = "SELECT subdataset, branch, base, tip, jobs FROM publications ORDER BY id"


def note(database: Database, publications: Iterable[Publication]) -> None:
    """Note commits before the branches are moved onto them."""
    rows = [
        (path_to_row(each.subdataset), each.branch, each.base, each.tip, to_json(each.jobs))
        for each in publications
    ]
    with database.transaction() as connection:
        connection.executemany(_NOTE, rows)


def pending(database: Database) -> Sequence[Publication]:
    """Return what was noted, but neither completed nor withdrawn."""
    with database.transaction() as connection:
        return [
            Publication(path_from_row(subdataset), branch, base, tip, tuple(from_json(jobs)))
            for subdataset, branch, base, tip, jobs in connection.execute(_PENDING)
        ]


def complete(database: Database, jobs: Iterable[int]) -> None:
    """Forget jobs whose commits the branch has, and all that was noted."""
    with database.transaction() as connection:
        forget_rows(connection, jobs)
        connection.execute("DELETE FROM publications")


def withdraw(database: Database) -> None:
    """Forget commits that did not become the branches'; their jobs stay open."""
    complete(database, ())
