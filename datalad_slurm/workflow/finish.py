"""Close jobs that have ended: recover, ask Slurm once for all, plan, commit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from datalad_slurm.dataset.commits import check_identity
from datalad_slurm.jobs.model import JobStatus, TrackedJob
from datalad_slurm.jobs.names import JobName, select_tasks
from datalad_slurm.jobs.notes import has_store
from datalad_slurm.jobs.parts import (
    Split,
    parts_staying,
    parts_to_commit,
    split,
    tasks_to_close,
)
from datalad_slurm.jobs.plan import Action, FailedJobs, Shape
from datalad_slurm.workflow.alt_notes import clean_up
from datalad_slurm.workflow.bring_back import leave
from datalad_slurm.workflow.context import STORES, Context, Outcome, open_jobs
from datalad_slurm.workflow.deliver import deliver
from datalad_slurm.workflow.endings import tidy_endings
from datalad_slurm.workflow.explain import explain
from datalad_slurm.workflow.logs import logs_of
from datalad_slurm.workflow.observe import observe
from datalad_slurm.workflow.order import deliver_in_order
from datalad_slurm.workflow.recovery import no_other_finisher
from datalad_slurm.workflow.submissions import (
    described,
    drop_temporary_directories,
    settle_claims,
)
from datalad_slurm.workflow.vain_waits import cancel_vain, vain_waits, with_vain_waits

__all__ = ["finish"]


def finish(
    context: Context,
    names: Sequence[JobName] | None,
    failed_jobs: FailedJobs,
    message: str = "",
    *,
    close_unknown: bool = False,
    partial: bool = False,
    shape: Shape = Shape.CHAIN,
    log_lines: int = 0,
    only: Collection[int] | None = None,
) -> Iterator[Outcome]:
    """Commit or close jobs that have ended; say of the others why not.

    Parameters
    ----------
    context : Context
        The dataset.
    names : sequence of JobName, optional
        Jobs, or tasks of them, to finish; all open ones when not given.
    failed_jobs : FailedJobs
        What to do with jobs that have not ended well.
    message : str
        Added to each commit's message.
    close_unknown : bool
        Whether to forget jobs of which Slurm knows nothing at all.
    partial : bool
        Whether tasks that have ended are finished before the others.
    shape : Shape
        How the commits hang together.
    log_lines : int
        Of jobs that have failed, how many of the last lines of their logs to tell.
    only : collection of int, optional
        Tracking ids; no other job is looked at.

    Raises
    ------
    InvalidRequestError
        When a job is named that is not open here, or jobs of several clusters
        are; nothing was changed.
    DatasetError
        When git or git-annex fails; the jobs stay open.
    DatabaseError
        When another process is at it, or the database cannot be used.
    """
    check_identity(context.repo)
    with no_other_finisher(context):
        settle_claims(context)
        clean_up(context)
        tidy_endings(context)
        _tidy_stores(context)
        wanted = [job for job in open_jobs(context, names) if only is None or job.id in only]
        jobs = described(context, wanted)
        if not jobs:
            if only is None:
                yield Outcome("finish", "notneeded", "there are no open jobs")
            return
        statuses = with_vain_waits(jobs, observe(context, jobs, for_record=True))
        chosen = select_tasks(jobs, names or ())
        plan = {
            job.id: split(
                job,
                statuses[job.id],
                chosen.get(job.id),
                failed_jobs,
                close_unknown=close_unknown,
                partial=partial,
            )
            for job in jobs
        }
        plan, failures = cancel_vain(context, jobs, plan)
        ended = parts_to_commit(jobs, plan)

        def deliver_some(some: Sequence[tuple[TrackedJob, JobStatus]]) -> Iterator[Outcome]:
            at_hand = {job.id: plan[job.id] for job, _ in some}
            staying = parts_staying(context.tracker.open_jobs(), at_hand, statuses) if some else []
            return deliver(context, some, logs_of(context, staying), message, shape)

        yield from failures
        yield from deliver_in_order(context, ended, deliver_some)
        closed = [job for job in jobs if plan[job.id].is_closed]
        leave(context, closed)
        _let_go(context, closed)
        context.tracker.forget(job.id for job in closed)
        context.tracker.release(tasks_to_close(plan))
        clean_up(context)
        tidy_endings(context)
        _tidy_stores(context)
        yield from _left_open(context, jobs, plan, log_lines)
        drop_temporary_directories(context)


def _left_open(
    context: Context, jobs: Sequence[TrackedJob], plan: Mapping[int, Split], log_lines: int
) -> Iterator[Outcome]:
    """Say what has become of all that was not committed."""
    stuck = [job for job in jobs if any(each.never_starts for each in plan[job.id].groups.values())]
    in_vain = vain_waits(context, stuck)
    for job in jobs:
        if plan[job.id].refusal:
            yield _stays_whole(job, plan[job.id])
            continue
        for action, status in plan[job.id].groups.items():
            if action is not Action.COMMIT:
                why = in_vain[job.id] if status.never_starts else ""
                yield explain(context, job, status, action, log_lines=log_lines, in_vain=why)


def _stays_whole(job: TrackedJob, found: Split) -> Outcome:
    """Say why a job stays open as a whole, though some of its tasks could be finished."""
    said = f"Slurm job {job.label} stays open as a whole: {found.refusal}. "
    said += f"Statuses: {found.status.describe()}"
    return Outcome("finish", "impossible", said, details={"slurm_job_id": job.job_id})


def _let_go(context: Context, closed: Sequence[TrackedJob]) -> None:
    if any(has_store(job) for job in closed):
        from datalad_slurm.workflow.stores import let_go

        let_go(context, closed)


def _tidy_stores(context: Context) -> None:
    if any((context.repo.state_dir / name).is_dir() for name in STORES):
        from datalad_slurm.workflow.stores import tidy_stores

        tidy_stores(context)
