"""For which tracked jobs a job waits, as noted with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from datalad_slurm.dataset.paths import normalise_output
from datalad_slurm.jobs.dependencies import (
    DEPENDS_ON,
    Relation,
    dependency_ids,
    read_relations,
    with_relation,
)
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.slurm import depend
from datalad_slurm.slurm.sbatch import NotedCall
from datalad_slurm.workflow.context import Context

__all__ = [
    "attempts_that_count",
    "claimed_inputs",
    "latest_jobs",
    "note_typed",
    "relation_to",
    "relations_of",
    "told_of",
    "with_relations",
]


def relations_of(job: TrackedJob) -> tuple[Relation, ...]:
    """Return the jobs for which one waits, as noted with it."""
    return read_relations(job.extra.get(DEPENDS_ON))


def latest_jobs(job: TrackedJob) -> list[SlurmJob]:
    """Return the Slurm jobs of the last attempt at a job."""
    last = max((each.attempt for each in job.slurm_jobs), default=1)
    return [each for each in job.slurm_jobs if each.attempt == last]


def claimed_inputs(context: Context, job: TrackedJob) -> dict[str, str]:
    """Return the inputs in the dataset, as typed, each in the form of a claim."""
    claims: dict[str, str] = {}
    for typed in dict.fromkeys((*job.inputs, *job.extra_inputs)):
        try:
            claims[typed] = normalise_output(context.repo, typed, context.repo.root / job.pwd)
        except InvalidRequestError:
            continue  # it lies elsewhere, where no job has outputs
    return claims


def with_relations(claim: TrackedJob, relations: Sequence[Relation]) -> TrackedJob:
    """Return a job with the jobs for which it waits in its extra notes."""
    notes = [relation.to_note() for relation in relations]
    return replace(claim, extra={**claim.extra, DEPENDS_ON: notes})


def relation_to(job: TrackedJob, inputs: Sequence[str]) -> Relation:
    """Return the relation to an open job that makes inputs, these as typed."""
    return Relation(
        job.job_id,
        job.slurm_jobs[0].cluster,
        tuple(inputs),
        job.outputs,
        job.token,
        tuple(each.job_id for each in latest_jobs(job)),
    )


def note_typed(
    context: Context,
    claim: TrackedJob,
    calls: Iterable[NotedCall],
    stand_ins: Mapping[int, Collection[int]],
) -> TrackedJob:
    """Note the tracked jobs, open or committed, that the command itself waits for.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        The command, submitted a moment ago.
    calls : iterable of NotedCall
        How sbatch was called, as our own noted it.
    stand_ins : mapping
        Ids in what was typed, and those that stand for them now.
    """
    typed = dict.fromkeys(
        job_id
        for call in calls
        if call.jobs
        for job_id in dependency_ids(depend.typed_dependency(call.args, call.cwd))
    )
    if not typed:
        return claim
    by_id = {each.job_id: job for job in context.tracker.open_jobs() for each in job.slurm_jobs}
    relations = relations_of(claim)
    for old in typed:
        for new in stand_ins.get(old, (old,)):
            if new in by_id:
                relation = relation_to(by_id[new], ())._replace(outputs=(), typed=(old,))
                relations = with_relation(relations, relation)
            elif commit := _commit_of(context, new):
                relations = (*relations, Relation(new, typed=(old,), commit=commit))
    if relations:
        claim = with_relations(claim, relations)
        context.tracker.note_extra(claim.id, {DEPENDS_ON: claim.extra[DEPENDS_ON]})
    return claim


def _commit_of(context: Context, job_id: int) -> str | None:
    from datalad_slurm.workflow.commits import commits_of_jobs

    return commits_of_jobs(context, {job_id}).get(job_id)


def attempts_that_count(context: Context, job: TrackedJob) -> dict[int, tuple[int, ...]]:
    """Return, for the ids that the command of a job waits for, those of the latest attempts.

    None for a job that is open no more: Slurm gives its id to another one some day.
    """
    typed = [(old, relation.token) for relation in relations_of(job) for old in relation.typed]
    if not typed:
        return {}
    open_jobs = {each.token: each for each in context.tracker.open_jobs()}
    return {
        old: tuple(each.job_id for each in latest_jobs(open_jobs[token]))
        if token in open_jobs
        else ()
        for old, token in typed
    }


def told_of(claim: TrackedJob) -> tuple[str, dict[str, Any]]:
    """Return what a result says, and has, of the jobs that one waits for."""
    relations = relations_of(claim)
    if not relations:
        return "", {}
    named = [
        f"job {each.job_id}" + (f", which makes '{each.inputs[0]}'" if each.inputs else "")
        for each in relations
    ]
    details = {DEPENDS_ON: [relation.to_json() for relation in relations]}
    return f", which comes after {'; '.join(named)}", details
