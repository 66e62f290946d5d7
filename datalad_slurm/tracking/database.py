"""Open the tracking database: transactions, schema versions, errors in plain words."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from datalad_slurm.jobs.errors import DatabaseError
from datalad_slurm.tracking.creation import create, drop_leftovers
from datalad_slurm.tracking.schema import SCHEMA_VERSION

__all__ = ["ATTACHED", "DEFAULT_BUSY_TIMEOUT", "Database"]

lgr = logging.getLogger("datalad.slurm")

#: Seconds to wait for another process's transaction.
DEFAULT_BUSY_TIMEOUT = 60.0
#: Name of a further database in a transaction that spans two.
ATTACHED = "attached"
#: SQLite's words for a file that does not hold what was written to it
_WORDS_FOR_DAMAGE = ("malformed", "not a database", "no such", "Could not decode")
_MOVE_IT_AWAY = (
    "move it away, and track the jobs that are still open again with "
    "`datalad slurm-schedule --job-id`"
)
_ACCESS = {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}


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
        try:
            is_lost = _ensure_there(path)
        except OSError as exc:
            raise DatabaseError(
                f"cannot make the tracking database {path}: {exc.strerror}"
            ) from exc
        except sqlite3.Error as exc:
            raise DatabaseError(f"cannot make the tracking database {path}: {exc}") from exc
        with self.transaction() as connection:
            self._bring_up_to_date(connection)
        if is_lost:
            lgr.warning(
                "the tracking database %s was gone, and a new one was made; jobs that were open "
                "are not known any more: track them again with `datalad slurm-schedule --job-id`",
                path,
            )

    @contextmanager
    def transaction(
        self, attached: Path | None = None, patience: float | None = None
    ) -> Iterator[sqlite3.Connection]:
        """Enter a transaction that is committed at the end, or else rolled back.

        Parameters
        ----------
        attached : Path, optional
            Another database, under the name `ATTACHED`. The transaction holds
            for both: SQLite commits to both files or to none.
        patience : float, optional
            Seconds to wait for another process's transaction; when not given,
            as long as always.

        Raises
        ------
        DatabaseError
            When the database cannot be used.
        """
        timeout = self._busy_timeout if patience is None else patience
        try:
            # Closing a connection takes back what was not committed.
            with closing(_connect(self.path, timeout, attached)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
        except (sqlite3.Error, ValueError) as exc:
            raise DatabaseError(self._explain(exc)) from exc

    def _bring_up_to_date(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version < 1:
            raise DatabaseError(self._explain_damage("it is empty, or its header is lost"))
        if version > SCHEMA_VERSION:
            raise DatabaseError(
                f"the tracking database {self.path} is of version {version}, and this "
                f"datalad-slurm knows versions up to {SCHEMA_VERSION}; use the newer "
                "datalad-slurm that wrote it"
            )
        if version < SCHEMA_VERSION:
            from datalad_slurm.tracking.migrations import migrate

            migrate(connection, version)

    def _explain(self, cause: Exception) -> str:
        text = str(cause)
        if "locked" in text or "busy" in text:
            return (
                f"the tracking database {self.path} has been locked by another process for "
                f"more than {self._busy_timeout:g} s; try again when that has ended"
            )
        if isinstance(cause, ValueError) or any(words in text for words in _WORDS_FOR_DAMAGE):
            return self._explain_damage(text)
        return self._explain_access() or f"the tracking database {self.path} cannot be used: {text}"

    def _explain_damage(self, what: str) -> str:
        return f"the tracking database {self.path} is damaged ({what}); {_MOVE_IT_AWAY}"

    def _explain_access(self) -> str:
        """Return what keeps this process from the file, or nothing."""
        path = self.path
        if path.is_dir():
            return f"a directory is in the place of the tracking database {path}; {_MOVE_IT_AWAY}"
        if path.is_symlink() and not path.exists():
            return (
                f"the tracking database {path} is a link to {path.readlink()}, which is not there"
            )
        if not path.exists():
            return f"the tracking database {path} was removed meanwhile; run the command again"
        for place, modes in ((path, "rw"), (path.parent, "rwx")):
            if not os.access(place, sum(_ACCESS[mode] for mode in modes)):
                return (
                    f"the tracking database {path} needs permission to read and write {place}; "
                    f"`chmod u+{modes}` gives it, unless the file system is read-only"
                )
        return ""


def _ensure_there(path: Path) -> bool:
    """Make a database where there is none; return whether one has been in use there."""
    try:
        names = os.lstat(path).st_nlink
    except FileNotFoundError:
        is_used = any((path.parent / name).exists() for name in ("submissions", "finish.alive"))
        is_lost = is_used and not path.exists()  # another process may have made it just now
        create(path)
        return is_lost
    if names > 1:
        drop_leftovers(path)
    return False


def _connect(path: Path, busy_timeout: float, attached: Path | None) -> sqlite3.Connection:
    connection = sqlite3.connect(_uri(path), uri=True, timeout=busy_timeout, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    if attached is not None:
        connection.execute(f"ATTACH ? AS {ATTACHED}", (_uri(attached),))
    return connection


def _uri(path: Path) -> str:
    """Return how SQLite opens a file without making it: an empty file is a damaged one."""
    return f"{path.absolute().as_uri()}?mode=rw"
