"""Jobs that wait for one that did not end well, and so will never start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.model import NEVER_SATISFIED, Answer, JobStatus, TaskStatus, TrackedJob
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
    context: Context, closed: Iterable[TrackedJob], statuses: Mapping[int, JobStatus]
) -> tuple[list[TrackedJob], list[Outcome]]:
    """Cancel those of the jobs to be closed that wait in vain: forgotten, they could still start.

    Returns
    -------
    list of TrackedJob
        What can be closed.
    list of Outcome
        A failure for each job that could not be cancelled, and stays open.
    """
    timeout = context.settings.query_timeout
    fit, failures = [], []
    for job in closed:
        try:
            if statuses[job.id].never_starts:
                for each in job.slurm_jobs:
                    pending.cancel([each.job_id], each.cluster, timeout)
                    left = squeue.show([each.job_id], each.cluster, timeout)
                    if not all(row.state.has_ended for row in left):
                        raise QueryFailedError("it has begun, or has not gone yet")
        except QueryFailedError as exc:
            said = f"Slurm job {job.label} could not be cancelled, and stays open: {exc}"
            failures.append(Outcome("finish", "error", said, details={"slurm_job_id": job.job_id}))
        else:
            fit.append(job)
    return fit, failures
