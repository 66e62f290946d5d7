"""Ask jobs that run for a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.model import JobStatus, SlurmJob, TrackedJob
from datalad_slurm.jobs.names import JobName, select_tasks
from datalad_slurm.jobs.notes import has_checkpoints
from datalad_slurm.jobs.runner_options import RunnerOptions
from datalad_slurm.jobs.states import JobState
from datalad_slurm.jobs.tasks import TaskId, format_index_list
from datalad_slurm.slurm.signals import signal_script
from datalad_slurm.workflow.context import Context, Outcome, open_jobs
from datalad_slurm.workflow.observe import observe
from datalad_slurm.workflow.submissions import described, settle_claims

__all__ = ["ACTION", "ask_for_checkpoints"]

ACTION = "slurm-checkpoint"


def ask_for_checkpoints(
    context: Context, names: Sequence[JobName] | None = None
) -> Iterator[Outcome]:
    """Send jobs the signal with which they are asked for a checkpoint.

    Parameters
    ----------
    context : Context
        The dataset.
    names : sequence of JobName, optional
        Jobs, or tasks of them; all open jobs with checkpoints when not given.

    Raises
    ------
    InvalidRequestError
        When a job is named that is not open here.
    """
    settle_claims(context)
    jobs = described(context, open_jobs(context, names))
    if names is None:
        jobs = [job for job in jobs if has_checkpoints(job)]
    if not jobs:
        yield Outcome(ACTION, "notneeded", "there are no open jobs with checkpoints")
        return
    chosen = select_tasks(jobs, names or ())
    statuses = observe(context, jobs)
    for job in jobs:
        status = statuses[job.id]
        yield _asked(
            context, job, status.of(chosen[job.id]) if job.id in chosen else status,
            is_named=names is not None,
        )  # fmt: skip


def _asked(context: Context, job: TrackedJob, status: JobStatus, *, is_named: bool) -> Outcome:
    refused = "impossible" if is_named else "notneeded"
    details = {"slurm_job_id": job.job_id, "slurm_state": status.word}
    checkpoint = RunnerOptions.read(job.extra).checkpoint
    if checkpoint is None:
        said = f"job {job.label} was submitted without --checkpoint, so it cannot be asked for one"
        return Outcome(ACTION, refused, said, details=details)
    running = [task.task for task in status.tasks if task.state is JobState.RUNNING]
    if not running:
        failure = f" ({status.failure})" if status.failure else ""
        said = f"job {job.label} does not run, so it cannot be asked for a checkpoint{failure}"
        return Outcome(ACTION, refused, f"{said}. Statuses: {status.describe()}", details=details)
    try:
        asked = [
            name
            for slurm_job in job.slurm_jobs
            if (name := _signalled(context, slurm_job, running, checkpoint.signal))
        ]
    except QueryFailedError as exc:
        said = f"job {job.label} could not be asked for a checkpoint: {exc}; try again"
        return Outcome(ACTION, "error", said, details=details)
    said = f"sent {checkpoint.signal} to job {', '.join(asked)}, which asks it for a checkpoint"
    return Outcome(ACTION, "ok", said, details=details | {"tasks_asked": list(map(str, running))})


def _signalled(context: Context, job: SlurmJob, running: Sequence[TaskId], signal: str) -> str:
    """Send a signal to those tasks of a Slurm job that run; return their name, if there are any."""
    mine = [task for task in running if task.job_id == job.job_id]
    if not mine:
        return ""
    indices = [task.index for task in mine if task.index >= 0]
    name = f"{job.job_id}_[{format_index_list(indices)}]" if indices else str(job.job_id)
    signal_script(name, signal, job.cluster, context.settings.query_timeout)
    return name
