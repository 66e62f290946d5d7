"""Note what the inputs of a job are when it is submitted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from datalad_slurm.dataset.identity import identify
from datalad_slurm.dataset.inputs import MOST_WALKED, DeclaredInput, expand
from datalad_slurm.dataset.tree import TreeReader
from datalad_slurm.jobs.claims import ancestors, covers, is_glob, top_of
from datalad_slurm.jobs.dependencies import DEPENDS_ON, inherited_claims, read_relations
from datalad_slurm.jobs.inputs import digest
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.task_outputs import claimed_ever
from datalad_slurm.workflow.context import Context

__all__ = [
    "LISTED",
    "is_own",
    "note_identities",
    "note_inputs",
    "noted_inputs",
    "others_files",
    "tree_of",
]

#: More files of a directory or pattern are noted as one digest, to keep records readable.
LISTED = 100


def note_identities(context: Context, job: TrackedJob, more: Mapping[str, Any]) -> TrackedJob:
    """Note more of a job's inputs and scripts; return the job with it."""
    identities = {**job.identities, **more}
    context.tracker.note_identities(job.id, identities)
    return replace(job, identities=identities)


def note_inputs(context: Context, claim: TrackedJob, logs: Iterable[str] = ()) -> TrackedJob:
    """Note what the inputs of a job are that is about to be submitted.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        What is going to be submitted.
    logs : iterable of str
        Paths at which the job will have its logs, as far as is known.

    Raises
    ------
    DatasetError
        When git or git-annex fails.
    """
    (noted,) = noted_inputs(context, [(claim, logs)])
    return note_identities(context, claim, {"inputs": noted})


def noted_inputs(
    context: Context, claims: Sequence[tuple[TrackedJob, Iterable[str]]]
) -> list[list[dict[str, Any]]]:
    """Return what is noted of the inputs of several jobs.

    Parameters
    ----------
    context : Context
        The dataset.
    claims : sequence of pairs
        What is going to be submitted, and the logs as for `note_inputs`.

    Raises
    ------
    DatasetError
        When git or git-annex fails.
    """
    expanded = cache(partial(expand, context.repo))
    declared: list[list[DeclaredInput]] = []
    for claim, logs in claims:
        directory, left_out = context.repo.root / claim.pwd, frozenset(logs)
        names = dict.fromkeys((*claim.inputs, *claim.extra_inputs))
        awaited = {each for r in read_relations(claim.extra.get(DEPENDS_ON)) for each in r.inputs}
        found = [
            each
            for name in names
            for each in [expanded(directory, name)]
            # what is not there yet another job is going to make
            if name not in awaited or each.is_open or os.path.lexists(context.repo.root / each.path)
        ]
        declared.append([replace(e, files=others_files(claim, e, left_out)) for e in found])
    paths = dict.fromkeys(path for each in declared for found in each for path in found.files)
    now = identify(context.repo, paths)
    return [
        _entries(context, claim, each, now)
        for (claim, _), each in zip(claims, declared, strict=True)
    ]


def _entries(
    context: Context,
    claim: TrackedJob,
    declared: Iterable[DeclaredInput],
    now: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    for each in declared:
        if each.too_many_in is not None:
            entries[each.path] = tree_of(context, claim.commit_at_submission, each.too_many_in)
        elif each.is_open and len(each.files) > LISTED:
            files = {path: now[path] for path in each.files}
            entries[each.path] = {"files": len(files), "digest": digest(files)}
        else:
            entries |= {path: dict(now[path]) for path in each.files}
    return [{"path": path, **identity} for path, identity in entries.items()]


def is_own(job: TrackedJob, path: str) -> bool:
    """Return whether a path is, or lies below, an output of the job."""
    return any(covers(output, path) for output in claimed_ever(job))


def others_files(job: TrackedJob, declared: DeclaredInput, logs: frozenset[str]) -> tuple[str, ...]:
    """Return the files of an input without those that the job, or one before it, writes there."""
    inherited = inherited_claims(job.extra)
    if inherited:
        rest = (p for p in declared.files if not any(covers(claim, p) for claim in inherited))
        declared = replace(declared, files=tuple(rest))
    if not declared.is_open or is_own(job, declared.path):
        return declared.files
    outputs = claimed_ever(job)
    globs = [output for output in outputs if is_glob(output)]
    written = logs.union(top_of(output) for output in outputs if not is_glob(output))
    # called for thousands of files
    others = (p for p in declared.files if written.isdisjoint(ancestors(p)))
    return tuple(p for p in others if not any(covers(output, p) for output in globs))


def tree_of(context: Context, commit: str, directory: str) -> dict[str, Any]:
    """Return what stands for a directory of too many files: what is committed there."""
    with TreeReader(context.repo, commit) as tree:
        entry = tree.lookup(directory)
    return {"more_than": MOST_WALKED} | ({"tree": entry[1]} if entry else {})
