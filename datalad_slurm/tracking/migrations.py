"""From the schema of an earlier version to the present one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.engine import Connection

from datalad_slurm.tracking.schema import SCHEMA_VERSION

__all__ = ["migrate"]

#: Statements that lead from a version to the next one, and to what `schema` makes anew.
_STEPS: Mapping[int, Sequence[str]] = {
    1: ["ALTER TABLE jobs ADD COLUMN identities JSON NOT NULL DEFAULT '{}'"],
}


def migrate(connection: Connection, version: int) -> None:
    """Bring a database of an earlier version to the present one.

    All steps belong to the transaction that the caller has begun: a process
    that is killed leaves the earlier version, and of two the second finds the
    present one.
    """
    for step in range(version, SCHEMA_VERSION):
        for statement in _STEPS[step]:
            connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
