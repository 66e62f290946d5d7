"""What the jobs before a job have made of its inputs: looked up in their commits at its finish."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from datalad_slurm.dataset.snapshots import Snapshots
from datalad_slurm.jobs.claims import covers, top_of
from datalad_slurm.jobs.dependencies import DEPENDS_ON, Relation
from datalad_slurm.jobs.model import JobStatus, TrackedJob
from datalad_slurm.workflow.commits import commits_of_jobs
from datalad_slurm.workflow.context import Context, lgr
from datalad_slurm.workflow.inputs import LISTED
from datalad_slurm.workflow.relations import claimed_inputs, relations_of

__all__ = ["INHERITED", "with_inherited"]

#: Key of trees of inputs that others have made, among a job's identities.
INHERITED = "inherited"


def with_inherited(
    context: Context, jobs: Sequence[tuple[TrackedJob, JobStatus]]
) -> list[tuple[TrackedJob, JobStatus]]:
    """Return jobs with the commits of those before them, and with what these have made for them.

    Parameters
    ----------
    context : Context
        The dataset.
    jobs : sequence of pairs of TrackedJob and JobStatus
        Jobs that have ended; those before them are committed.

    Raises
    ------
    DatasetError
        When git fails.
    """
    if not any(relations_of(job) for job, _ in jobs):
        return list(jobs)
    with Snapshots(context.hierarchy) as snapshots:
        return [(_with_commits(context, snapshots, job), status) for job, status in jobs]


def _with_commits(context: Context, snapshots: Snapshots, job: TrackedJob) -> TrackedJob:
    relations = [_committed(context, job, relation) for relation in relations_of(job)]
    if not relations:
        return job
    for relation in relations:
        if relation.outputs and not relation.commit:
            lgr.warning(
                "job %s has read '%s', which job %s made, but there is no commit of that job: "
                "the record does not say what it was",
                job.label, relation.inputs[0], relation.job_id,
            )  # fmt: skip
    made = [relation for relation in relations if relation.outputs and relation.commit]
    entries = [entry for each in made for entry in _made(context, snapshots, job, each)]
    files = [entry for entry in entries if "tree" not in entry]
    trees = [entry for entry in entries if "tree" in entry]
    noted = [*job.identities.get("inputs", ()), *files]
    identities = {**job.identities} | ({"inputs": noted} if files else {})
    identities |= {INHERITED: trees} if trees else {}
    notes = [relation.to_note() for relation in relations]
    return replace(job, extra={**job.extra, DEPENDS_ON: notes}, identities=identities)


def _committed(context: Context, job: TrackedJob, relation: Relation) -> Relation:
    if relation.commit:
        return relation
    found = commits_of_jobs(context, relation.known_ids, job.commit_at_submission)
    if not found:
        return relation
    job_id, commit = list(found.items())[-1]
    return relation._replace(job_id=job_id, commit=commit)


def _made(
    context: Context, snapshots: Snapshots, job: TrackedJob, relation: Relation
) -> Iterator[dict[str, Any]]:
    """Yield what the commit of a job holds of another one's inputs, with what it is."""
    claims = claimed_inputs(context, job)
    inputs = [claims[typed] for typed in relation.inputs if typed in claims]
    for output in relation.outputs:
        found: list[tuple[str, str, str]] = []
        for name in context.hierarchy.around(top_of(output)):
            tree = snapshots.tree(relation.commit, name)
            for path in tree.files_claimed(output, name) if tree else ():
                full = f"{name}/{path}" if name else path
                if any(covers(claim, full) for claim in inputs):
                    found.append((full, name, path))
        if len(found) > LISTED:
            yield _tree_of(context, snapshots, relation.commit, top_of(output))
            continue
        for full, name, path in found:
            tree = snapshots.tree(relation.commit, name)
            entry = tree.lookup(path) if tree else None
            if tree and entry:
                yield {"path": full, **tree.identity(*entry)}


def _tree_of(context: Context, snapshots: Snapshots, commit: str, top: str) -> dict[str, Any]:
    name = context.hierarchy.holder(f"{top}/")
    tree = snapshots.tree(commit, name)
    entry = tree.lookup(top[len(name) :].strip("/")) if tree else None
    return {"path": top, "tree": entry[1] if entry else ""}
