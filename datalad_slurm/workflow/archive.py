"""``slurm-archive``: keep every job's script and environment, as slurmctld holds them.

    watch the spool -> read -> find out whose job it is -> write -> at intervals, commit

Jobs wait in the spool itself until there is room for them in memory; what could
not be written is tried again. Nothing else remembers what has been done: at a
start, all jobs in the spool are compared with the files that are there.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from datalad_slurm.dataset.archive import commit_files, open_archive, uncommitted_files
from datalad_slurm.dataset.git import Repo
from datalad_slurm.jobs.archive import Submitted
from datalad_slurm.jobs.errors import DatasetError, InvalidRequestError, QueryFailedError
from datalad_slurm.site.accounts import (
    NOBODY_KNOWN,
    Owner,
    owner_of_id,
    owner_of_name,
    read_groups,
)
from datalad_slurm.site.signals import Signals
from datalad_slurm.site.spool import Spool
from datalad_slurm.site.store import Store
from datalad_slurm.slurm import squeue
from datalad_slurm.workflow.context import Outcome

__all__ = ["ACTION", "ArchiveRequest", "archive"]

lgr = logging.getLogger("datalad.slurm")

ACTION = "slurm-archive"
#: Jobs that are looked at before the next events are taken from the kernel's queue.
_JOBS_A_ROUND = 100
#: Bytes of jobs in memory that could not be written yet; slurmctld drops its own in time.
_MOST_HELD = 64 * 2**20
#: Seconds until what has failed is tried again, and between two questions to slurmctld.
_RETRY = 5.0
#: Jobs that may fail to be written until the others wait for the next try as well.
_FAILURES_A_ROUND = 10
#: Seconds for slurmctld to answer.
_ANSWER = 30.0
#: Seconds for which slurmctld is asked whose a job is that does not say it itself.
_ASK_FOR = 600.0
#: Rounds, of 0.2 s, that --once gives slurmctld to write what it is writing.
_ONCE_ROUNDS = 10
_PAUSE = 0.2
#: Files after which a commit is made before its time.
_MOST_UNCOMMITTED = 20_000


@dataclass(frozen=True)
class ArchiveRequest:
    """What an administrator has asked for."""

    spool: Path
    to: Path
    groups: Path | None
    as_dataset: bool
    once: bool
    #: seconds between two commits
    interval: float


@dataclass
class _Held:
    """A job in memory."""

    job: Submitted
    since: float
    owner: Owner | None


@dataclass
class _Archive:
    """An archive at work."""

    request: ArchiveRequest
    spool: Spool
    store: Store
    repo: Repo | None
    #: jobs that were read and are not written yet
    held: list[_Held] = field(default_factory=list)
    written: int = 0
    vanished: int = 0
    commits: int = 0
    #: archived files that are not committed; None when they have to be looked for
    uncommitted: list[str] | None = None
    next_write: float = 0.0
    next_question: float = 0.0
    next_save: float = 0.0
    #: why nothing could be written, or committed, the last time
    trouble: str = ""
    save_trouble: str = ""

    def work(self) -> None:
        """Take one round of jobs from the spool to the disk."""
        room = _MOST_HELD - sum(each.job.size for each in self.held)
        if room > 0:
            now = time.monotonic()
            self.held += (
                _Held(job, now, owner_of_name(job.claimed_user))
                for job in self.spool.take(_JOBS_A_ROUND)
            )
        self._tell_vanished()
        self._ask_for_owners()
        if self.held and time.monotonic() >= self.next_write:
            self._write()

    def _tell_vanished(self) -> None:
        gone = self.spool.vanished
        if gone:
            self.vanished += len(gone)
            lgr.warning(
                "slurmctld has removed jobs before they could be read, or has not accepted them: "
                "%s; %s since the start",
                ", ".join(map(str, gone)), self.vanished,
            )  # fmt: skip
            gone.clear()

    def _ask_for_owners(self) -> None:
        """Ask Slurm, once for all, whose the jobs are that do not say it."""
        unclear = [each for each in self.held if each.owner is None]
        now = time.monotonic()
        if not unclear or now < self.next_question:
            return
        self.next_question = now + _RETRY
        try:
            found = squeue.find_owners((each.job.job_id for each in unclear), timeout=_ANSWER)
        except QueryFailedError as exc:
            lgr.warning("whose %s jobs are is not known yet: %s", len(unclear), exc)
            for each in unclear:
                if now - each.since > _ASK_FOR:
                    each.owner = NOBODY_KNOWN
            return
        for each in unclear:
            user_id = found.get(each.job.job_id)
            each.owner = NOBODY_KNOWN if user_id is None else owner_of_id(user_id)

    def _write(self) -> None:
        unclear = [each for each in self.held if each.owner is None]
        failed: list[_Held] = []
        clear = deque(each for each in self.held if each.owner is not None)
        while clear and len(failed) < _FAILURES_A_ROUND:
            each = clear.popleft()
            try:
                self._put(each.job, each.owner or NOBODY_KNOWN)
            except OSError as exc:
                failed.append(each)
                self._note_trouble(each.job, exc)
        if self.trouble and not failed:
            lgr.warning("the archive can be written again")
            self.trouble = ""
        # what has failed comes last, so that a single job does not hold up the others
        self.held = [*unclear, *clear, *failed]

    def _put(self, job: Submitted, owner: Owner) -> None:
        paths = self.store.put(job, owner)
        if paths:
            self.written += 1
            lgr.debug("job %s is archived: %s", job.job_id, paths[-1])
        if self.repo is not None and self.uncommitted is not None:
            self.uncommitted += paths

    def _note_trouble(self, job: Submitted, exc: OSError) -> None:
        self.store.forget_directories()
        self.next_write = time.monotonic() + _RETRY
        said = f"{exc.filename or self.store.root}: {exc.strerror}"
        if self.trouble != said:
            lgr.error("job %s cannot be archived: %s; it is tried again", job.job_id, said)
        self.trouble = said

    def save_if_due(self) -> None:
        """Commit what was written, when it is time or there is much of it."""
        is_much = self.uncommitted is not None and len(self.uncommitted) >= _MOST_UNCOMMITTED
        if self.repo is not None and (is_much or time.monotonic() >= self.next_save):
            self.save()

    def save(self) -> None:
        """Commit what was written; what fails is tried again, after a new look at what there is."""
        if self.repo is None:
            return
        self.next_save = time.monotonic() + self.request.interval
        try:
            if self.uncommitted is None:
                self.uncommitted = uncommitted_files(self.repo)
            paths, self.uncommitted = self.uncommitted, []
            if paths:
                commits = commit_files(self.repo, paths, _message(paths))
                lgr.info("%s files are committed", len(paths))
                self.commits += commits
        except DatasetError as exc:
            self.uncommitted = None
            self.save_trouble = str(exc)
            lgr.error("the archive could not be committed: %s; it is tried again", exc)
        else:
            self.save_trouble = ""

    def reread(self) -> None:
        """Read the groups again, and look through the spool."""
        try:
            groups = read_groups(self.request.groups) if self.request.groups else []
            self.store.regroup(groups)
            self.spool.rescan()
            lgr.info("the groups were read again")
        except InvalidRequestError as exc:
            lgr.error("%s; the groups stay as they were", exc)
        except OSError as exc:
            lgr.error("%s: %s; send SIGHUP again when that is mended", exc.filename, exc.strerror)

    def wait(self, signals: Signals) -> None:
        """Wait for news, or until there is something to do again."""
        self.spool.wait([signals.fileno()], self._pause())
        signals.drain()

    def _pause(self) -> float:
        if self.spool.is_waiting and not self.is_full:
            return 0.0
        times = [float("inf")]
        if self.held:
            is_unclear = any(each.owner is None for each in self.held)
            times += [self.next_write, *([self.next_question] if is_unclear else [])]
        if self.repo is not None and self.uncommitted != []:
            times.append(self.next_save)
        return max(0.0, min(min(times) - time.monotonic(), 3600.0))

    @property
    def is_full(self) -> bool:
        """Whether no more jobs are read for now."""
        return sum(each.job.size for each in self.held) >= _MOST_HELD


def archive(request: ArchiveRequest) -> Iterator[Outcome]:
    """Archive the jobs in a spool: those that are there, or all that come until a signal.

    Raises
    ------
    InvalidRequestError
        When the spool cannot be read, the archive not be written, or the file of groups
        names one that does not exist.
    DatasetError
        When the archive cannot be made a dataset.
    """
    groups = read_groups(request.groups) if request.groups else []
    with (
        Signals() as signals,
        Spool(request.spool, watch=not request.once) as spool,
        closing(Store(request.to, groups)) as store,
    ):
        repo = open_archive(request.to) if request.as_dataset else None
        work = _Archive(request, spool, store, repo)
        if request.once:
            _take_what_is_there(work)
        else:
            lgr.info("watching %s; jobs go to %s", request.spool, request.to)
            _take_what_comes(work, signals)
        work.save()
        yield _summary(work)


def _take_what_is_there(work: _Archive) -> None:
    """Archive all jobs in the spool; a trouble ends it."""
    for _ in range(_ONCE_ROUNDS):
        _take_all(work)
        if work.trouble or not work.spool.incomplete:
            return
        time.sleep(_PAUSE)
        work.spool.rescan()


def _take_what_comes(work: _Archive, signals: Signals) -> None:
    while not signals.stop:
        if signals.reread:
            signals.reread = False
            work.reread()
        work.work()
        work.save_if_due()
        work.wait(signals)
    _take_all(work)


def _take_all(work: _Archive) -> None:
    """Take jobs from the spool to the disk until there are no more, or no room for more."""
    while True:
        while work.spool.is_waiting and not work.is_full:
            # once for all, in the end
            work.next_question = float("inf")
            work.work()
        work.next_question = work.next_write = 0.0
        work.work()
        if work.is_full or not work.spool.is_waiting:
            return


def _summary(work: _Archive) -> Outcome:
    said = [f"{work.written} jobs archived"]
    if work.commits:
        said.append(f"{work.commits} commits")
    if work.vanished:
        said.append(f"{work.vanished} gone before they could be read")
    failed = []
    if work.held:
        jobs = ", ".join(str(each.job.job_id) for each in work.held[:10])
        why = work.trouble or "whose they are is not known"
        failed.append(f"{len(work.held)} jobs not archived ({jobs}): {why}; run it again")
    if work.request.once and work.spool.incomplete:
        failed.append(f"not written whole by slurmctld: {', '.join(work.spool.incomplete[:10])}")
    if work.save_trouble:
        failed.append(f"not committed: {work.save_trouble}")
    return Outcome(
        ACTION,
        "error" if failed else "ok",
        "; ".join([*said, *failed]),
        details={"archived": work.written, "vanished": work.vanished, "commits": work.commits},
    )


def _message(paths: list[str]) -> str:
    """Return the message of a commit with some jobs' files."""
    jobs = sorted({int(path.rpartition("/")[2].partition("-")[0]) for path in paths})
    which = f"Slurm job {jobs[0]}" if len(jobs) == 1 else f"{len(jobs)} Slurm jobs, {jobs[0]}"
    return which if len(jobs) == 1 else f"{which} to {jobs[-1]}"
