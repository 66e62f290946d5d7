"""What is kept of jobs until they are committed: scripts and environments, each content once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

from datalad_slurm.tracking.database import Database

__all__ = ["keep", "read_contents"]

_ADD = "INSERT OR IGNORE INTO contents (sha256, content) VALUES (?, ?)"
_NEED = "INSERT OR IGNORE INTO kept (job, sha256) VALUES (?, ?)"
_READ = "SELECT content FROM contents WHERE sha256 = ?"


def keep(connection: sqlite3.Connection, tracked_id: int, contents: Mapping[str, bytes]) -> None:
    """Keep contents, by their SHA-256, as long as a job is tracked."""
    connection.executemany(_ADD, contents.items())
    connection.executemany(_NEED, [(tracked_id, digest) for digest in contents])


def read_contents(database: Database, digests: Iterable[str]) -> dict[str, bytes]:
    """Return what is kept, by its SHA-256; what is not here is left out."""
    with database.transaction() as connection:
        rows = ((digest, connection.execute(_READ, (digest,)).fetchone()) for digest in digests)
        return {digest: row[0] for digest, row in rows if row is not None}
