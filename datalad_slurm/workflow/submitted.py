"""Tell what came of a command that was to submit jobs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from datalad_slurm.jobs.errors import DatabaseError, QueryFailedError, SubmissionError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.task_outputs import shown
from datalad_slurm.slurm import sbatch
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.relations import told_of
from datalad_slurm.workflow.submission_notes import notes_directory
from datalad_slurm.workflow.submissions import adopt, is_confirmed, jobs_past_shim

__all__ = ["found_jobs", "nothing_submitted", "scheduled", "settled"]

#: sbatch's words when it lost the controller in the middle; others are plain refusals
_LOST_CONTACT = re.compile(
    "timed out|socket|connect|contact|communication|transport|zero bytes", re.IGNORECASE
)


def found_jobs(context: Context, claim: TrackedJob, done: sbatch.Submission) -> list[SlurmJob]:
    """Return the jobs that a command has submitted.

    Raises
    ------
    QueryFailedError
        When it is not known whether there are any.
    """
    jobs = [SlurmJob(job.job_id, job.cluster, claim.claimed_at) for job in done.jobs]
    if not done.is_noted:
        jobs = [job for job in jobs if is_confirmed(context, claim, job)]
    if not jobs and done.is_in_doubt:
        from datalad_slurm.workflow.lookup import find_by_token

        # sbatch can fail after the controller took the job
        try:
            patient = _LOST_CONTACT.search(done.said) is not None
            jobs = find_by_token(
                context, claim, notes_directory(context, claim.submission), patient=patient
            )
        except QueryFailedError as exc:
            raise QueryFailedError(
                f"it is not known whether a job was submitted ({exc}); its outputs stay claimed "
                f"until Slurm answers the next command; the command said: {done.said}"
            ) from exc
    return jobs


def settled(context: Context, claim: TrackedJob, done: sbatch.Submission) -> list[SlurmJob]:
    """Track the jobs that were submitted, or free the claim when there are none."""
    jobs = found_jobs(context, claim, done)
    if jobs:
        try:
            return adopt(context, claim, jobs, done.calls)
        except DatabaseError as exc:
            ids = ", ".join(str(job.job_id) for job in jobs)
            raise DatabaseError(
                f"Slurm job {ids} was submitted, but that could not be noted in the tracking "
                f"database; when that is mended, the next command tracks it: {exc}"
            ) from exc
    raise nothing_submitted(context, claim, done)


def nothing_submitted(
    context: Context, claim: TrackedJob, done: sbatch.Submission
) -> SubmissionError:
    """Return the error that says that a command has submitted no job."""
    unseen = jobs_past_shim(context, claim)
    said = f": {done.said}" if done.said else ""
    if claim.alt_dir:
        said += (
            f"; it ran in {context.run_directory(claim)}: what it reads there, besides the script "
            "that sbatch is given, must be declared as input"
        )
    if unseen:
        ids = ", ".join(map(str, unseen))
        return SubmissionError(
            f"the command told of no job, but {ids} was submitted from here meanwhile; if it is "
            f"the command's, track it with `datalad slurm-schedule --job-id {unseen[0]}` and the "
            f"same outputs{said}"
        )
    return SubmissionError(
        f"the command submitted no job (exit status {done.exit_code}){said}"
        if done.exit_code
        else f"the command ended well, but submitted no job{said}"
    )


def scheduled(claim: TrackedJob, jobs: Sequence[SlurmJob], message: str) -> Outcome:
    """Return the outcome that tells of tracked jobs."""
    said, relations = told_of(claim)
    return Outcome(
        "slurm-schedule",
        "ok",
        message + said,
        type="dataset",
        details={
            "slurm_job_id": jobs[0].job_id,
            "slurm_job_ids": [job.job_id for job in jobs],
            "cluster": jobs[0].cluster,
            "cmd": claim.cmd,
            "pwd": claim.pwd,
            "alt_dir": claim.alt_dir or None,
            "outputs": list(shown(claim)),
            "inputs": list(claim.inputs),
            **relations,
        },
    )
