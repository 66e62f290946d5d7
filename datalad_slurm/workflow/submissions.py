"""Notes of running submissions, and what is left of those that were cut short."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from datalad_slurm.dataset.prepare import Prepared, undo
from datalad_slurm.jobs.errors import DatasetError, JobNotTrackedError, QueryFailedError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.slurm import sbatch, scontrol
from datalad_slurm.tracking.process import current_process, is_running
from datalad_slurm.workflow.context import Context, lgr
from datalad_slurm.workflow.scripts import identified_scripts
from datalad_slurm.workflow.whole_files import write_whole

__all__ = [
    "adopt",
    "describe",
    "drop_notes",
    "drop_temporary_directories",
    "free_claims",
    "in_flight",
    "is_confirmed",
    "jobs_past_shim",
    "note_prepared",
    "notes_directory",
    "settle_claims",
    "undo_prepared",
]

#: Name of the note of what was done in the dataset before the submission.
_PREPARED = "prepared.json"
#: How many outputs a message names.
_MOST_NAMED = 3
#: Login node and controller may have different clocks (seconds).
_CLOCK_SLACK = 5
#: Tokens of claims that this process is submitting.
_in_flight: set[str] = set()


def notes_directory(context: Context, token: str) -> Path:
    """Return the directory in which a submission leaves its notes."""
    return _all_notes(context) / token


def _all_notes(context: Context) -> Path:
    return context.repo.state_dir / "submissions"


def drop_notes(context: Context, token: str) -> None:
    """Remove the notes of a submission that is settled."""
    shutil.rmtree(notes_directory(context, token), ignore_errors=True)


def drop_temporary_directories(context: Context) -> None:
    """Remove temporary directories of jobs that are not tracked any more."""
    # A directory is made after its claim, so what is listed first can be judged by the claims.
    made = [directory.name for directory in context.temporary_directories.glob("*")]
    for token in set(made) - context.tracker.tokens() if made else ():
        shutil.rmtree(context.temporary_directories / token, ignore_errors=True)


def note_prepared(context: Context, token: str, prepared: Prepared) -> None:
    """Note what is about to be done to make room for a job, so that anybody can undo it."""
    path = notes_directory(context, token) / _PREPARED
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(dataclasses.asdict(prepared)))


def undo_prepared(context: Context, *tokens: str) -> None:
    """Undo what was done to make room for jobs that were not submitted after all.

    What cannot be undone is left to the user: no content is lost by it, and
    other jobs must not wait for it.
    """
    unlocked: list[str] = []
    removed: list[tuple[str, str]] = []
    for token in tokens:
        path = notes_directory(context, token) / _PREPARED
        try:
            noted = json.loads(path.read_text())
            unlocked += noted["unlocked"]
            removed += [(path, target) for path, target in noted["removed"]]
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as exc:
            _warn_of_outputs(f"in {context.repo.root}", f"{path} cannot be read: {exc!r}")
    if not (unlocked or removed):
        return
    try:
        undo(context.hierarchy, Prepared(tuple(unlocked), tuple(removed)))
    except (OSError, DatasetError) as exc:
        if len(tokens) > 1:
            for token in tokens:  # what stands in the way of one must not concern the others
                undo_prepared(context, token)
            return
        outputs = (*(path for path, _ in removed), *unlocked)
        where = ", ".join(f"'{output}'" for output in outputs[:_MOST_NAMED])
        more = f" and {len(outputs) - _MOST_NAMED} more" if len(outputs) > _MOST_NAMED else ""
        _warn_of_outputs(f"{where}{more} in {context.repo.root}", str(exc))


def _warn_of_outputs(where: str, reason: str) -> None:
    lgr.warning(
        "outputs %s were unlocked or removed for a job that was not submitted, and may be so "
        "still (%s); see `git status`: `git annex lock PATH` locks a file again, "
        "`git checkout -- PATH` brings back a link",
        where,
        reason,
    )


def settle_claims(context: Context) -> None:
    """Settle the claims of schedulers that died between claim and note.

    The job is found by its token and tracked, or, when there is none, its
    claim is freed. What cannot be known yet stays as it is.
    """
    drop_temporary_directories(context)
    # Notes are made after their claim: what is listed first can be judged by the claims.
    noted = [notes.name for notes in _all_notes(context).glob("*")]
    claims = context.tracker.claims_without_job()
    over = set(noted) - {claim.token for claim in claims}
    tracked = context.tracker.tokens() if over else set()
    for token in over:
        if token not in tracked:
            undo_prepared(context, token)
        drop_notes(context, token)
    without_job: list[TrackedJob] = []
    for claim in claims:
        if _is_being_submitted(claim):
            continue
        notes = notes_directory(context, claim.token)
        if sbatch.is_alive(notes):
            lgr.info("the submission of %r is still under way", claim.cmd)
            continue
        jobs, in_doubt = sbatch.read_notes(notes)
        found = [SlurmJob(job.job_id, job.cluster, claim.claimed_at) for job in jobs]
        if in_doubt and not found:
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
            adopt(context, claim, found)
        elif claim.claimed_by is not None and is_running(claim.claimed_by) is None:
            lgr.warning(
                "the outputs of %r are claimed by %s, which cannot be seen from here; if it has "
                "ended, run the command again on that host",
                claim.cmd,
                claim.claimed_by,
            )
        else:
            was_started = (notes / "alive").exists()
            unseen = jobs_past_shim(context, claim) if was_started else []
            for job_id in unseen:
                lgr.warning(
                    "job %s may be that of %r, whose scheduling was interrupted; if so, track it "
                    "with `datalad slurm-schedule --job-id %s` and its outputs",
                    job_id,
                    claim.cmd,
                    job_id,
                )
            from datalad_slurm.workflow.alt_notes import abandon

            abandon(context, claim.token, keep_files=bool(unseen))
            without_job.append(claim)
    # a scheduler may have noted a job and ended since we looked
    for claim in free_claims(context, without_job):
        lgr.info("freed the outputs of %r, for which no job is known", claim.cmd)


def free_claims(context: Context, claims: Sequence[TrackedJob]) -> list[TrackedJob]:
    """Free claims that have no job, and undo what was prepared; return those that were freed."""
    if not claims:
        return []
    from datalad_slurm.tracking.many import free_all

    ids = free_all(context.tracker, [claim.id for claim in claims])
    freed = [claim for claim in claims if claim.id in ids]
    undo_prepared(context, *(claim.token for claim in freed))
    for claim in freed:
        drop_notes(context, claim.token)
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
    tracked = {job.job_id for each in context.tracker.open_jobs() for job in each.slurm_jobs}
    return [job_id for job_id in found if job_id not in tracked]


def adopt(context: Context, claim: TrackedJob, found: list[SlurmJob]) -> list[SlurmJob]:
    """Track the jobs that a claim turned out to have."""
    # once the jobs are noted, any other command may drop the notes
    calls = sbatch.read_calls(notes_directory(context, claim.token))
    context.tracker.note_submission(claim.id, found)  # before anything else can fail
    described = describe(context, found)
    scripts = identified_scripts(context, claim, calls, found)
    identities = {**claim.identities, "scripts": scripts} if scripts else None
    with suppress(JobNotTrackedError):  # a short job may have been finished already
        context.tracker.note_submission(claim.id, described, identities)
    drop_notes(context, claim.token)
    return described


def describe(context: Context, slurm_jobs: Iterable[SlurmJob]) -> list[SlurmJob]:
    """Return jobs with their tasks and log files, as long as slurmctld knows them.

    That it does not answer is no failure: the next command tries again.
    """
    described: list[SlurmJob] = []
    for job in slurm_jobs:
        try:
            known = scontrol.describe(job.job_id, job.cluster, context.settings.query_timeout)
            described.append(dataclasses.replace(known, attempt=job.attempt))
        except QueryFailedError as exc:
            lgr.warning("job %s is tracked, but not described yet: %s", job.job_id, exc)
            described.append(job)
    return described
