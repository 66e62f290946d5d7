"""Jobs in memory, between slurmctld's spool and the archive."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from datalad_slurm.jobs.site_archive import Submitted
from datalad_slurm.site.accounts import Owner

__all__ = ["Backlog", "Waiting"]


@dataclass
class Waiting:
    """A job that was read and is not written yet."""

    job: Submitted
    #: when it was read (monotonic)
    since: float
    #: None as long as it is not known whose it is
    owner: Owner | None


class Backlog:
    """The jobs that wait, and for what; no more of them than some memory holds.

    Parameters
    ----------
    most : int
        Bytes of jobs after which no more should be added.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0
        #: can be written
        self.ready: deque[Waiting] = deque()
        #: wait until it is known whose they are
        self.unclear: list[Waiting] = []
        #: wait for another try
        self.failed: list[Waiting] = []

    def __len__(self) -> int:
        return len(self.ready) + len(self.unclear) + len(self.failed)

    @property
    def is_full(self) -> bool:
        """Whether no more jobs should be added."""
        return self._bytes >= self._most

    @property
    def job_ids(self) -> list[int]:
        """The ids of all jobs."""
        return [each.job.job_id for each in (*self.failed, *self.ready, *self.unclear)]

    def add(self, job: Submitted, since: float, owner: Owner | None) -> None:
        """Add a job that was read."""
        waiting = Waiting(job, since, owner)
        self._bytes += job.size
        (self.unclear if owner is None else self.ready).append(waiting)

    def sort_out(self) -> None:
        """Make those ready of which it has become known whose they are."""
        self.ready += (each for each in self.unclear if each.owner is not None)
        self.unclear = [each for each in self.unclear if each.owner is None]

    def try_failed_again(self) -> None:
        """Make those ready that have failed."""
        self.ready += self.failed
        self.failed = []

    def drop(self, waiting: Waiting) -> None:
        """Forget a job that is written, and was taken out of those that are ready."""
        self._bytes -= waiting.job.size
