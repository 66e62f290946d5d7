"""Have jobs that wait for one wait for its next attempt."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from datalad_slurm.jobs.dependencies import DEPENDS_ON
from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.slurm import pending
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.relations import latest_jobs, relations_of, with_relations

__all__ = ["REPOINT_ACTION", "repoint_successors", "repoint_to_latest"]

REPOINT_ACTION = "repoint"


def repoint_to_latest(
    context: Context,
    before: TrackedJob,
    tracked_id: int,
    *,
    is_whole: bool,
    run_again: Collection[str],
) -> Iterator[Outcome]:
    """Have the jobs that wait for a job wait for its latest attempt, submitted just now.

    Parameters
    ----------
    context : Context
        The dataset.
    before : TrackedJob
        The job as it was before.
    tracked_id : int
        Its tracking id.
    is_whole : bool
        Whether the job has ended well when that attempt has.
    run_again : collection of str
        Tokens of jobs that are submitted again as well, and wait for it by themselves.
    """
    open_jobs = context.tracker.open_jobs()
    now = next((job for job in open_jobs if job.id == tracked_id), None)
    if now is None:
        return  # it was short, and has been finished
    waiting = [job for job in open_jobs if job.token not in run_again]
    if not is_whole:
        for job in waiting:
            if any(relation.token == before.token for relation in relations_of(job)):
                said = (
                    f"job {job.label} waits for job {before.label}, of which tasks have failed, or "
                    "not ended, that are not submitted again; it stays as it is until they are"
                )
                details = {"slurm_job_id": job.job_id}
                yield Outcome(REPOINT_ACTION, "impossible", said, type="dataset", details=details)
        return
    cluster = before.slurm_jobs[0].cluster
    earlier = [each["slurm_job_id"] for each in before.attempts]
    for old in dict.fromkeys((*earlier, *(each.job_id for each in before.slurm_jobs))):
        yield from repoint_successors(context, SlurmJob(old, cluster), latest_jobs(now)[0], waiting)


def repoint_successors(
    context: Context, old: SlurmJob, new: SlurmJob, jobs: Iterable[TrackedJob]
) -> Iterator[Outcome]:
    """Have those of some open jobs that wait for one job wait for another in its place.

    To be called when a job is submitted again under the same claim: what waits
    for it can start only when the new attempt has ended well.

    Parameters
    ----------
    context : Context
        The dataset.
    old : SlurmJob
        The attempt that did not end well.
    new : SlurmJob
        The attempt that counts now.
    jobs : iterable of TrackedJob
        The jobs.
    """
    for job in jobs:
        mine = [r for r in relations_of(job) if old.job_id in r.ids and r.cluster == old.cluster]
        if mine:
            yield _repointed(context, job, old, new)


def _repointed(context: Context, job: TrackedJob, old: SlurmJob, new: SlurmJob) -> Outcome:
    timeout = context.settings.query_timeout
    details = {"slurm_job_id": job.job_id}
    for each in latest_jobs(job):
        try:
            ids = each.job_id, old.job_id, new.job_id
            waits = pending.wait_for_another(*ids, each.cluster, timeout)
            why = "" if waits else "it has begun, or was cancelled"
        except QueryFailedError as exc:
            why = str(exc)
        if why:
            said = (
                f"job {each.job_id} waited for job {old.job_id}, and cannot be made to wait for "
                f"job {new.job_id}, its next attempt ({why}); run it again as well"
            )
            return Outcome(REPOINT_ACTION, "error", said, type="dataset", details=details)
    relations = [
        relation._replace(
            ids=tuple(new.job_id if each == old.job_id else each for each in relation.ids)
        )
        for relation in relations_of(job)
    ]
    notes = with_relations(job, relations).extra[DEPENDS_ON]
    context.tracker.note_extra(job.id, {DEPENDS_ON: notes})
    said = f"job {job.label} waits for job {new.job_id} now, instead of job {old.job_id}"
    return Outcome(REPOINT_ACTION, "ok", said, type="dataset", details=details)
