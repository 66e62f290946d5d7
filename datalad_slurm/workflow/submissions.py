"""Notes of running submissions, and what is left of those that were cut short."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.slurm import sacct, sbatch, squeue
from datalad_slurm.tracking.process import is_running
from datalad_slurm.workflow.context import Context, lgr
from datalad_slurm.workflow.observe import describe_submitted

__all__ = ["adopt", "drop_notes", "find_by_token", "notes_directory", "settle_claims"]

#: Until then the accounting may not have heard of a new job (seconds).
_ACCOUNTING_LAG = 15.0


def notes_directory(context: Context, token: str) -> Path:
    """Return the directory in which a submission leaves its notes."""
    return _all_notes(context) / token


def _all_notes(context: Context) -> Path:
    return context.repo.state_dir / "submissions"


def drop_notes(context: Context, token: str) -> None:
    """Remove the notes of a submission that is settled."""
    shutil.rmtree(notes_directory(context, token), ignore_errors=True)


def settle_claims(context: Context) -> None:
    """Settle the claims of schedulers that died between claim and note.

    The job is found by its token and tracked, or, when there is none, its
    claim is freed. What cannot be known yet stays as it is.
    """
    # Notes are made after their claim: what is listed first can be judged by the claims.
    noted = [notes.name for notes in _all_notes(context).glob("*")]
    claims = context.tracker.claims_without_job()
    for token in set(noted) - {claim.token for claim in claims}:
        drop_notes(context, token)
    for claim in claims:
        if claim.claimed_by is not None and is_running(claim.claimed_by):
            continue
        notes = notes_directory(context, claim.token)
        if sbatch.is_alive(notes):
            lgr.info("the submission of %r is still under way", claim.cmd)
            continue
        jobs, in_doubt = sbatch.read_notes(notes)
        found = [SlurmJob(job.job_id, job.cluster) for job in jobs]
        if in_doubt and not found:
            try:
                found = [SlurmJob(job_id) for job_id in find_by_token(context, claim)]
            except QueryFailedError as exc:
                lgr.warning(
                    "it is not known whether %r was submitted before its scheduler ended: %s; "
                    "its outputs stay claimed until Slurm answers",
                    claim.cmd,
                    exc,
                )
                continue
        if found:
            adopt(context, claim, found)
        elif claim.claimed_by is not None and is_running(claim.claimed_by) is None:
            lgr.warning(
                "the outputs of %r are claimed by %s, which cannot be seen from here; if it has "
                "ended, run the command again on that host",
                claim.cmd,
                claim.claimed_by,
            )
        else:
            context.tracker.forget([claim.id])
            drop_notes(context, claim.token)
            lgr.info("freed the outputs of %r, which was never submitted", claim.cmd)


def adopt(context: Context, claim: TrackedJob, found: list[SlurmJob]) -> list[SlurmJob]:
    """Track the jobs that a claim turned out to have."""
    context.tracker.note_submission(claim.id, found)  # before anything else can fail
    described = describe_submitted(context, claim.id, found)
    drop_notes(context, claim.token)
    return described


def find_by_token(context: Context, claim: TrackedJob, *, patient: bool = True) -> list[int]:
    """Return the jobs that Slurm took with the token of a claim.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        The claim that may have a job.
    patient : bool
        Whether to wait for the accounting where only that can know the job.

    Raises
    ------
    QueryFailedError
        When Slurm does not answer.
    """
    timeout = context.settings.query_timeout
    comments = squeue.find_comments(timeout)
    if found := [job_id for job_id, comment in comments.items() if comment == claim.token]:
        return found
    # A comment of the user's own replaces ours, but the submit line holds both.
    has_own_comment = _has_own_comment(notes_directory(context, claim.token))
    while True:
        try:
            found = sacct.find_token(claim.token, claim.claimed_at, comments, timeout)
        except QueryFailedError:
            if has_own_comment:
                raise
            return []
        waits = patient and has_own_comment and time.time() < claim.claimed_at + _ACCOUNTING_LAG
        if found or not waits:
            return found
        time.sleep(1)


def _has_own_comment(notes: Path) -> bool:
    return any(
        line.startswith("--com")
        for begun in notes.glob("*.begun")
        for line in begun.read_text(errors="replace").splitlines()
    )
