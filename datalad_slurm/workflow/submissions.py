"""Notes of running submissions, and what is left of those that were cut short."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from datalad_slurm.jobs.errors import JobNotTrackedError, QueryFailedError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.notes import has_store
from datalad_slurm.slurm import sbatch, scontrol
from datalad_slurm.tracking.process import current_process, is_running
from datalad_slurm.workflow.context import Context, lgr
from datalad_slurm.workflow.environment import noted_environment
from datalad_slurm.workflow.relations import note_typed
from datalad_slurm.workflow.scripts import identified_scripts
from datalad_slurm.workflow.submission_notes import (
    all_notes,
    drop_notes,
    notes_directory,
    undo_prepared,
)

__all__ = [
    "adopt",
    "describe",
    "described",
    "drop_temporary_directories",
    "free_claims",
    "give_up",
    "in_flight",
    "is_confirmed",
    "jobs_past_shim",
    "settle_claims",
]

#: Login node and controller may have different clocks (seconds).
_CLOCK_SLACK = 5
#: Tokens of claims that this process is submitting.
_in_flight: set[str] = set()


def drop_temporary_directories(context: Context) -> None:
    """Remove temporary directories of jobs that are not tracked any more."""
    # A directory is made after its claim, so what is listed first can be judged by the claims.
    made = [directory.name for directory in context.temporary_directories.glob("*")]
    for token in set(made) - context.tracker.tokens() if made else ():
        shutil.rmtree(context.temporary_directories / token, ignore_errors=True)


def settle_claims(context: Context) -> None:
    """Settle the claims of schedulers that died between claim and note.

    The job is found by its token and tracked, or, when there is none, its
    claim is freed. What cannot be known yet stays as it is.
    """
    drop_temporary_directories(context)
    # Notes are made after their claim: what is listed first can be judged by the claims.
    noted = [notes.name for notes in all_notes(context).glob("*")]
    claims = context.tracker.claims_without_job()
    over = set(noted) - {claim.submission for claim in claims}
    tracked = context.tracker.tokens() if over else set()
    for token in over:
        if token not in tracked:
            undo_prepared(context, token)
        drop_notes(context, token)
    without_job: list[TrackedJob] = []
    for claim in claims:
        if _is_being_submitted(claim):
            continue
        notes = notes_directory(context, claim.submission)
        if sbatch.is_alive(notes):
            lgr.info("the submission of %r is still under way", claim.cmd)
            continue
        read = sbatch.read_notes(notes)
        found = [SlurmJob(job.job_id, job.cluster, claim.claimed_at) for job in read.jobs]
        if read.is_in_doubt and not found:
            from datalad_slurm.workflow.lookup import find_by_token

            try:
                found = find_by_token(context, claim, notes)
            except QueryFailedError as exc:
                lgr.warning(
                    "it is not known whether %r was submitted before its scheduler ended: %s; "
                    "its outputs stay claimed until Slurm answers",
                    claim.cmd,
                    exc,
                )
                continue
        if found:
            adopt(context, note_typed(context, claim, read.calls, {}), found, read.calls)
        elif claim.claimed_by is not None and is_running(claim.claimed_by) is None:
            lgr.warning(
                "the outputs of %r are claimed by %s, which cannot be seen from here; if it has "
                "ended, run the command again on that host",
                claim.cmd,
                claim.claimed_by,
            )
        else:
            unseen = _told_of_unseen(context, claim)
            if not claim.is_retry:
                from datalad_slurm.workflow.alt_notes import abandon

                abandon(context, claim.token, keep_files=unseen)
            without_job.append(claim)
    # a scheduler may have noted a job and ended since we looked
    for claim in free_claims(context, without_job):
        what = "put back the failed job of" if claim.is_retry else "freed the outputs of"
        lgr.info("%s %r, for which no %sjob is known", what, claim.cmd, "new " * claim.is_retry)


def _told_of_unseen(context: Context, claim: TrackedJob) -> bool:
    """Tell of jobs that may be those of a claim whose command did run; return if there are any."""
    if not (notes_directory(context, claim.submission) / "alive").exists():
        return False
    unseen = jobs_past_shim(context, claim)
    for job_id in unseen:
        lgr.warning(
            "job %s may be that of %r, whose scheduling was interrupted; if so, track it "
            "with `datalad slurm-schedule --job-id %s` and its outputs",
            job_id,
            claim.cmd,
            job_id,
        )
    return bool(unseen)


def give_up(context: Context, claim: TrackedJob, *, keep_files: bool) -> bool:
    """Free a claim that has come to nothing, and undo what was prepared for it.

    A job that was to be submitted again is what it was before.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        The claim.
    keep_files : bool
        Whether what was copied to an alternative directory stays there.

    Returns
    -------
    bool
        False when a job was noted for it meanwhile.
    """
    if not claim.is_retry:
        from datalad_slurm.workflow.alt_notes import abandon

        abandon(context, claim.token, keep_files=keep_files)
    return bool(free_claims(context, [claim]))


def free_claims(context: Context, claims: Sequence[TrackedJob]) -> list[TrackedJob]:
    """Free claims that have no job, and undo what was prepared; return those that were freed."""
    if not claims:
        return []
    from datalad_slurm.tracking.many import free_all

    if any(has_store(claim) for claim in claims):
        from datalad_slurm.workflow.stores import let_go

        let_go(context, claims)
    ids = free_all(context.tracker, [claim.id for claim in claims])
    freed = [claim for claim in claims if claim.id in ids]
    undo_prepared(context, *(claim.submission for claim in freed))
    for claim in freed:
        drop_notes(context, claim.submission)
    return freed


def _is_being_submitted(claim: TrackedJob) -> bool:
    """Return whether the process that made a claim is still at it."""
    if claim.claimed_by == current_process():
        return claim.token in _in_flight  # a process may live on, and its submission have failed
    return claim.claimed_by is not None and is_running(claim.claimed_by) is True


@contextmanager
def in_flight(*tokens: str) -> Iterator[None]:
    """Mark claims as such that this process is submitting."""
    _in_flight.update(tokens)
    try:
        yield
    finally:
        _in_flight.difference_update(tokens)


def is_confirmed(context: Context, claim: TrackedJob, job: SlurmJob) -> bool:
    """Return whether a job of which only a command's output told is that command's.

    Any program may print a number. The job must be the user's own, and have
    been submitted since the claim. If slurmctld does not answer, it is
    believed: better to track a job that is none than to lose one.
    """
    timeout = context.settings.query_timeout
    try:
        known = scontrol.describe(job.job_id, job.cluster, timeout)
        owner = scontrol.owner_id(job.job_id, timeout) if not job.cluster else None
    except QueryFailedError as exc:
        return "Invalid job id" not in str(exc)
    is_own = owner is None or owner == os.getuid()
    return is_own and (known.submitted or 0) >= claim.claimed_at - _CLOCK_SLACK


def jobs_past_shim(context: Context, claim: TrackedJob) -> list[int]:
    """Return own jobs that are not tracked and may be a claim's, though nothing told of them.

    A command can call sbatch by its full path, or reset PATH, and hide what it
    prints.
    """
    from datalad_slurm.slurm import squeue

    directory = str(context.run_directory(claim))
    since = claim.claimed_at - _CLOCK_SLACK
    try:
        found = squeue.find_submitted_in(
            os.path.realpath(directory), since, context.settings.query_timeout
        )
    except QueryFailedError:
        return []
    jobs = [*context.tracker.open_jobs(), claim]
    tracked = {job.job_id for each in jobs for job in each.slurm_jobs}
    tracked |= {entry["slurm_job_id"] for each in jobs for entry in each.attempts}
    return [job_id for job_id in found if job_id not in tracked]


def adopt(
    context: Context,
    claim: TrackedJob,
    found: list[SlurmJob],
    calls: Sequence[sbatch.NotedCall],
) -> list[SlurmJob]:
    """Track the jobs that a claim turned out to have, and how sbatch was called for them."""
    # once the jobs are noted, any other command may drop the notes
    notes = notes_directory(context, claim.submission)
    environment, environment_kept = noted_environment(context, notes)
    began = sbatch.began(notes)
    extra = {"began": began} if began else None
    context.tracker.note_submission(claim.id, found, extra=extra)  # before anything else can fail
    described = describe(context, found)
    scripts, scripts_kept = identified_scripts(context, claim, calls, found)
    identities = {**claim.identities, **scripts, **environment}
    with suppress(JobNotTrackedError):  # a short job may have been finished already
        context.tracker.note_submission(
            claim.id, described, identities, contents={**scripts_kept, **environment_kept}
        )
    drop_notes(context, claim.submission)
    return described


def describe(context: Context, slurm_jobs: Iterable[SlurmJob]) -> list[SlurmJob]:
    """Return jobs with their tasks and log files, as long as slurmctld knows them.

    That it does not answer is no failure: the next command tries again.
    """
    described: list[SlurmJob] = []
    for job in slurm_jobs:
        try:
            known = scontrol.describe(job.job_id, job.cluster, context.settings.query_timeout)
            described.append(known._replace(attempt=job.attempt))
        except QueryFailedError as exc:
            lgr.warning("job %s is tracked, but not described yet: %s", job.job_id, exc)
            described.append(job)
    return described


def described(context: Context, jobs: list[TrackedJob]) -> list[TrackedJob]:
    """Catch up on jobs that slurmctld could not be asked about at submission."""
    lacking = [job for job in jobs if any(slurm.tasks is None for slurm in job.slurm_jobs)]
    if not lacking:
        return jobs
    for job in lacking:
        with suppress(JobNotTrackedError):  # another process has taken over
            context.tracker.note_submission(job.id, describe(context, job.slurm_jobs))
    chosen = {job.id for job in jobs}
    return [job for job in context.tracker.open_jobs() if job.id in chosen]
