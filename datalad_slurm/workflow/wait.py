"""Wait for jobs, and finish them as they end."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from datalad_slurm.dataset.commits import check_identity
from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.model import Answer, JobStatus, SlurmJob, TrackedJob
from datalad_slurm.jobs.names import JobName
from datalad_slurm.jobs.plan import Action, FailedJobs, decide
from datalad_slurm.jobs.slurm_rows import QueueRow
from datalad_slurm.jobs.status import Observation, combine, resolve
from datalad_slurm.slurm import squeue
from datalad_slurm.workflow.context import Context, Outcome, lgr, open_jobs
from datalad_slurm.workflow.observe import observe
from datalad_slurm.workflow.order import held_up
from datalad_slurm.workflow.submissions import settle_claims
from datalad_slurm.workflow.vain_waits import with_vain_waits

__all__ = ["Wishes", "finish_as_they_end"]

#: Seconds between two looks at Slurm: at first, at most, and by how much they grow.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 10.0
_GROWTH = 1.5
#: Seconds for which a job of which Slurm knows nothing may not have been heard of yet.
_NEW = 60.0
_PROGRESS = "slurm-finish-wait"


@dataclass(frozen=True)
class Wishes:
    """What is to be done with jobs when they have ended."""

    #: finishes those of these tracking ids
    finish: Callable[[Collection[int]], Iterator[Outcome]]
    #: as for `decide`
    failed_jobs: FailedJobs = FailedJobs.KEEP_OPEN
    close_unknown: bool = False


def finish_as_they_end(
    context: Context,
    names: Sequence[JobName] | None,
    wishes: Wishes,
    timeout: float | None = None,
) -> Iterator[Outcome]:
    """Finish jobs as they end, until none is left that can still end.

    Between its looks at Slurm nothing is locked: others may finish jobs, too.
    While Slurm does not answer, it goes on waiting.

    Parameters
    ----------
    context : Context
        The dataset.
    names : sequence of JobName, optional
        Jobs to wait for; all that are open now when not given.
    wishes : Wishes
        What to do with them.
    timeout : float, optional
        Seconds after which to give up; what is open then stays open.

    Raises
    ------
    InvalidRequestError, DatasetError, DatabaseError
        As finishing does.
    """
    check_identity(context.repo)
    settle_claims(context)
    watched = {job.id: job for job in open_jobs(context, names)}
    if not watched:
        yield Outcome("finish", "notneeded", "there are no open jobs")
        return
    wait = _Wait(context, wishes, watched, len(watched))
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = _FIRST_PAUSE
    try:
        with _progress_bar(len(watched)) as show:
            while True:
                yield from wait.look()
                show(wait)
                left = pause if deadline is None else min(pause, deadline - time.monotonic())
                if not wait.watched or left <= 0:
                    break
                time.sleep(left)
                pause = min(_LONGEST_PAUSE, pause * _GROWTH)
    except KeyboardInterrupt:
        still = {job.id: job for job in context.tracker.open_jobs()}
        labels = ", ".join(job.label for job in watched.values() if job.id in still)
        said = "waiting was interrupted"
        if labels:
            said += f"; open are jobs {labels}, and `datalad slurm-finish --wait` goes on"
        yield Outcome("finish", "impossible", said)
        return
    for job in wait.watched.values():
        said = f"job {job.label} has not been finished within {timeout:g} s, and stays open"
        yield Outcome("finish", "impossible", said, details={"slurm_job_id": job.job_id})


@dataclass
class _Wait:
    """Jobs that are waited for, and what became of the others."""

    context: Context
    wishes: Wishes
    #: by tracking id
    watched: dict[int, TrackedJob]
    total: int
    #: tokens of those that stay open, though they cannot end well any more
    failed: set[str] = field(default_factory=set)
    running: int = 0
    pending: int = 0
    has_told_of_outage: bool = False
    #: tracking ids of jobs of which was said that others must be committed first
    held: set[int] = field(default_factory=set)

    def look(self) -> Iterator[Outcome]:
        """Finish what has ended since the last look."""
        still_open = {job.id: job for job in self.context.tracker.open_jobs()}
        # what is gone was finished by somebody else
        self.watched = {i: still_open[i] for i in self.watched if i in still_open}
        statuses = self._states()
        candidates = [job for job in self.watched.values() if not _is_going(statuses[job.id])]
        settled = self._settled(candidates, statuses, still_open.values())
        if settled:
            yield from self.wishes.finish(settled.keys())
            still_open = {job.id: job for job in self.context.tracker.open_jobs()}
            self.failed |= {job.token for i, job in settled.items() if i in still_open}
            self.watched = {i: job for i, job in self.watched.items() if i not in settled}
        words = Counter(
            "pending" if all(task.state.waits for task in statuses[i].tasks) else "running"
            for i in self.watched
        )
        self.pending, self.running = words["pending"], words["running"]

    def _states(self) -> dict[int, JobStatus]:
        """Return what slurmctld knows of the jobs, which is all that is asked while they run."""
        by_cluster: defaultdict[str, list[SlurmJob]] = defaultdict(list)
        for job in self.watched.values():
            for each in job.slurm_jobs:
                by_cluster[each.cluster].append(each)
        rows: defaultdict[tuple[str, int], list[QueueRow]] = defaultdict(list)
        failures: dict[str, str] = {}
        for cluster, slurm_jobs in by_cluster.items():
            try:
                ids = (each.job_id for each in slurm_jobs)
                for row in squeue.show(ids, cluster, self.context.settings.query_timeout):
                    rows[cluster, row.task.job_id].append(row)
            except QueryFailedError as exc:
                failures[cluster] = str(exc)
        self._tell_of_outage(next(iter(failures.values()), ""))

        def state(each: SlurmJob) -> JobStatus:
            seen = rows[each.cluster, each.job_id]
            return resolve(each, Observation(seen, (), failures.get(each.cluster, ""), "not asked"))

        jobs = self.watched.values()
        return with_vain_waits(jobs, {job.id: combine(map(state, job.slurm_jobs)) for job in jobs})

    def _tell_of_outage(self, failure: str) -> None:
        if failure and not self.has_told_of_outage:
            lgr.warning("Slurm does not answer; waiting until it does: %s", failure)
        self.has_told_of_outage = bool(failure)

    def _tell_of_others(self, job: TrackedJob, other: TrackedJob) -> None:
        if job.id not in self.held and other.id not in self.watched:
            lgr.warning(
                "job %s has ended; it waits until job %s is committed, whose output it has read: "
                "datalad slurm-finish %s",
                job.label, other.label, other.job_id,
            )  # fmt: skip
            self.held.add(job.id)

    def _settled(
        self,
        candidates: Sequence[TrackedJob],
        statuses: Mapping[int, JobStatus],
        still_open: Iterable[TrackedJob],
    ) -> dict[int, TrackedJob]:
        """Return those of the jobs that nothing is to be waited for any more."""
        if not candidates:
            return {}
        seen = {**statuses, **observe(self.context, candidates)}
        seen = with_vain_waits(self.watched.values(), seen)
        settled: dict[int, TrackedJob] = {}
        may_come = {job.token: job for job in still_open if job.token not in self.failed}
        for job in candidates:  # in the order of their scheduling
            status = seen[job.id]
            action = decide(
                status, self.wishes.failed_jobs, close_unknown=self.wishes.close_unknown
            )
            if action is Action.COMMIT:
                if before := held_up(job, may_come):
                    self._tell_of_others(job, may_come[before[0].token])
                    continue  # those before it are still to be committed
                may_come.pop(job.token)
            elif action in (Action.WAIT, Action.ASK_AGAIN):
                since = job.slurm_jobs[0].submitted or job.claimed_at
                if not status.is_unknown or since > time.time() - _NEW:
                    continue
            settled[job.id] = job
        return settled


def _is_going(status: JobStatus) -> bool:
    """Return whether slurmctld says that a job has not ended, and that it still can."""
    return not status.never_starts and any(
        task.answer is Answer.KNOWN and not task.state.has_ended for task in status.tasks
    )


@contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[_Wait], None]]:
    from datalad.log import log_progress

    def log(text: str, **kwargs: object) -> None:
        log_progress(lgr.info, _PROGRESS, text, noninteractive_level=logging.DEBUG, **kwargs)

    def show(wait: _Wait) -> None:
        failed = len(wait.failed)
        ended = wait.total - len(wait.watched) - failed
        label = f"{wait.pending} pending, {wait.running} running, {ended} ended, {failed} failed"
        log(label, update=ended + failed, label=label)

    log(f"waiting for {total} jobs", total=total, label="jobs", unit=" jobs")
    try:
        yield show
    finally:
        log("waited")
