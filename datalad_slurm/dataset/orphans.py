"""Know of git processes that outlive a finisher that was killed."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from datalad_slurm.dataset.git import Repo, inherited
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["no_orphans"]

_FILE_NAME = "finish.alive"
_POLL_INTERVAL = 0.2


@contextmanager
def no_orphans(repo: Repo, patience: float) -> Iterator[None]:
    """Enter when no git process of an earlier finisher runs any more.

    A finisher that is killed leaves its git behind, which may yet move a
    branch. All git processes that are started inside inherit a locked file,
    so the lock is free only when the last of them has ended.

    Parameters
    ----------
    repo : Repo
        The dataset's repository.
    patience : float
        Seconds to wait for them.

    Raises
    ------
    DatasetError
        When one still runs after that time.

    Notes
    -----
    On file systems whose locks are local to a node (``localflock``) this sees
    only processes of the same node, and where there are no locks, none.
    """
    deadline = time.monotonic() + patience
    path = repo.state_file(_FILE_NAME)
    with path.open("a") as file:
        while not _lock(file.fileno()):
            if time.monotonic() > deadline:
                raise DatasetError(
                    "a git or git-annex process of a slurm-finish that was killed still runs; run "
                    f"`datalad slurm-finish` again when it has ended (it has {path} open)"
                )
            time.sleep(_POLL_INTERVAL)
        with inherited(file.fileno()):
            yield


def _lock(descriptor: int) -> bool:
    """Lock a file; return whether nobody else has it locked."""
    with suppress(OSError):  # a file system without locks
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
