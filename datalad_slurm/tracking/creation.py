"""Make a new tracking database, whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import time
import uuid
from contextlib import closing
from pathlib import Path

from datalad_slurm.tracking.schema import SCHEMA_VERSION, STATEMENTS

__all__ = ["create", "drop_leftovers"]

#: What link(2) says where there are no hard links.
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
#: A process does not take longer to make a database (seconds).
_LEFT_AFTER = 3600.0


def create(path: Path) -> None:
    """Make a database at `path`, unless another process is first.

    It is built under another name, so that a file of this name is never empty
    or half made: one that is empty has lost its content.

    Raises
    ------
    OSError, sqlite3.Error
        When it cannot be made.
    """
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.new")
    try:
        # SQLite itself would not let the group write, whatever the umask
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        _fill(part)
        _give_name(part, path)
    finally:
        part.unlink(missing_ok=True)
    drop_leftovers(path)


def _fill(part: Path) -> None:
    with closing(sqlite3.connect(part, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")  # nobody else knows this file
        connection.execute("BEGIN")
        for statement in STATEMENTS:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")


def _give_name(part: Path, path: Path) -> None:
    try:
        os.link(part, path)
    except FileExistsError:
        return
    except OSError as exc:
        if exc.errno not in _NO_HARD_LINKS:
            raise
        _rename_unless_there(part, path)


def _rename_unless_there(part: Path, path: Path) -> None:
    """Rename under a lock, which on a few file systems holds on one node only."""
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if not os.path.lexists(path):
            part.rename(path)
    finally:
        os.close(directory)


def drop_leftovers(path: Path) -> None:
    """Remove what processes that were killed while they made a database have left."""
    for left in path.parent.glob(f"{path.name}.*.new*"):
        try:
            if left.samefile(path) or left.stat().st_mtime < time.time() - _LEFT_AFTER:
                left.unlink()
        except FileNotFoundError:
            pass  # another process has made its database, or was faster here
