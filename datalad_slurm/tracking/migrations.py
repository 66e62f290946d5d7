"""From the schema of an earlier version to the present one."""

from __future__ import annotations

import glob
import sqlite3
from collections.abc import Callable, Mapping

from datalad_slurm.jobs.claims import beginning
from datalad_slurm.jobs.task_outputs import literally
from datalad_slurm.tracking.schema import (
    CONTENT_STATEMENTS,
    SCHEMA_VERSION,
    from_json,
    path_from_row,
    path_to_row,
    to_json,
)

__all__ = ["migrate"]


def _from_1(connection: sqlite3.Connection) -> None:
    """Add identities of inputs, what claims begin with, and subdatasets of publications."""
    for statement in (
        "ALTER TABLE jobs ADD COLUMN identities JSON NOT NULL DEFAULT '{}'",
        "ALTER TABLE claims ADD COLUMN start BLOB NOT NULL DEFAULT x''",
        "ALTER TABLE publications ADD COLUMN subdataset BLOB NOT NULL DEFAULT x''",
        "DROP INDEX claims_by_path",
        "CREATE INDEX claims_by_start ON claims (start)",
    ):
        connection.execute(statement)
    for row_id, path in connection.execute("SELECT id, path FROM claims").fetchall():
        claim = glob.escape(path_from_row(path))  # there were no globs
        values = (path_to_row(claim), path_to_row(beginning(claim)), row_id)
        connection.execute("UPDATE claims SET path = ?, start = ? WHERE id = ?", values)


def _from_2(connection: sqlite3.Connection) -> None:
    """Add what is needed for outputs with patterns, and keep percent signs what they were."""
    for statement in (
        "ALTER TABLE jobs ADD COLUMN templates JSON NOT NULL DEFAULT '[]'",
        "ALTER TABLE publications ADD COLUMN parts JSON NOT NULL DEFAULT '[]'",
    ):
        connection.execute(statement)
    query = "SELECT id, declared_outputs FROM jobs WHERE instr(declared_outputs, '%')"
    for row_id, declared in connection.execute(query).fetchall():
        values = (to_json([*map(literally, from_json(declared))]), row_id)
        connection.execute("UPDATE jobs SET declared_outputs = ? WHERE id = ?", values)


def _from_3(connection: sqlite3.Connection) -> None:
    """Add what keeps scripts and environments of jobs."""
    for statement in CONTENT_STATEMENTS:
        connection.execute(statement)


#: What leads from a version to the next one, and in the end to what `schema` makes anew.
_STEPS: Mapping[int, Callable[[sqlite3.Connection], None]] = {
    1: _from_1,
    2: _from_2,
    3: _from_3,
}


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring a database of an earlier version to the present one.

    All steps belong to the transaction that the caller has begun: a process
    that is killed leaves the earlier version, and of two the second finds the
    present one.
    """
    for step in range(version, SCHEMA_VERSION):
        _STEPS[step](connection)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
