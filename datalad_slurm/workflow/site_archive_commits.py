"""When an archive that is a dataset gets its commits."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.site_archive import commit_files, uncommitted_files
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["Commits"]

lgr = logging.getLogger("datalad.slurm")

#: Files after which a commit is made before its time.
_MOST_UNCOMMITTED = 20_000


@dataclass
class Commits:
    """One commit for all that was written in some time.

    Parameters
    ----------
    repo : Repo or None
        Where to commit; without one, nothing happens.
    interval : float
        Seconds between two commits.
    """

    repo: Repo | None
    interval: float
    made: int = 0
    #: why the last one could not be made
    trouble: str = ""
    #: files that are not committed; None when they have to be looked for, as at a start
    _files: list[str] | None = None
    _next: float = 0.0

    def note(self, paths: Sequence[str]) -> None:
        """Note files that were written, relative to the archive."""
        if self.repo is not None and self._files is not None:
            self._files += paths

    @property
    def next_time(self) -> float:
        """When there will be something to commit (monotonic), or infinity."""
        return float("inf") if self.repo is None or self._files == [] else self._next

    def make_if_due(self) -> None:
        """Commit when it is time, or when there is much."""
        is_much = self._files is not None and len(self._files) >= _MOST_UNCOMMITTED
        if is_much or time.monotonic() >= self.next_time:
            self.make()

    def make(self) -> None:
        """Commit; what fails is tried again when it is time, after a look at what there is."""
        if self.repo is None:
            return
        self._next = time.monotonic() + self.interval
        try:
            paths = uncommitted_files(self.repo) if self._files is None else self._files
            self._files = None
            if paths:
                self.made += commit_files(self.repo, paths, _message(paths))
                lgr.info("%s files are committed", len(paths))
            self._files, self.trouble = [], ""
        except (DatasetError, OSError) as exc:
            self.trouble = str(exc)
            lgr.error("the archive could not be committed: %s; it is tried again", exc)


def _message(paths: Sequence[str]) -> str:
    """Return the message of a commit with some jobs' files."""
    jobs = sorted({int(path.rpartition("/")[2].partition("-")[0]) for path in paths})
    if len(jobs) == 1:
        return f"Slurm job {jobs[0]}"
    return f"{len(jobs)} Slurm jobs, {jobs[0]} to {jobs[-1]}"
