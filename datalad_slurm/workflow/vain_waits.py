"""Jobs that wait for one that did not end well, and so will never start."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from datalad_slurm.jobs.errors import InvalidRequestError, QueryFailedError
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
from datalad_slurm.workflow.observe import observe
from datalad_slurm.workflow.predecessors import for_another_attempt
from datalad_slurm.workflow.relations import latest_jobs, relations_of

__all__ = [
    "as_cancelled",
    "cancel_vain",
    "cancel_waiting",
    "refuse_still_in_vain",
    "vain_waits",
    "with_vain_waits",
]


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
                task._replace(reason=NEVER_SATISFIED) if _waits_for_others(task) else task
                for task in status.tasks
            ]
            status = told[job.id] = status._replace(tasks=tuple(tasks))
        if status.never_starts:
            in_vain.add(job.token)
    return told


def _waits_for_others(task: TaskStatus) -> bool:
    return task.answer is Answer.KNOWN and task.state.waits and task.reason == "Dependency"


def vain_waits(context: Context, jobs: Collection[TrackedJob]) -> dict[int, str]:
    """Return for which open jobs each of some waits in vain, in words, by tracking id."""
    open_jobs = {each.token: each for each in context.tracker.open_jobs()} if jobs else {}
    return {job.id: _vain_wait(context, job, open_jobs) for job in jobs}


def _vain_wait(context: Context, job: TrackedJob, open_jobs: Mapping[str, TrackedJob]) -> str:
    first = [open_jobs[r.token] for r in relations_of(job) if r.token in open_jobs]
    if not first:
        return f". It will never start ({NEVER_SATISFIED}): what it waits for did not end well"
    for relation in relations_of(job):
        other = open_jobs.get(relation.token)
        if other and not {each.job_id for each in latest_jobs(other)}.issuperset(relation.ids):
            return (
                f". It will never start ({NEVER_SATISFIED}): it waits for an attempt at job "
                f"{other.label} that did not end well, and that was run again since"
            )
    here = context.dataset_option
    ids = " ".join(str(each.job_id) for each in first)
    return (
        f". It will never start, as job {first[0].label}, for which it waits, did not end well "
        f"({NEVER_SATISFIED}); `datalad slurm-reschedule {here}--retry all` runs that again, and "
        f"this one waits for it then; what to do with that: datalad slurm-finish {here}{ids}"
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
        try:
            cancel_waiting(context, job, plan[job.id].status, plan[job.id].tasks(Action.CLOSE))
        except QueryFailedError as exc:
            left[job.id] = plan[job.id].without(Action.CLOSE)
            said = f"Slurm job {job.label} could not be cancelled, and stays open: {exc}"
            failures.append(Outcome("finish", "error", said, details={"slurm_job_id": job.job_id}))
    return left, failures


def cancel_waiting(
    context: Context, job: TrackedJob, status: JobStatus, tasks: Collection[TaskId]
) -> None:
    """Cancel those of a job's tasks that wait in vain.

    Raises
    ------
    QueryFailedError
        When that cannot be done, or one has begun.
    """
    vain = frozenset(task.task for task in status.of(tasks).tasks if task.never_starts)
    going = [task.task for task in status.tasks if not task.has_ended]
    for each in job.slurm_jobs if vain else ():
        _cancel(each, vain, going, context.settings.query_timeout)


def as_cancelled(status: JobStatus, tasks: Collection[TaskId]) -> JobStatus:
    """Return a status when those of some tasks are cancelled that wait in vain."""
    state = JobState.CANCELLED
    told = (
        each._replace(state=state, word=state.value, reason="")
        if each.never_starts and each.task in tasks
        else each
        for each in status.tasks
    )
    return status._replace(tasks=tuple(told))


def refuse_still_in_vain(context: Context, job: TrackedJob) -> None:
    """Make sure that a job that waits in vain would not do so again.

    Raises
    ------
    InvalidRequestError
        When what it waits for has not ended well yet, or nothing is known of that.
    """
    open_jobs = {each.token: each for each in context.tracker.open_jobs()}
    relations = relations_of(job)
    before = [open_jobs[r.token] for r in relations if r.token in open_jobs]
    statuses = with_vain_waits(before, observe(context, before))
    for other in before:
        tasks = statuses[other.id].tasks
        if any(task.never_starts or (task.has_ended and not task.is_ok) for task in tasks):
            raise InvalidRequestError(
                f"it waits for job {other.label}, which did not end well; run that again, and this "
                "one waits for it then"
            )
    over = [r for r in for_another_attempt(context, job) if r.token not in open_jobs]
    if not relations or not all(relation.commit for relation in over):
        raise InvalidRequestError(
            "it waits for a job that did not end well, and that is not tracked here; drop it with "
            "`datalad slurm-finish --close-failed-jobs`, and submit it anew"
        )


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
