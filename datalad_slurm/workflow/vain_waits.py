"""Jobs that wait for one that did not end well, and so will never start."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.model import (
    NEVER_SATISFIED,
    Answer,
    JobStatus,
    SlurmJob,
    TaskStatus,
    TrackedJob,
)
from datalad_slurm.jobs.parts import Split
from datalad_slurm.jobs.plan import Action
from datalad_slurm.jobs.states import JobState
from datalad_slurm.jobs.tasks import TaskId, format_index_list
from datalad_slurm.slurm import pending, squeue
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.relations import relations_of

__all__ = ["cancel_vain", "vain_wait", "with_vain_waits"]


def with_vain_waits(
    jobs: Iterable[TrackedJob], statuses: Mapping[int, JobStatus]
) -> dict[int, JobStatus]:
    """Return states, where what waits for a job that never starts never starts, either.

    slurmctld knows this of a job only when the one before it is cancelled.
    """
    told = dict(statuses)
    in_vain: set[str] = set()
    for job in jobs:  # in the order of their scheduling, so those before it come first
        status = told[job.id]
        if any(relation.token in in_vain for relation in relations_of(job) if relation.outputs):
            tasks = [
                replace(task, reason=NEVER_SATISFIED) if _waits_for_others(task) else task
                for task in status.tasks
            ]
            status = told[job.id] = replace(status, tasks=tuple(tasks))
        if status.never_starts:
            in_vain.add(job.token)
    return told


def _waits_for_others(task: TaskStatus) -> bool:
    return task.answer is Answer.KNOWN and task.state.waits and task.reason == "Dependency"


def vain_wait(context: Context, job: TrackedJob) -> str:
    """Return for which open jobs one waits in vain, in words."""
    open_jobs = {each.token: each for each in context.tracker.open_jobs()}
    first = [open_jobs[r.token] for r in relations_of(job) if r.token in open_jobs]
    if not first:
        return f". It will never start ({NEVER_SATISFIED}): what it waits for did not end well"
    ids = " ".join(str(each.job_id) for each in first)
    return (
        f". It will never start, as job {first[0].label}, for which it waits, did not end well "
        f"({NEVER_SATISFIED}); `datalad slurm-reschedule --retry all` runs that again, and this "
        f"one waits for it then; what to do with that: datalad slurm-finish {ids}"
    )


def cancel_vain(
    context: Context, jobs: Iterable[TrackedJob], plan: Mapping[int, Split]
) -> tuple[dict[int, Split], list[Outcome]]:
    """Cancel what waits in vain of what is to be closed: forgotten, it could still start.

    Parameters
    ----------
    context : Context
        The dataset.
    jobs : iterable of TrackedJob
        Jobs that have a plan.
    plan : mapping
        What happens to their tasks, by tracking id.

    Returns
    -------
    dict
        The plan, in which nothing is closed of a job that could not be cancelled.
    list of Outcome
        A failure for each such job.
    """
    left, failures = dict(plan), []
    for job in jobs:
        closed = plan[job.id].status.of(plan[job.id].tasks(Action.CLOSE))
        vain = frozenset(task.task for task in closed.tasks if task.never_starts)
        going = [task.task for task in plan[job.id].status.tasks if not task.has_ended]
        try:
            for each in job.slurm_jobs if vain else ():
                _cancel(each, vain, going, context.settings.query_timeout)
        except QueryFailedError as exc:
            left[job.id] = plan[job.id].without(Action.CLOSE)
            said = f"Slurm job {job.label} could not be cancelled, and stays open: {exc}"
            failures.append(Outcome("finish", "error", said, details={"slurm_job_id": job.job_id}))
    return left, failures


def _cancel(
    job: SlurmJob, vain: Collection[TaskId], going: Iterable[TaskId], timeout: float
) -> None:
    """Cancel tasks of a Slurm job that have not begun.

    Raises
    ------
    QueryFailedError
        When that cannot be done, or one has begun.
    """
    mine = [task for task in going if task.job_id == job.job_id]
    tasks = [task for task in mine if task in vain]
    if not tasks:
        return
    indices = [task.index for task in tasks]
    is_whole = len(tasks) == len(mine)
    name = str(job.job_id) if is_whole else f"{job.job_id}_[{format_index_list(indices)}]"
    pending.cancel(name, job.cluster, timeout)
    left = squeue.show([job.job_id], job.cluster, timeout)
    if not all(row.state is JobState.CANCELLED for row in left if row.task in vain):
        raise QueryFailedError("it has begun, or has not gone yet")
