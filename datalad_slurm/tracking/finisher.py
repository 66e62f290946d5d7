"""Only one process at a time commits in a dataset."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from datalad_slurm.jobs.errors import DatabaseError
from datalad_slurm.jobs.process import Process
from datalad_slurm.tracking.database import Database
from datalad_slurm.tracking.process import (
    current_process,
    is_running,
    process_from_row,
    process_to_row,
)
from datalad_slurm.tracking.schema import from_json, to_json

__all__ = ["only_finisher"]

_POLL_INTERVAL = 0.5


@contextmanager
def only_finisher(
    database: Database,
    patience: float,
    on_wait: Callable[[str], None],
    *,
    take_over: bool = False,
) -> Iterator[None]:
    """Enter as the only process that finishes jobs; wait for another one to end.

    A process that has died does not count. One on another host cannot be
    looked at from here, so it counts until somebody says otherwise.

    Parameters
    ----------
    database : Database
        The tracking database.
    patience : float
        Seconds to wait for the other process.
    on_wait : callable
        Told once, in words, for whom we wait.
    take_over : bool
        Enter at once, whoever else claims to be at work.

    Raises
    ------
    DatabaseError
        When the other process is still at work after that time.
    """
    deadline = time.monotonic() + patience
    told = False
    while (other := _enter(database, take_over=take_over)) is not None:
        holder, since = other
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))
        who = f"{holder}, at work since {clock}"
        if time.monotonic() >= deadline:
            raise DatabaseError(
                f"jobs of this dataset are being finished by {who}; wait for it, or, if it is "
                "certain that it has died, repeat with `datalad -c datalad.slurm.take-over=true`"
            )
        if not told:
            on_wait(f"waiting for another slurm-finish: {who}")
            told = True
        time.sleep(_POLL_INTERVAL)
    try:
        yield
    finally:
        with database.transaction() as connection:
            connection.execute("DELETE FROM finisher WHERE process = ?", (_own_row(),))


def _own_row() -> str:
    return to_json(process_to_row(current_process()))


def _enter(database: Database, *, take_over: bool) -> tuple[Process, int] | None:
    """Become the finisher and return None, or return who is it and since when."""
    with database.transaction() as connection:
        row = connection.execute("SELECT process, since FROM finisher").fetchone()
        if row is not None:
            process, since = row
            holder = process_from_row(from_json(process))
            if not take_over and is_running(holder) is not False:
                return holder, since
            connection.execute("DELETE FROM finisher")
        values = (_own_row(), int(time.time()))
        connection.execute("INSERT INTO finisher (id, process, since) VALUES (1, ?, ?)", values)
    return None
