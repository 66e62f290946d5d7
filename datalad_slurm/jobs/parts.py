"""Which tasks of a job are done with now, and what of it belongs to these."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, replace

from datalad_slurm.jobs.model import JobStatus, TrackedJob
from datalad_slurm.jobs.notes import RELEASED
from datalad_slurm.jobs.plan import Action, FailedJobs, decide
from datalad_slurm.jobs.task_outputs import claims_of, is_of_task
from datalad_slurm.jobs.tasks import TaskId

__all__ = [
    "Split",
    "outputs_only_of",
    "parts_staying",
    "parts_to_commit",
    "split",
    "tasks_to_close",
]


@dataclass(frozen=True)
class Split:
    """What happens to the tasks of a job."""

    #: of its open tasks
    status: JobStatus
    #: what happens to which tasks; those that nobody asked about are in none
    groups: Mapping[Action, JobStatus]
    #: why the job cannot be taken apart: nothing happens to it then
    refusal: str = ""

    def tasks(self, *actions: Action) -> tuple[TaskId, ...]:
        """Return the tasks to which one of some things happens."""
        if self.refusal:
            return ()
        groups = (self.groups[action] for action in actions if action in self.groups)
        return tuple(sorted(task.task for group in groups for task in group.tasks))

    def without(self, action: Action) -> Split:
        """Return the same without one of the things that happen."""
        return replace(self, groups={a: g for a, g in self.groups.items() if a is not action})

    @property
    def is_closed(self) -> bool:
        """Whether the whole job is closed."""
        closed = self.tasks(Action.CLOSE)
        return bool(closed) and len(closed) == len(self.status.tasks)


def parts_to_commit(
    jobs: Iterable[TrackedJob], plan: Mapping[int, Split]
) -> list[tuple[TrackedJob, JobStatus]]:
    """Return what is to be committed of jobs, each whole or with some of its tasks only."""
    return [
        _only(job, plan[job.id], tasks, plan[job.id].tasks(Action.CLOSE))
        for job in jobs
        if (tasks := plan[job.id].tasks(Action.COMMIT))
    ]


def parts_staying(
    jobs: Iterable[TrackedJob], plan: Mapping[int, Split], statuses: Mapping[int, JobStatus]
) -> list[tuple[TrackedJob, JobStatus | None]]:
    """Return what is not committed of open jobs, each whole or with some of its tasks only."""
    staying: list[tuple[TrackedJob, JobStatus | None]] = []
    for job in jobs:
        found = plan.get(job.id)
        committed = found.tasks(Action.COMMIT) if found else ()
        if found is None or not committed:
            staying.append((job, statuses.get(job.id)))
        elif len(committed) < len(found.status.tasks):
            staying.append(_only(job, found, frozenset(job.tasks).difference(committed)))
    return staying


def tasks_to_close(plan: Mapping[int, Split]) -> dict[int, tuple[TaskId, ...]]:
    """Return the tasks to close of jobs of which others stay, by the tracked job."""
    return {
        tracked_id: tasks
        for tracked_id, found in plan.items()
        if (tasks := found.tasks(Action.CLOSE)) and not found.is_closed
    }


def split(
    job: TrackedJob,
    status: JobStatus,
    chosen: Collection[TaskId] | None,
    failed_jobs: FailedJobs,
    *,
    close_unknown: bool = False,
    partial: bool = False,
) -> Split:
    """Return what to do with the tasks of a job.

    Parameters
    ----------
    job : TrackedJob
        The job.
    status : JobStatus
        What is known of its open tasks.
    chosen : collection of TaskId, optional
        The tasks that were named; all when not given.
    failed_jobs : FailedJobs
        What to do with those that have not ended well.
    close_unknown : bool
        Whether to forget what Slurm does not know.
    partial : bool
        Whether each task is looked at for itself; else one decides for all.
    """
    asked = status if chosen is None else status.of(chosen)
    if not partial:
        groups = {decide(asked, failed_jobs, close_unknown=close_unknown): asked}
    else:
        actions: dict[Action, list[TaskId]] = {}
        # of one task among others the accounting may only not have heard yet
        close_unknown = close_unknown and asked.is_unknown
        for task in asked.tasks:
            alone = JobStatus((task,), failure=status.failure)
            action = decide(alone, failed_jobs, close_unknown=close_unknown)
            actions.setdefault(action, []).append(task.task)
        groups = {action: asked.of(frozenset(tasks)) for action, tasks in actions.items()}
    found = Split(status, groups)
    done = found.tasks(Action.COMMIT, Action.CLOSE)
    is_one = len(groups) == 1 and len(asked.tasks) == len(status.tasks)
    if not done or (is_one and (status.is_complete or not partial)):
        return found
    return replace(found, refusal=_why_not(job, found))


def _why_not(job: TrackedJob, found: Split) -> str:
    """Return why some tasks of a job cannot be done with before the others, or nothing."""
    if not found.status.is_complete or any(slurm_job.tasks is None for slurm_job in job.slurm_jobs):
        return "it is not known which tasks it has"
    for action in (Action.COMMIT, Action.CLOSE):
        tasks = found.tasks(action)
        if tasks and not _only(job, found, tasks)[0].outputs:
            return (
                "which of its outputs are those of which task is not known, as none is declared "
                "for each task, such as 'out-%a'"
            )
    return ""


def _only(
    job: TrackedJob,
    found: Split,
    tasks: Collection[TaskId],
    closed: Collection[TaskId] = (),
) -> tuple[TrackedJob, JobStatus]:
    """Return a job as it is when only some of its tasks count, and their status.

    Outputs that the other tasks write as well go with the last of them. `closed` are tasks
    that are done with at the same time.
    """
    status = found.status
    if len(tasks) == len(status.tasks) and not job.extra.get(RELEASED):
        return job, status
    mine, gone = frozenset(tasks), frozenset((*tasks, *closed))
    part = _narrowed(job, mine)
    others = _narrowed(job, frozenset(job.tasks) - gone)
    theirs = frozenset(others.outputs if others.tasks else ())
    outputs = tuple(claim for claim in part.outputs if claim not in theirs)
    return replace(part, outputs=outputs, leaving=tuple(sorted(gone))), status.of(mine)


def _narrowed(job: TrackedJob, tasks: Set[TaskId]) -> TrackedJob:
    """Return a job with some of its tasks, and what these claim."""
    slurm_jobs = tuple(
        each._replace(tasks=tuple(task for task in each.tasks or () if task in tasks))
        for each in job.slurm_jobs
    )
    outputs = claims_of(job.templates, slurm_jobs) if job.templates else job.outputs
    return replace(job, slurm_jobs=slurm_jobs, outputs=outputs)


def outputs_only_of(job: TrackedJob, tasks: Set[TaskId]) -> tuple[str, ...]:
    """Return those of a job's claims that none but these of its tasks write, or have written."""
    others = frozenset(job.tasks) - tasks
    is_taken_apart = bool(job.extra.get(RELEASED))
    if not others and not is_taken_apart:
        return job.outputs
    # what all tasks share, those that were finished before have written as well
    templates = [each for each in job.templates if is_of_task(each) or not is_taken_apart]
    theirs = frozenset(_narrowed(job, others).outputs)
    mine = claims_of(templates, _narrowed(job, tasks).slurm_jobs)
    return tuple(claim for claim in mine if claim not in theirs)
