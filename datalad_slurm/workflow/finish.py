"""Close jobs that have ended: recover, ask Slurm once for all, plan, commit."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime

from datalad_slurm.dataset.commits import check_identity
from datalad_slurm.dataset.orphans import no_orphans
from datalad_slurm.jobs.errors import JobNotTrackedError
from datalad_slurm.jobs.model import JobStatus, TaskStatus, TrackedJob
from datalad_slurm.jobs.names import JobName
from datalad_slurm.jobs.plan import Action, FailedJobs, Shape, decide
from datalad_slurm.tracking.finisher import only_finisher
from datalad_slurm.workflow.alt_notes import clean_up
from datalad_slurm.workflow.bring_back import leave
from datalad_slurm.workflow.collect import logs_of
from datalad_slurm.workflow.context import Context, Outcome, lgr, open_jobs
from datalad_slurm.workflow.deliver import deliver
from datalad_slurm.workflow.endings import tidy_endings
from datalad_slurm.workflow.observe import observe
from datalad_slurm.workflow.recovery import settle_publications
from datalad_slurm.workflow.submissions import (
    describe,
    drop_temporary_directories,
    settle_claims,
)

__all__ = ["finish"]


def finish(
    context: Context,
    names: Sequence[JobName] | None,
    failed_jobs: FailedJobs,
    message: str = "",
    *,
    close_unknown: bool = False,
    shape: Shape = Shape.CHAIN,
) -> Iterator[Outcome]:
    """Commit or close jobs that have ended; say of the others why not.

    Parameters
    ----------
    context : Context
        The dataset.
    names : sequence of JobName, optional
        Jobs to finish; all open ones when not given.
    failed_jobs : FailedJobs
        What to do with jobs that have not ended well.
    message : str
        Added to each commit's message.
    close_unknown : bool
        Whether to forget jobs of which Slurm knows nothing at all.
    shape : Shape
        How the commits hang together.

    Raises
    ------
    InvalidRequestError
        When a job is named that is not open here, or jobs of several clusters
        are; nothing was changed.
    DatasetError
        When git or git-annex fails; the jobs stay open.
    DatabaseError
        When another process is at it, or the database cannot be used.
    """
    check_identity(context.repo)
    settings = context.settings
    with (
        only_finisher(
            context.tracker.database,
            settings.finish_timeout,
            lgr.warning,
            take_over=settings.take_over,
        ),
        no_orphans(context.repo, settings.finish_timeout),
    ):
        settle_publications(context)
        settle_claims(context)
        clean_up(context)
        tidy_endings(context)
        jobs = _described(context, open_jobs(context, names))
        if not jobs:
            yield Outcome("finish", "notneeded", "there are no open jobs")
            return
        statuses = observe(context, jobs, for_record=True)
        plan = {
            job.id: decide(statuses[job.id], failed_jobs, close_unknown=close_unknown)
            for job in jobs
        }
        ended = [(job, statuses[job.id]) for job in jobs if plan[job.id] is Action.COMMIT]
        staying = [
            (job, statuses.get(job.id))
            for job in (context.tracker.open_jobs() if ended else ())
            if plan.get(job.id) is not Action.COMMIT
        ]
        yield from deliver(context, ended, logs_of(context, staying), message, shape)
        closed = [job for job in jobs if plan[job.id] is Action.CLOSE]
        leave(context, closed)
        context.tracker.forget(job.id for job in closed)
        clean_up(context)
        tidy_endings(context)
        for job in jobs:
            if plan[job.id] is not Action.COMMIT:
                yield _explain(job, statuses[job.id], plan[job.id])
        drop_temporary_directories(context)


def _described(context: Context, jobs: list[TrackedJob]) -> list[TrackedJob]:
    """Catch up on jobs that slurmctld could not be asked about at submission."""
    lacking = [job for job in jobs if any(slurm.tasks is None for slurm in job.slurm_jobs)]
    if not lacking:
        return jobs
    for job in lacking:
        with suppress(JobNotTrackedError):  # another process has taken over
            context.tracker.note_submission(job.id, describe(context, job.slurm_jobs))
    chosen = {job.id for job in jobs}
    return [job for job in context.tracker.open_jobs() if job.id in chosen]


def _unexplained(task: TaskStatus) -> str:
    """Return what is known of a task that is over without anybody knowing how."""
    if not task.is_unexplained or task.facts is None:
        return ""
    begun = datetime.fromtimestamp(task.facts.started or 0).astimezone()
    return (
        f"; {task.task} began on {task.facts.nodes} at {begun:%Y-%m-%d %H:%M:%S} and noted no "
        "ending, as when it is killed by kill -9, for its memory, or with its node"
    )


def _explain(job: TrackedJob, status: JobStatus, action: Action) -> Outcome:
    details = {"slurm_job_id": job.job_id, "slurm_state": status.word}
    states = f"Statuses: {status.describe()}"
    if action is Action.CLOSE and status.is_unknown:
        said = f"Closing a job that Slurm does not know. {states}{_stays(job)}"
        return Outcome("finish", "ok", said, details=details)
    if action is Action.CLOSE:
        return Outcome(
            "finish",
            "ok",
            f"Closing failed / cancelled jobs. {states}{_stays(job)}",
            details=details,
        )
    message = f"Slurm job(s) for job {job.label} are not complete. {states}"
    message += "".join(map(_unexplained, status.tasks))
    name = JobName(job.job_id, job.slurm_jobs[0].cluster)
    finish_it = f"datalad slurm-finish {shlex.quote(str(name))}"
    if action is Action.REFUSE:
        declared = [f"-i {shlex.quote(path)}" for path in job.inputs]
        declared += [f"-o {shlex.quote(path)}" for path in job.declared_outputs]
        message += (
            f". To commit what it left: {finish_it} --accept-failed-jobs; to drop it: "
            f"{finish_it} --close-failed-jobs; to run it again: drop it, then in '{job.pwd}' "
            f"datalad slurm-schedule {_alt_option(job)}{' '.join(declared)} {job.cmd}"
        )
    elif action is Action.ASK_AGAIN:
        why = f" ({status.failure})" if status.failure else ""
        message += f". Whether it has ended is not known{why}; try again later"
        if status.is_unknown:
            message += (
                f", or, if Slurm has lost the job for good, drop it: {finish_it} "
                "--close-unknown-jobs"
            )
    return Outcome("finish", "impossible", message, details=details)


def _stays(job: TrackedJob) -> str:
    return f"; what it has in {job.alt_dir} stays there" if job.alt_dir else ""


def _alt_option(job: TrackedJob) -> str:
    return f"-a {shlex.quote(job.alt_dir)} " if job.alt_dir else ""
