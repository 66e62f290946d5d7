"""Open jobs in the database of an earlier datalad-slurm (0.2.x)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from datalad_slurm.jobs.errors import AlreadyTrackedError, DatabaseError, OutputConflictError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.tracking.database import ATTACHED, Database
from datalad_slurm.tracking.store import adopt_in

__all__ = ["Moved", "database_name", "move", "read"]

#: Seconds to wait for a process of the earlier version.
_BUSY_TIMEOUT = 5.0
#: Name of a dataset's database that has no id.
_NAME_WITHOUT_ID = "datalad-slurm"
_TABLES = ("open_jobs", "locked_names", "locked_prefixes")
_NEEDED = {"slurm_job_id", "cmd", "outputs", "pwd"}
_JSON = ("chain", "inputs", "extra_inputs", "outputs", "slurm_outputs")


def database_name(dsid: str) -> str:
    """Return the name of the earlier version's database, in the git directory."""
    is_name = bool(dsid) and "/" not in dsid and "\0" not in dsid
    return f"{dsid if is_name else _NAME_WITHOUT_ID}.db"


def read(path: Path) -> list[dict[str, Any]]:
    """Return the open jobs as they are kept there, lists decoded, with their locked names.

    Raises
    ------
    DatabaseError
        When the file cannot be read, or holds something else.
    """
    try:
        with closing(_connect(path)) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in names}
            if "open_jobs" not in tables:
                return []  # nothing was ever scheduled
            if not tables.issuperset(_TABLES):
                raise DatabaseError("it has not the tables of that version")
            cursor = connection.execute("SELECT * FROM open_jobs ORDER BY rowid")
            columns = [column[0] for column in cursor.description]
            if not _NEEDED.issubset(columns):
                raise DatabaseError("it has not the columns of that version")
            rows = [dict(zip(columns, values, strict=True)) for values in cursor]
            locked = connection.execute("SELECT slurm_job_id, name FROM locked_names").fetchall()
    except sqlite3.Error as exc:
        raise DatabaseError(str(exc)) from exc
    for row in rows:
        for column in _JSON:
            row[column] = _decoded(row.get(column))
        row["locked_names"] = [name for job_id, name in locked if job_id == row["slurm_job_id"]]
    return rows


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=rw"  # a journal of a killed process is rolled back
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT)
    connection.text_factory = lambda raw: raw.decode(errors="surrogateescape")
    return connection


def _decoded(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return text  # whoever checks the row says what is wrong with it


class Moved(NamedTuple):
    """What became of jobs that were to be moved."""

    jobs: Sequence[TrackedJob]
    #: why a job was left where it was, by its id
    left: dict[int, str]


def move(database: Database, path: Path, jobs: Sequence[tuple[TrackedJob, SlurmJob]]) -> Moved:
    """Move jobs from the earlier version's database into ours.

    One transaction spans both files, so each job is in one of them at any
    time. Whatever another process has moved meanwhile is left out.

    Raises
    ------
    DatabaseError
        When one of the databases cannot be used; nothing was moved.
    """
    moved: list[TrackedJob] = []
    left: dict[int, str] = {}
    try:
        with database.transaction(attached=path, patience=_BUSY_TIMEOUT) as connection:
            for claim, slurm_job in jobs:
                if not _is_there(connection, slurm_job.job_id):
                    continue
                try:
                    moved.append(adopt_in(connection, claim, slurm_job))
                except AlreadyTrackedError:
                    pass
                except OutputConflictError as exc:
                    left[slurm_job.job_id] = str(exc)
                    continue
                _remove(connection, slurm_job.job_id)
    except DatabaseError as exc:
        raise DatabaseError(str(exc.__cause__)) from exc
    return Moved(moved, left)


def _is_there(connection: sqlite3.Connection, job_id: int) -> bool:
    query = f"SELECT 1 FROM {ATTACHED}.open_jobs WHERE slurm_job_id = ?"  # noqa: S608 - a constant
    return connection.execute(query, (job_id,)).fetchone() is not None


def _remove(connection: sqlite3.Connection, job_id: int) -> None:
    for table in _TABLES:
        statement = f"DELETE FROM {ATTACHED}.{table} WHERE slurm_job_id = ?"  # noqa: S608 - as above
        connection.execute(statement, (job_id,))
