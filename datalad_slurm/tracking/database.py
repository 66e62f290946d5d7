"""Open the tracking database: transactions, schema versions, errors in plain words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine, event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError as SqlError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from datalad_slurm.jobs.errors import DatabaseError
from datalad_slurm.tracking.schema import SCHEMA_VERSION, Base

__all__ = ["DEFAULT_BUSY_TIMEOUT", "Database"]

#: Seconds to wait for another process's transaction.
DEFAULT_BUSY_TIMEOUT = 60.0


class Database:
    """An SQLite database in one file.

    It keeps a rollback journal: write-ahead logging needs shared memory, which
    parallel file systems do not give across nodes. Each transaction takes the
    write lock at its start, so that what it reads stays true until it ends.

    Parameters
    ----------
    path : Path
        The file; made, with its directory, when it is not there.
    busy_timeout : float
        Seconds to wait for another process's transaction.

    Raises
    ------
    DatabaseError
        When the file is no database, damaged, or of a newer version.
    """

    def __init__(self, path: Path, busy_timeout: float = DEFAULT_BUSY_TIMEOUT) -> None:
        self.path = path
        self._busy_timeout = busy_timeout
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise DatabaseError(f"cannot make {path.parent}: {exc.strerror}") from exc
        self._engine = _engine(path, busy_timeout)
        with self.transaction() as session:
            _bring_up_to_date(session.connection(), path)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Enter a transaction that is committed at the end, or else rolled back.

        Raises
        ------
        DatabaseError
            When the database cannot be used.
        """
        try:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                yield session
        except SqlError as exc:
            raise DatabaseError(self._explain(exc.orig)) from exc
        except (SQLAlchemyError, sqlite3.Error) as exc:
            raise DatabaseError(self._explain(exc)) from exc

    def _explain(self, cause: Any) -> str:
        text = str(cause)
        if "locked" in text or "busy" in text:
            return (
                f"the tracking database {self.path} has been locked by another process for "
                f"more than {self._busy_timeout:g} s; try again when that has ended"
            )
        if "malformed" in text or "not a database" in text or "no such" in text:
            return (
                f"the tracking database {self.path} is damaged ({text}); move it away, and track "
                "the jobs that are still open again with `datalad slurm-schedule --job-id`"
            )
        return f"the tracking database {self.path} cannot be used: {text}"


@cache
def _engine(path: Path, busy_timeout: float) -> Engine:
    """Return an engine that knows the statements it has compiled, however often it is asked for."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=busy_timeout, isolation_level=None)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _bring_up_to_date(connection: Connection, path: Path) -> None:
    version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    if version == SCHEMA_VERSION:
        return
    if version > SCHEMA_VERSION:
        raise DatabaseError(
            f"the tracking database {path} is of version {version}, and this datalad-slurm knows "
            f"versions up to {SCHEMA_VERSION}; use the newer datalad-slurm that wrote it"
        )
    Base.metadata.create_all(connection)
    connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
