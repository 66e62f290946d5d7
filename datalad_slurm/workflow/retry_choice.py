"""Choose which tasks of a job that has failed are submitted again, or refuse that."""

from __future__ import annotations

from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.model import JobStatus, TrackedJob
from datalad_slurm.jobs.notes import has_checkpoints
from datalad_slurm.jobs.task_outputs import is_of_task
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.node.states import read_kept
from datalad_slurm.workflow.changes import InputCheck
from datalad_slurm.workflow.checkpoints import states_of
from datalad_slurm.workflow.context import Context
from datalad_slurm.workflow.stores import store_of

__all__ = ["refuse_changed_inputs", "tasks_to_retry"]


def tasks_to_retry(
    job: TrackedJob,
    status: JobStatus,
    chosen: frozenset[TaskId] | None,
    max_attempts: int | None,
) -> frozenset[TaskId]:
    """Return which tasks are run again: the failed ones where each has outputs of its own, or all.

    Parameters
    ----------
    job : TrackedJob
        The job.
    status : JobStatus
        How it is.
    chosen : frozenset of TaskId, optional
        The tasks that are named; None for the whole job.
    max_attempts : int, optional
        How many attempts at it there may be.

    Raises
    ------
    InvalidRequestError
        When it has not failed, or is not known to have, or has had its attempts.
    """
    if max_attempts is not None and job.attempt >= max_attempts:
        raise InvalidRequestError(
            f"this was attempt {job.attempt}, and --max-attempts is {max_attempts}"
        )
    has_parts = any(map(is_of_task, job.templates)) and all(t.index >= 0 for t in job.tasks)
    asked = status
    if chosen is not None:
        if not has_parts:
            raise InvalidRequestError(
                "which of its outputs are those of which task is not known, as none is declared "
                f"for each task, such as 'out-%a'; `--retry {job.job_id}` runs all of it again"
            )
        asked = status.of(chosen)
    if asked.is_ok:
        raise InvalidRequestError("it has completed; `datalad slurm-finish` commits its outputs")
    if not asked.is_answered:
        why = f" ({asked.failure})" if asked.failure else ""
        raise InvalidRequestError(
            f"whether it has ended is not known{why}. Statuses: {asked.describe()}"
        )
    if not asked.has_ended and not asked.never_starts:
        raise InvalidRequestError(f"it has not ended. Statuses: {asked.describe()}")
    if chosen is not None and any(task.is_ok for task in asked.tasks):
        raise InvalidRequestError(f"some of it has completed. Statuses: {asked.describe()}")
    return frozenset(t.task for t in asked.tasks if not (has_parts and t.is_ok))


def refuse_changed_inputs(context: Context, job: TrackedJob, logs: frozenset[str]) -> None:
    """Refuse to let a job go on from a state that was computed from other inputs.

    Its result would be of both, and its record would name those of now.

    Parameters
    ----------
    context : Context
        The dataset.
    job : TrackedJob
        The job.
    logs : frozenset of str
        Log files, which are no inputs.

    Raises
    ------
    InvalidRequestError
        When an input has changed.
    """
    if not has_checkpoints(job):
        return
    root = context.place_of(job).root
    if not read_kept(store_of(context, job)) and not any(
        path for state in states_of(job) for path in root.glob(state)
    ):
        return
    changed = InputCheck(context, [job]).report(job, logs).changed_inputs
    if changed:
        raise InvalidRequestError(
            f"its checkpoints were made with another content of '{changed[0].path}'; put that "
            "back, or close the job, remove its state files, and submit it anew"
        )
