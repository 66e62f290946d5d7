"""Submit a command and track its jobs: validate, claim, prepare, submit, note."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from datalad_slurm.jobs.errors import (
    DatabaseError,
    InvalidRequestError,
    QueryFailedError,
    SubmissionError,
)
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.slurm import sbatch
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.endings import drop_notes_of_endings, have_endings_noted
from datalad_slurm.workflow.placeholders import Placeholders
from datalad_slurm.workflow.preparing import calls_elsewhere, logs_there, made_writable
from datalad_slurm.workflow.request import Request, at_head, claim_of
from datalad_slurm.workflow.submissions import (
    adopt,
    drop_notes,
    in_flight,
    is_confirmed,
    jobs_past_shim,
    notes_directory,
    settle_claims,
    undo_prepared,
)

__all__ = ["schedule", "scheduled"]

#: sbatch's words when it lost the controller in the middle; others are plain refusals
_LOST_CONTACT = re.compile(
    "timed out|socket|connect|contact|communication|transport|zero bytes", re.IGNORECASE
)


def schedule(context: Context, request: Request) -> Iterator[Outcome]:
    """Submit a command and track its jobs.

    Raises
    ------
    InvalidRequestError
        When something about the request is wrong; nothing was changed.
    SubmissionError
        When no job was submitted; nothing is claimed.
    QueryFailedError
        When it is not known whether a job was submitted; its outputs stay
        claimed, and the next command finds out.
    """
    claim, command, placeholders = _validated(context, request)
    settle_claims(context)
    with in_flight(claim.token):
        claim = context.tracker.claim(claim, check=request.check_outputs)
        notes = notes_directory(context, claim.token)
        with _undone_unless_submitted(context, claim):
            notes.mkdir(parents=True)
            if request.assume_ready not in ("inputs", "both"):
                yield from placeholders.fetch_inputs(request.extra_inputs, request.jobs)
            if request.expand in ("inputs", "both"):
                context.tracker.note_extra(claim.id, _expanded_inputs(request, placeholders))
            if request.assume_ready not in ("outputs", "both"):
                yield from made_writable(context, request, claim)
            if claim.inputs or claim.extra_inputs:
                from datalad_slurm.workflow.inputs import note_inputs

                claim = note_inputs(context, claim, logs_there(context, request))
            text = command()
            if claim.alt_dir:
                from datalad_slurm.workflow.alt_dir import place

                inputs = (*placeholders.inputs, *request.extra_inputs)
                yield from place(context, claim, inputs, calls_elsewhere(context, claim, text))
            have_endings_noted(context, claim.token, notes)
            if claim.extra:
                from datalad_slurm.workflow.verify import note_time

                note_time(context, claim, notes)
            submission = sbatch.submit(text, context.run_directory(claim), claim.token, notes)
            jobs = _settled(context, claim, submission)
    message = f"submitted Slurm job {', '.join(str(job.job_id) for job in jobs)}"
    if submission.exit_code:
        message += f", though the command ended with exit status {submission.exit_code}"
    yield scheduled(claim, jobs, message)


def _validated(
    context: Context, request: Request
) -> tuple[TrackedJob, Callable[[], str], Placeholders]:
    if sbatch.sbatch_path() is None:
        raise InvalidRequestError(
            "sbatch is not on PATH; log in to a node of the cluster, or load the site's module "
            "for Slurm"
        )
    claim, placeholders = claim_of(context, request)
    command = placeholders.check_command(request.cmd)
    return at_head(context, claim), command, placeholders


def _expanded_inputs(request: Request, placeholders: Placeholders) -> dict[str, list[str]]:
    """Return the inputs for a record in which globs are replaced."""
    return {
        "expanded_inputs": placeholders.expand_for_record(placeholders.inputs),
        "expanded_extra_inputs": placeholders.expand_for_record(request.extra_inputs),
    }


@contextmanager
def _undone_unless_submitted(context: Context, claim: TrackedJob) -> Iterator[None]:
    """Free the claim, and undo what was prepared, unless a job was or may have been submitted."""
    try:
        yield
    except QueryFailedError:
        raise  # a job may have been submitted
    except BaseException as exc:
        from datalad_slurm.workflow.alt_notes import abandon, clean_up

        jobs, in_doubt = sbatch.read_notes(notes_directory(context, claim.token))
        if jobs or (in_doubt and not isinstance(exc, SubmissionError)):
            raise
        # a job that sbatch was not seen to submit may need what was copied for it
        unseen = bool(claim.alt_dir and jobs_past_shim(context, claim))
        abandon(context, claim.token, keep_files=unseen)
        if not context.tracker.free(claim.id):
            raise  # its jobs are tracked, and the notes gone
        undo_prepared(context, claim.token)
        drop_notes(context, claim.token)
        drop_notes_of_endings(context, claim.token)
        clean_up(context)
        raise


def _settled(context: Context, claim: TrackedJob, done: sbatch.Submission) -> list[SlurmJob]:
    """Track the jobs that were submitted, or free the claim when there are none."""
    jobs = [SlurmJob(job.job_id, job.cluster, claim.claimed_at) for job in done.jobs]
    if not done.is_noted:
        jobs = [job for job in jobs if is_confirmed(context, claim, job)]
    if not jobs and done.is_in_doubt:
        from datalad_slurm.workflow.lookup import find_by_token

        # sbatch can fail after the controller took the job
        try:
            patient = _LOST_CONTACT.search(done.said) is not None
            jobs = find_by_token(
                context, claim, notes_directory(context, claim.token), patient=patient
            )
        except QueryFailedError as exc:
            raise QueryFailedError(
                f"it is not known whether a job was submitted ({exc}); its outputs stay claimed "
                f"until Slurm answers the next command; the command said: {done.said}"
            ) from exc
    if jobs:
        try:
            return adopt(context, claim, jobs)
        except DatabaseError as exc:
            ids = ", ".join(str(job.job_id) for job in jobs)
            raise DatabaseError(
                f"Slurm job {ids} was submitted, but that could not be noted in the tracking "
                f"database; when that is mended, the next command tracks it: {exc}"
            ) from exc
    unseen = jobs_past_shim(context, claim)
    said = f": {done.said}" if done.said else ""
    if claim.alt_dir:
        said += (
            f"; it ran in {context.run_directory(claim)}: what it reads there, besides the script "
            "that sbatch is given, must be declared as input"
        )
    if unseen:
        ids = ", ".join(map(str, unseen))
        raise SubmissionError(
            f"the command told of no job, but {ids} was submitted from here meanwhile; if it is "
            f"the command's, track it with `datalad slurm-schedule --job-id {unseen[0]}` and the "
            f"same outputs{said}"
        )
    raise SubmissionError(
        f"the command submitted no job (exit status {done.exit_code}){said}"
        if done.exit_code
        else f"the command ended well, but submitted no job{said}"
    )


def scheduled(claim: TrackedJob, jobs: Sequence[SlurmJob], message: str) -> Outcome:
    """Return the outcome that tells of tracked jobs."""
    return Outcome(
        "slurm-schedule",
        "ok",
        message,
        type="dataset",
        details={
            "slurm_job_id": jobs[0].job_id,
            "slurm_job_ids": [job.job_id for job in jobs],
            "cluster": jobs[0].cluster,
            "cmd": claim.cmd,
            "pwd": claim.pwd,
            "alt_dir": claim.alt_dir or None,
            "outputs": list(claim.outputs),
            "inputs": list(claim.inputs),
        },
    )
