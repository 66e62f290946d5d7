"""Submit a command and track its jobs: validate, claim, prepare, submit, note."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from datalad_slurm.jobs.archive import AS_RECORDED
from datalad_slurm.jobs.errors import (
    InvalidRequestError,
    QueryFailedError,
    SubmissionError,
)
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.notes import VERIFY, needs_runner
from datalad_slurm.jobs.packs import PACK
from datalad_slurm.slurm import sbatch
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.endings import drop_notes_of_endings, have_endings_noted
from datalad_slurm.workflow.environment import have_environment_noted, with_environment
from datalad_slurm.workflow.placeholders import Placeholders
from datalad_slurm.workflow.predecessors import (
    hold_back,
    made_by_others,
    wait_for_predecessors,
    with_predecessors,
)
from datalad_slurm.workflow.preparing import calls_elsewhere, logs_there, made_writable
from datalad_slurm.workflow.relations import note_typed
from datalad_slurm.workflow.request import Request, at_head, claim_of
from datalad_slurm.workflow.submission_notes import notes_directory
from datalad_slurm.workflow.submissions import (
    give_up,
    in_flight,
    jobs_past_shim,
    settle_claims,
)
from datalad_slurm.workflow.submitted import scheduled, settled

if TYPE_CHECKING:
    from datalad_slurm.workflow.leftovers import Stale

__all__ = ["expanded_inputs", "require_sbatch", "schedule", "submit_claim"]


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
    claim = with_predecessors(context, claim, is_wanted=request.auto_dependency)
    (claim,) = with_environment(context, [claim])
    with in_flight(claim.token):
        claim = context.tracker.claim(claim, check=request.check_outputs)
        yield from submit_claim(context, request, claim, command, placeholders)


def submit_claim(
    context: Context,
    request: Request,
    claim: TrackedJob,
    command: Callable[[], str],
    placeholders: Placeholders,
    *,
    stale: Stale | None = None,
) -> Iterator[Outcome]:
    """Prepare what a job needs whose outputs are claimed, submit it, and track it.

    Parameters
    ----------
    context : Context
        The dataset.
    request : Request
        What is to be run.
    claim : TrackedJob
        In the tracking database, and marked as in flight.
    command : callable
        Returns the command with placeholders filled in.
    placeholders : Placeholders
        Those of the request.
    stale : Stale, optional
        What a failed attempt may have left.

    Raises
    ------
    SubmissionError, QueryFailedError
        As `schedule` does; everything is as it was before the claim, or in doubt.
    """
    notes = notes_directory(context, claim.submission)
    with _undone_unless_submitted(context, claim):
        notes.mkdir(parents=True)
        if request.assume_ready not in ("inputs", "both"):
            yield from placeholders.fetch_inputs(
                request.extra_inputs, request.jobs, made_by_others(context, claim)
            )
        if request.expand in ("inputs", "both"):
            context.tracker.note_extra(claim.id, expanded_inputs(request, placeholders))
        if request.assume_ready not in ("outputs", "both"):
            if stale:
                from datalad_slurm.workflow.leftovers import cleared

                yield from cleared(context, claim, stale, notes)
            yield from made_writable(context, [(request, claim)])
        if claim.inputs or claim.extra_inputs:
            from datalad_slurm.workflow.inputs import note_inputs

            claim = note_inputs(context, claim, logs_there(context, request))
        text = command()
        inputs = (*placeholders.inputs, *request.extra_inputs)
        yield from _placed(context, claim, inputs, text, notes)
        claim = wait_for_predecessors(context, claim, notes, request.stand_ins)
        have_environment_noted(context, notes)
        submission = sbatch.submit(text, context.run_directory(claim), claim.submission, notes)
        claim = note_typed(context, claim, submission.calls, request.stand_ins)
        jobs = settled(context, claim, submission)
    if needs_runner(claim) and not submission.is_noted:
        from datalad_slurm.workflow.runner_plan import run_without

        run_without(context, claim)
    message = f"submitted Slurm job {', '.join(str(job.job_id) for job in jobs)}"
    if submission.exit_code:
        message += f", though the command ended with exit status {submission.exit_code}"
    yield scheduled(claim, jobs, message)
    yield from _told_of_unseen(context, claim, submission, jobs)


def _placed(
    context: Context, claim: TrackedJob, inputs: Sequence[str], text: str, notes: Path
) -> Iterator[Outcome]:
    """Put in place what a job needs where it runs, and tell our sbatch what it is to do."""
    if claim.alt_dir:
        from datalad_slurm.workflow.alt_dir import place

        yield from place(context, claim, inputs, calls_elsewhere(context, claim, text))
    if needs_runner(claim):
        from datalad_slurm.workflow.runner_plan import place_in_runner

        yield from place_in_runner(context, claim, inputs, notes)
    else:
        have_endings_noted(context, claim.token, notes)
    if VERIFY in claim.extra:
        from datalad_slurm.workflow.verify import note_time

        note_time(context, claim, notes)
    if AS_RECORDED in claim.extra:
        from datalad_slurm.workflow.as_recorded import place_recorded

        place_recorded(context, claim, notes)


def _told_of_unseen(
    context: Context, claim: TrackedJob, submission: sbatch.Submission, jobs: Sequence[SlurmJob]
) -> Iterator[Outcome]:
    """Tell what our sbatch could not do, as the command did not call it."""
    if submission.is_noted:
        return
    if AS_RECORDED in claim.extra and not submission.calls:
        said = (
            f"job {jobs[0].job_id} runs the present script, not the recorded one: its command "
            "did not call sbatch by its name"
        )
        yield Outcome("slurm-schedule", "impossible", said)
    yield from hold_back(context, claim, jobs)


def _validated(
    context: Context, request: Request
) -> tuple[TrackedJob, Callable[[], str], Placeholders]:
    require_sbatch()
    claim, placeholders = claim_of(context, request)
    command = placeholders.check_command(request.cmd)
    if needs_runner(claim):
        from datalad_slurm.workflow.runner_plan import refuse_unfit

        refuse_unfit(context, claim, placeholders.preview(claim.cmd))
    if PACK in claim.extra:
        from datalad_slurm.workflow.pack_checks import PackCheck

        PackCheck(context).refuse_unfit(claim)
    return at_head(context, claim), command, placeholders


def require_sbatch() -> None:
    """Raise InvalidRequestError when there is no sbatch to call."""
    if sbatch.sbatch_path() is None:
        raise InvalidRequestError(
            "sbatch is not on PATH; log in to a node of the cluster, or load the site's module "
            "for Slurm"
        )


def expanded_inputs(request: Request, placeholders: Placeholders) -> dict[str, list[str]]:
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
        from datalad_slurm.workflow.alt_notes import clean_up

        noted = sbatch.read_notes(notes_directory(context, claim.submission))
        if noted.jobs or (noted.is_in_doubt and not isinstance(exc, SubmissionError)):
            raise
        # a job that sbatch was not seen to submit may need what was copied for it
        unseen = bool(claim.alt_dir and jobs_past_shim(context, claim))
        if give_up(context, claim, keep_files=unseen):
            if not claim.is_retry:
                drop_notes_of_endings(context, claim.token)
            clean_up(context)
        raise
