"""Have a job wait for the open jobs that make its inputs, and note for which it waits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from datalad_slurm.dataset.paths import matches
from datalad_slurm.jobs.claims import collide, covers, top_of
from datalad_slurm.jobs.dependencies import DEPENDS_ON, Relation
from datalad_slurm.jobs.errors import InvalidRequestError, QueryFailedError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.slurm import depend, scontrol
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.relations import (
    claimed_inputs,
    latest_jobs,
    relation_to,
    relations_of,
    with_relations,
)

__all__ = [
    "find_predecessors",
    "for_another_attempt",
    "hold_back",
    "made_by_others",
    "wait_for_predecessors",
    "with_predecessors",
]


def find_predecessors(context: Context, claim: TrackedJob) -> list[tuple[TrackedJob, list[str]]]:
    """Return the open jobs, and claims, that make inputs of a job, with these as typed."""
    inputs = claimed_inputs(context, claim)
    found = context.tracker.claimants(inputs.values()) if inputs else []
    return [
        (
            job,
            [
                typed
                for typed, path in inputs.items()
                if any(collide(path, output) for output in job.outputs)
            ],
        )
        for job in found
        if job.token != claim.token
    ]


def with_predecessors(context: Context, claim: TrackedJob, *, is_wanted: bool) -> TrackedJob:
    """Return what is to be claimed, with the jobs for which it will have to wait.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        Not in the database yet.
    is_wanted : bool
        Whether it may wait for others.

    Raises
    ------
    InvalidRequestError
        When it would have to wait for a job that has failed, of which nothing
        is known, or that runs elsewhere; or must not wait at all.
    """
    found = find_predecessors(context, claim)
    if not found:
        return claim
    from datalad_slurm.workflow.predecessor_checks import refuse_packed, refuse_unfit, states_of

    for job, inputs in found:
        refuse_unfit(context, claim, job, inputs, is_wanted=is_wanted)
        refuse_packed(context, claim, job)
    states_of(context, found)
    return with_relations(claim, [relation_to(job, inputs) for job, inputs in found])


def wait_for_predecessors(
    context: Context,
    claim: TrackedJob,
    notes: Path,
    stand_ins: Mapping[int, Sequence[int]],
) -> TrackedJob:
    """Tell our sbatch for which jobs it is to wait; to be called right before the submission.

    Preparing takes time: a job may have ended meanwhile, and slurmctld, which
    does not wait for a job that it has forgotten, may be asked too late.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        In the database, with the jobs found by `with_predecessors`.
    notes : Path
        Directory of the submission's notes.
    stand_ins : mapping
        Ids in a typed dependency, and those that stand for them now.

    Raises
    ------
    InvalidRequestError
        As for `with_predecessors`, or when jobs of two clusters are waited for.
    """
    relations = relations_of(claim)
    waits: list[SlurmJob] = []
    if relations:
        from datalad_slurm.workflow.predecessor_checks import refuse_unfit, states_of

        open_jobs = {job.token: (job, inputs) for job, inputs in find_predecessors(context, claim)}
        still = [open_jobs[each.token] for each in relations if each.token in open_jobs]
        for job, inputs in still:
            refuse_unfit(context, claim, job, inputs, is_wanted=True)
        states = states_of(context, still)
        relations = tuple(
            relation_to(*open_jobs[each.token]) if each.token in open_jobs
            else _committed(context, claim, each)
            for each in relations
        )  # fmt: skip
        claim = with_relations(claim, relations)
        context.tracker.note_extra(claim.id, {DEPENDS_ON: claim.extra[DEPENDS_ON]})
        waits = [
            slurm_job
            for job, _ in still
            if not states[job.token].is_ok
            for slurm_job in latest_jobs(job)
        ]
    if waits or stand_ins:
        depend.place(notes, _wanted(context, waits, stand_ins))
    return claim


def _wanted(
    context: Context, waits: Sequence[SlurmJob], stand_ins: Mapping[int, Sequence[int]]
) -> depend.Wanted:
    if not waits:
        return depend.Wanted(stand_ins=stand_ins)
    own = scontrol.configuration(context.settings.query_timeout).get("ClusterName", "")
    names = sorted({job.cluster or own for job in waits})
    if len(names) > 1:
        raise InvalidRequestError(
            f"inputs are made by open jobs of the clusters {' and '.join(names)}, and Slurm "
            "cannot wait for jobs of another cluster; finish those of one cluster first"
        )
    return depend.Wanted([job.job_id for job in waits], names[0], own, stand_ins)


def _committed(context: Context, claim: TrackedJob, relation: Relation) -> Relation:
    """Return the relation to a job that is open no more, if it was committed."""
    if relation.commit:
        return relation
    from datalad_slurm.workflow.commits import commits_of_jobs

    commit = commits_of_jobs(context, relation.known_ids, claim.commit_at_submission)
    if not commit and not relation.inputs:
        return relation
    if not commit:
        raise InvalidRequestError(
            f"input '{relation.inputs[0]}' was an output of job {relation.job_id}, which was "
            "closed meanwhile; run that job again first"
        )
    # its files were looked at when they were there already
    return relation._replace(outputs=(), commit=commit.popitem()[1])


def for_another_attempt(context: Context, job: TrackedJob) -> tuple[Relation, ...]:
    """Return for which jobs another attempt at a job has to wait, and what it has read.

    Raises
    ------
    InvalidRequestError
        When a job that made an input was closed.
    """
    relations = relations_of(job)
    if not relations:
        return ()
    still_open = {each.token for each in context.tracker.open_jobs()}
    return tuple(
        each if each.token in still_open else _committed(context, job, each)
        for each in relations
        if each.inputs or each.token not in still_open
    )


def made_by_others(context: Context, claim: TrackedJob) -> set[str]:
    """Return the inputs, as typed, that need not, or cannot, be retrieved: others make them."""
    relations = relations_of(claim)
    if not relations:
        return set()
    awaited = {typed for relation in relations for typed in relation.inputs}
    outputs = [output for relation in relations for output in relation.outputs]
    return {
        typed
        for typed, path in claimed_inputs(context, claim).items()
        if typed in awaited
        and (
            (top_of(path) and any(covers(output, top_of(path)) for output in outputs))
            or next(matches(context.repo, path, context.hierarchy.is_subdataset), None) is None
        )
    }


def hold_back(context: Context, claim: TrackedJob, jobs: Sequence[SlurmJob]) -> Iterator[Outcome]:
    """Have jobs wait that were submitted past our sbatch; tell of those that have begun."""
    timeout = context.settings.query_timeout
    ids = [
        job_id for relation in relations_of(claim) if relation.outputs for job_id in relation.ids
    ]
    if not ids:
        return
    from datalad_slurm.slurm import pending

    for job in jobs:
        try:
            pending.wait_for(job.job_id, ids, job.cluster, timeout)
        except QueryFailedError as exc:
            yield Outcome(
                "slurm-schedule",
                "error",
                f"job {job.job_id} went past our sbatch, and could not be told to wait for job "
                f"{ids[0]}, which makes an input ({exc}); unless that has ended, cancel the job: "
                f"scancel {job.job_id}",
                details={"slurm_job_id": job.job_id},
            )
