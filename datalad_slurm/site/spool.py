"""slurmctld's spool: which jobs are new in it, and what it holds of each.

A directory is looked through after it is watched, so nothing appears in between
unseen. A job's own directory is watched only if it is not complete when it is
first looked at, and is then looked at once more.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import select
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.site_archive import Submitted, parse_environment, parse_script

__all__ = ["Spool"]

lgr = logging.getLogger("datalad.slurm")

_HASH = re.compile(r"hash\.\d+", re.ASCII)
_JOB = re.compile(r"job\.(\d{1,18})", re.ASCII)
#: How often, in seconds, what is not complete is looked at without being told to.
_LOOK_AGAIN = 5.0


class Spool:
    """The spool of a slurmctld, watched or only looked through once.

    Jobs are named by their directories relative to the spool, as ``hash.7/job.4711``.

    Parameters
    ----------
    root : Path
        slurmctld's StateSaveLocation.
    watch : bool
        Whether to hear of what appears later.

    Raises
    ------
    InvalidRequestError
        When it cannot be read or watched.
    """

    def __init__(self, root: Path, *, watch: bool) -> None:
        self._root = root
        self._inotify: Any = _inotify() if watch else None
        #: watched directories by their watch descriptors; the spool itself is ""
        self._watched: dict[int, str] = {}
        #: to be looked at, in the order of their appearance
        self._new: dict[str, None] = {}
        #: not complete when they were last looked at, with their watch descriptors or None
        self._incomplete: dict[str, int | None] = {}
        #: read, and still in the spool
        self._taken: set[str] = set()
        self._must_rescan = False
        #: when what is not complete is looked at without being told to (monotonic)
        self._next_look = time.monotonic() + _LOOK_AGAIN
        #: jobs that went before they could be read
        self.vanished: list[int] = []
        try:
            self.rescan()
        except OSError as exc:
            self.close()
            raise InvalidRequestError(_cannot_watch(root, exc)) from exc
        if not any(_hash_directories(root)):
            lgr.warning(
                "%s has no directories hash.* yet; is it slurmctld's StateSaveLocation?", root
            )

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Watch no more."""
        if self._inotify is not None:
            self._inotify.close()

    def rescan(self) -> None:
        """Look through all that is there, beside what is heard of.

        Raises
        ------
        OSError
            When the spool cannot be read or watched.
        """
        self._must_rescan = False
        self._watch("")
        present: set[str] = set()
        for name in _hash_directories(self._root):
            present.update(self._enter(name))
        self._taken &= present
        for job in [job for job in self._incomplete if job not in present]:
            self._vanish(job)

    @property
    def is_waiting(self) -> bool:
        """Whether there are jobs to look at."""
        return bool(self._new)

    @property
    def incomplete(self) -> list[str]:
        """Jobs that slurmctld has not written whole."""
        return list(self._incomplete)

    def wait(self, wakers: Iterable[int], seconds: float) -> None:
        """Wait for news, for one of some descriptors to become readable, or for a time."""
        if self._must_rescan:
            seconds = 0.0
        elif self._incomplete:
            seconds = min(seconds, _LOOK_AGAIN)
        _readable([self._inotify.fileno(), *wakers], seconds)
        for event in self._inotify.read(timeout=0):
            self._note(event)
        if time.monotonic() >= self._next_look:
            self._new.update(dict.fromkeys(self._incomplete))
            self._next_look = time.monotonic() + _LOOK_AGAIN
        if self._must_rescan:
            try:
                self.rescan()
            except OSError as exc:
                self._must_rescan = True
                lgr.error("%s; trying again", _cannot_watch(self._root, exc))
                _readable(wakers, _LOOK_AGAIN)

    def take(self, most: int) -> list[Submitted]:
        """Return jobs that are new and complete, after looking at no more than some.

        Each is returned once as long as slurmctld keeps it, however often it is requeued.
        """
        found = []
        for job in list(self._new)[:most]:
            submitted = self._look(job)
            if submitted is None and self._watch_job(job):
                submitted = self._look(job)
            if submitted is not None:
                found.append(submitted)
                self._taken.add(job)
                self._unwatch_job(job)
            self._new.pop(job, None)
        return found

    def _look(self, job: str) -> Submitted | None:
        """Return what is there of a job if it is all there."""
        directory = self._root / job
        try:
            with (directory / "script").open("rb") as file:
                script = parse_script(file.read())
                at = os.fstat(file.fileno()).st_mtime
            environment = parse_environment((directory / "environment").read_bytes())
        except FileNotFoundError:
            if not directory.exists():
                self._vanish(job)
            return None
        except OSError as exc:
            lgr.error("%s: %s; trying again", exc.filename, exc.strerror)
            return None
        if script is None or environment is None:
            return None
        return Submitted(_job_id(job), at, script, environment)

    def _note(self, event: Any) -> None:
        from inotify_simple import flags

        if event.mask & flags.Q_OVERFLOW:
            lgr.warning("more was submitted at once than could be heard of; looking through all")
            self._must_rescan = True
            return
        where = self._watched.get(event.wd)
        if where is None:
            return
        if event.mask & flags.IGNORED:
            del self._watched[event.wd]
            # what is gone may come again, and then has to be watched anew
            self._must_rescan |= where == ""
        elif where == "":
            self._must_rescan |= bool(_HASH.fullmatch(event.name))
        elif "/" in where:
            self._new[where] = None
        elif _JOB.fullmatch(event.name):
            self._note_job(f"{where}/{event.name}", is_gone=bool(event.mask & flags.DELETE))

    def _note_job(self, job: str, *, is_gone: bool) -> None:
        if is_gone:
            self._taken.discard(job)
            self._vanish(job)
        elif job not in self._taken:
            self._new[job] = None

    def _vanish(self, job: str) -> None:
        if job in self._new or job in self._incomplete:
            self.vanished.append(_job_id(job))
        self._new.pop(job, None)
        self._incomplete.pop(job, None)

    def _enter(self, hash_directory: str) -> set[str]:
        """Watch a directory of jobs, and return those in it; new ones are noted."""
        try:
            self._watch(hash_directory)
            names = [path.name for path in (self._root / hash_directory).iterdir()]
        except FileNotFoundError:
            return set()
        jobs = {f"{hash_directory}/{name}" for name in names if _JOB.fullmatch(name)}
        self._new.update(dict.fromkeys(sorted(jobs - self._taken)))
        return jobs

    def _watch(self, directory: str) -> None:
        if self._inotify is None:
            return
        from inotify_simple import flags

        mask = flags.CREATE | flags.MOVED_TO | flags.DELETE | flags.ONLYDIR
        self._watched[self._inotify.add_watch(self._root / directory, mask)] = directory

    def _watch_job(self, job: str) -> bool:
        """Hear of it when a job becomes complete; return whether that is new."""
        if job not in self._new or self._incomplete.get(job) is not None:
            return False
        self._incomplete[job] = descriptor = None
        if self._inotify is None:
            return False
        from inotify_simple import flags

        mask = flags.CLOSE_WRITE | flags.MOVED_TO | flags.ONLYDIR
        try:
            descriptor = self._inotify.add_watch(self._root / job, mask)
            self._watched[descriptor] = job
        except OSError as exc:
            # too many watches, most likely: then it is looked at from time to time
            lgr.debug("%s cannot be watched: %s", job, exc.strerror)
        self._incomplete[job] = descriptor
        return True

    def _unwatch_job(self, job: str) -> None:
        descriptor = self._incomplete.pop(job, None)
        if descriptor is not None and self._watched.pop(descriptor, None) is not None:
            try:
                self._inotify.rm_watch(descriptor)
            except OSError as exc:
                if exc.errno != errno.EINVAL:  # gone with the directory
                    raise


def _inotify() -> Any:
    try:
        from inotify_simple import INotify
    except ImportError as exc:
        raise InvalidRequestError(
            "watching needs the Python package inotify-simple: `pip install '.[site]'` in a clone "
            "of datalad-slurm; --once does without"
        ) from exc
    try:
        return INotify()
    except OSError as exc:
        raise InvalidRequestError(
            f"inotify cannot be used: {exc.strerror}; see fs.inotify.max_user_instances"
        ) from exc


def _readable(descriptors: Iterable[int], seconds: float) -> None:
    """Wait until one of some descriptors can be read, or for a time."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    poll.poll(seconds * 1000)


def _hash_directories(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if _HASH.fullmatch(path.name))


def _job_id(job: str) -> int:
    return int(job.rpartition(".")[2])


def _cannot_watch(root: Path, exc: OSError) -> str:
    where = exc.filename or root
    if exc.errno == errno.ENOSPC:
        return f"{where} cannot be watched: raise fs.inotify.max_user_watches"
    said = f"the spool {where} cannot be read: {exc.strerror}"
    return f"{said}; run this as root or SlurmUser, with slurmctld's StateSaveLocation as --spool"
