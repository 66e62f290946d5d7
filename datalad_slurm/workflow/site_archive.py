"""``slurm-archive``: keep every job's script and environment, as slurmctld holds them.

    watch the spool -> read -> find out whose job it is -> write -> at intervals, commit

Jobs wait in the spool itself until there is room for them in memory; what could
not be written is tried again. Nothing else remembers what has been done: at a
start, all jobs in the spool are compared with the files that are there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from datalad_slurm.dataset.site_archive import open_archive
from datalad_slurm.jobs.errors import InvalidRequestError, QueryFailedError
from datalad_slurm.jobs.site_archive import Submitted
from datalad_slurm.site.accounts import (
    NOBODY_KNOWN,
    Owner,
    owner_of_id,
    owner_of_name,
    read_groups,
)
from datalad_slurm.site.backlog import Backlog
from datalad_slurm.site.signals import Signals
from datalad_slurm.site.spool import Spool
from datalad_slurm.site.store import Store
from datalad_slurm.slurm import squeue
from datalad_slurm.workflow.context import Outcome
from datalad_slurm.workflow.site_archive_commits import Commits

__all__ = ["ACTION", "ArchiveRequest", "archive"]

lgr = logging.getLogger("datalad.slurm")

ACTION = "slurm-archive"
#: Jobs that are read, and written, before the next events are taken from the kernel's queue.
#: Reading is ahead of writing, for slurmctld waits for nobody before it drops a job.
_JOBS_A_ROUND = 100
_WRITTEN_A_ROUND = 10
#: Bytes of jobs in memory that could not be written yet; slurmctld drops its own in time.
_MOST_HELD = 64 * 2**20
#: Seconds until what has failed is tried again, and between two questions to slurmctld.
_RETRY = 5.0
#: Seconds for slurmctld to answer.
_ANSWER = 30.0
#: Seconds for which slurmctld is asked whose a job is that does not say it itself.
_ASK_FOR = 600.0
#: Rounds, of 0.2 s, that --once gives slurmctld to write what it is writing.
_ONCE_ROUNDS = 10
_PAUSE = 0.2


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
class _Archive:
    """An archive at work."""

    request: ArchiveRequest
    spool: Spool
    store: Store
    backlog: Backlog
    commits: Commits
    written: int = 0
    vanished: int = 0
    next_try: float = 0.0
    next_question: float = 0.0
    #: why something could not be written
    trouble: str = ""

    def work(self) -> None:
        """Take some jobs from the spool into memory, and some from there to the disk."""
        if not self.backlog.is_full:
            now = time.monotonic()
            for job in self.spool.take(_JOBS_A_ROUND):
                self.backlog.add(job, now, owner_of_name(job.claimed_user))
        self._tell_vanished()
        self._ask_for_owners()
        if self.backlog.failed and time.monotonic() >= self.next_try:
            self.backlog.try_failed_again()
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
        unclear = self.backlog.unclear
        now = time.monotonic()
        if not unclear or now < self.next_question:
            return
        self.next_question = now + _RETRY
        try:
            found = squeue.find_owners((each.job.job_id for each in unclear), timeout=_ANSWER)
        except QueryFailedError as exc:
            lgr.warning("whose %s jobs are is not known yet: %s", len(unclear), exc)
            for each in unclear:
                each.owner = NOBODY_KNOWN if now - each.since > _ASK_FOR else None
        else:
            for each in unclear:
                user_id = found.get(each.job.job_id)
                each.owner = NOBODY_KNOWN if user_id is None else owner_of_id(user_id)
        self.backlog.sort_out()

    def _write(self) -> None:
        ready, failed = self.backlog.ready, self.backlog.failed
        for _ in range(min(len(ready), _WRITTEN_A_ROUND)):
            waiting = ready.popleft()
            try:
                self._put(waiting.job, waiting.owner or NOBODY_KNOWN)
                self.backlog.drop(waiting)
            except OSError as exc:
                # behind all others, so that a single job does not hold them up
                failed.append(waiting)
                self._note_trouble(waiting.job, exc)
        if self.trouble and not (failed or ready):
            lgr.warning("the archive can be written again")
            self.trouble = ""

    def _put(self, job: Submitted, owner: Owner) -> None:
        paths = self.store.put(job, owner)
        if paths:
            self.written += 1
            lgr.debug("job %s is archived: %s", job.job_id, paths[-1])
        self.commits.note(paths)

    def _note_trouble(self, job: Submitted, exc: OSError) -> None:
        self.store.forget_directories()
        if len(self.backlog.failed) == 1:
            self.next_try = time.monotonic() + _RETRY
        said = f"{exc.filename or self.store.root}: {exc.strerror}"
        if self.trouble != said:
            lgr.error("job %s cannot be archived: %s; it is tried again", job.job_id, said)
        self.trouble = said

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
        if self.backlog.ready or (self.spool.is_waiting and not self.backlog.is_full):
            return 0.0
        times = [self.commits.next_time]
        if self.backlog.failed:
            times.append(self.next_try)
        if self.backlog.unclear:
            times.append(self.next_question)
        return max(0.0, min(min(times) - time.monotonic(), 3600.0))


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
        commits = Commits(repo, request.interval)
        work = _Archive(request, spool, store, Backlog(_MOST_HELD), commits)
        if request.once:
            _take_what_is_there(work)
        else:
            lgr.info("watching %s; jobs go to %s", request.spool, request.to)
            _take_what_comes(work, signals)
        commits.make()
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
        work.commits.make_if_due()
        work.wait(signals)
    _take_all(work)


def _take_all(work: _Archive) -> None:
    """Take jobs from the spool to the disk until there are no more, or no room for more."""
    backlog = work.backlog
    backlog.try_failed_again()
    while True:
        # once for all, in the end
        work.next_question = work.next_try = float("inf")
        while backlog.ready or (work.spool.is_waiting and not backlog.is_full):
            work.work()
        work.next_question = 0.0
        work.work()
        if backlog.is_full or not (backlog.ready or work.spool.is_waiting):
            return


def _summary(work: _Archive) -> Outcome:
    said = [f"{work.written} jobs archived"]
    if work.commits.made:
        said.append(f"{work.commits.made} commits")
    if work.vanished:
        said.append(f"{work.vanished} gone before they could be read")
    failed = []
    if work.backlog:
        jobs = ", ".join(map(str, work.backlog.job_ids[:10]))
        why = work.trouble or "whose they are is not known"
        failed.append(f"{len(work.backlog)} jobs not archived ({jobs}): {why}; run it again")
    if work.request.once and work.spool.incomplete:
        failed.append(f"not written whole by slurmctld: {', '.join(work.spool.incomplete[:10])}")
    if work.commits.trouble:
        failed.append(f"not committed: {work.commits.trouble}")
    return Outcome(
        ACTION,
        "error" if failed else "ok",
        "; ".join([*said, *failed]),
        details={"archived": work.written, "vanished": work.vanished, "commits": work.commits.made},
    )
