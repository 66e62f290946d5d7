"""Commit jobs in the order of dependency: those before a job before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from datalad_slurm.jobs.dependencies import Relation
from datalad_slurm.jobs.model import JobStatus, TrackedJob
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.inherited import with_inherited
from datalad_slurm.workflow.relations import relations_of

__all__ = ["deliver_in_order", "held_up"]

Ended = Sequence[tuple[TrackedJob, JobStatus]]


def deliver_in_order(
    context: Context, ended: Ended, deliver: Callable[[Ended], Iterable[Outcome]]
) -> Iterator[Outcome]:
    """Deliver jobs, each after those that make its inputs, or for which it was told to wait.

    A job whose input is an output of one that stays open is kept open: its
    record could not say what it has read.

    Parameters
    ----------
    context : Context
        The dataset.
    ended : sequence of pairs of TrackedJob and JobStatus
        What to commit.
    deliver : callable
        Commits jobs, and forgets those that it could commit.
    """
    if not any(relations_of(job) for job, _ in ended):
        yield from deliver(ended)
        return
    waiting, held = list(ended), []
    while waiting:
        open_jobs = {job.token: job for job in context.tracker.open_jobs()}
        later = {job.token for job, _ in waiting}
        ready = [
            each
            for each in waiting
            if later.isdisjoint(relation.token for relation in relations_of(each[0]))
            and not held_up(each[0], open_jobs)
        ]
        if not ready:
            ready = [each for each in waiting if held_up(each[0], open_jobs)]
            held += [(*each, open_jobs) for each in ready]
        else:
            yield from deliver(with_inherited(context, ready))
        done = {job.token for job, _ in ready}
        waiting = [each for each in waiting if each[0].token not in done]
    for job, status, others in held:
        yield _kept_open(context, job, status, held_up(job, others)[0], others)


def held_up(job: TrackedJob, open_jobs: Mapping[str, TrackedJob]) -> list[Relation]:
    """Return the relations of a job to open ones, by token, that make its inputs."""
    return [r for r in relations_of(job) if r.outputs and r.token in open_jobs]


def _kept_open(
    context: Context,
    job: TrackedJob,
    status: JobStatus,
    relation: Relation,
    open_jobs: Mapping[str, TrackedJob],
) -> Outcome:
    other = open_jobs[relation.token]
    return Outcome(
        "finish",
        "impossible",
        f"Slurm job {job.label} has ended and stays open: '{relation.inputs[0]}', which it has "
        f"read, is an output of job {other.label}, which is not committed, so its record could "
        f"not say what that was; finish both: datalad slurm-finish {context.dataset_option}"
        f"{other.job_id} {job.job_id}",
        details={"slurm_job_id": job.job_id, "slurm_state": status.word},
    )
