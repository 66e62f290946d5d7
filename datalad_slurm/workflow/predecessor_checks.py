"""Whether a job can wait for the open jobs that make its inputs."""

from __future__ import annotations

from collections.abc import Sequence

from datalad_slurm.jobs.claims import collide
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.model import JobStatus, TrackedJob
from datalad_slurm.jobs.packs import packed_outputs, with_archives
from datalad_slurm.workflow.context import Context
from datalad_slurm.workflow.observe import observe
from datalad_slurm.workflow.relations import claimed_inputs, latest_jobs

__all__ = ["refuse_packed", "refuse_unfit", "states_of"]


def refuse_unfit(
    context: Context,
    claim: TrackedJob,
    job: TrackedJob,
    inputs: Sequence[str],
    *,
    is_wanted: bool,
) -> None:
    """Refuse to wait for a job where that cannot be, or must not be.

    Raises
    ------
    InvalidRequestError
        With what can be done instead.
    """
    what = f"input '{inputs[0]}' is an output of"
    if not job.is_submitted:
        raise InvalidRequestError(
            f"{what} a job that {job.claimed_by} is submitting; try again when that is done"
        )
    finish_it = f"finish that job first ({_finish_command(context, job)})"
    if not is_wanted:
        raise InvalidRequestError(
            f"{what} job {job.label}, which is open; {finish_it}, or let this job wait for it: "
            "leave out --no-auto-dependency"
        )
    if job.is_node_local or claim.is_node_local:
        raise InvalidRequestError(
            f"{what} job {job.label}, which is open, and one of the two runs with --node-local: "
            f"it is packed when a job is submitted, and unpacked when it is finished; {finish_it}"
        )
    if directory := job.alt_dir or claim.alt_dir:
        raise InvalidRequestError(
            f"{what} job {job.label}, which is open in {job.alt_dir}; finish that job first, or "
            "choose another directory"
            if job.alt_dir == claim.alt_dir
            else f"{what} job {job.label}, which is open, and one of the two runs in {directory}: "
            f"what the other one needs would not be there; {finish_it}"
        )


def refuse_packed(context: Context, claim: TrackedJob, job: TrackedJob) -> None:
    """Refuse to read what a finish will make, or take away, while the job runs."""
    packed = with_archives(packed_outputs(job))
    for typed, path in claimed_inputs(context, claim).items():
        if any(collide(path, each) for each in packed):
            raise InvalidRequestError(
                f"input '{typed}' is packed when job {job.label} is finished, and so would not be "
                f"there any more, or not yet; finish that job first ("
                f"{_finish_command(context, job)})"
            )


def _finish_command(context: Context, job: TrackedJob) -> str:
    return f"datalad slurm-finish {context.dataset_option}{job.job_id}"


def states_of(
    context: Context, found: Sequence[tuple[TrackedJob, Sequence[str]]]
) -> dict[str, JobStatus]:
    """Return the states of jobs that make inputs, by token; refuse what did not go well."""
    statuses = observe(context, [job for job, _ in found])
    for job, inputs in found:
        status = statuses[job.id]
        what = f"input '{inputs[0]}' is an output of job {job.label}"
        if status.never_starts or any(task.has_ended and not task.is_ok for task in status.tasks):
            went = "will never start" if status.never_starts else "has not ended well"
            raise InvalidRequestError(
                f"{what}, which {went} ({status.describe()}); "
                f"`{_finish_command(context, job)}` names the ways on"
            )
        latest = {each.job_id for each in latest_jobs(job)}
        if any(not task.has_ended and task.task.job_id not in latest for task in status.tasks):
            # a dependency on the earlier attempt cannot be met, as some of its tasks have failed
            raise InvalidRequestError(
                f"{what}, some tasks of which were submitted again while others of the first "
                "attempt have not ended; try again when these have"
            )
        if not status.is_answered:
            # Slurm lets a job run at once that is to wait for one that slurmctld has forgotten
            why = f": {status.failure}" if status.failure else ""
            raise InvalidRequestError(
                f"{what}, and whether that has ended well is not known{why}; try again later"
            )
    return {job.token: statuses[job.id] for job, _ in found}
