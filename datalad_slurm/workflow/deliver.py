"""Commit what ended jobs have left: one commit a job, all published at once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from datalad_slurm.dataset.commits import NewCommit, build, drop_private_refs
from datalad_slurm.dataset.publish import contains, move_branch, read_head, update_index
from datalad_slurm.dataset.sidecar import place_record
from datalad_slurm.dataset.stage import Change, Staging, drop_staging_index, stage
from datalad_slurm.dataset.tree import TreeReader
from datalad_slurm.jobs.errors import PublicationError
from datalad_slurm.jobs.model import JobStatus, TrackedJob
from datalad_slurm.jobs.record import render_message
from datalad_slurm.tracking import publications
from datalad_slurm.workflow.collect import Findings, await_outputs, collect, write_facts
from datalad_slurm.workflow.context import Context, Outcome, lgr

__all__ = ["deliver", "settle_publications"]

#: How often commits are built anew because somebody else moved the branch.
_ATTEMPTS = 10


@dataclass(frozen=True)
class _Parcel:
    """One job, ready to be committed."""

    findings: Findings
    message: str
    changes: tuple[Change, ...]


def settle_publications(context: Context) -> None:
    """Bring to an end what a finisher that died had begun to publish."""
    for publication in publications.pending(context.tracker.database):
        if contains(context.repo, publication.branch, publication.tip):
            publications.complete(context.tracker.database, publication)
            lgr.info("jobs that an interrupted slurm-finish had committed are closed now")
        else:
            publications.discard(context.tracker.database, publication)
    drop_private_refs(context.repo)
    drop_staging_index(context.repo)


def deliver(
    context: Context, jobs: Sequence[tuple[TrackedJob, JobStatus]], message: str
) -> Iterator[Outcome]:
    """Commit jobs that have ended, and forget them.

    Only for the one process that finishes jobs. A job of which a file cannot
    be committed stays open.

    Raises
    ------
    DatasetError
        When git or git-annex fails; all jobs stay open.
    """
    if not jobs:
        return
    await_outputs(context, jobs)
    collected = [write_facts(context, collect(context, job, status)) for job, status in jobs]
    records = {}
    for findings in collected:
        record, sidecar = place_record(
            context.repo,
            findings.record().to_json(),
            context.settings.record_directory,
            use_sidecar=context.settings.record_sidecar,
        )
        records[findings.job.id] = (record, (*findings.paths, *sidecar))
    every_path = dict.fromkeys(path for _, paths in records.values() for path in paths)
    staging = stage(context.repo, list(every_path))
    parcels = []
    for findings in collected:
        record, paths = records[findings.job.id]
        failed = [path for path in paths if path in staging.failures]
        if failed:
            yield from _kept_open(findings, failed, staging)
            continue
        text = render_message(
            findings.job.job_id, findings.status.word, [findings.job.message, message], record
        )
        changes = tuple(staging.changes[path] for path in dict.fromkeys(paths))
        parcels.append(_Parcel(findings, text, changes))
    if not parcels:
        return
    commits = _publish(context, parcels)
    for parcel, commit in zip(parcels, commits, strict=True):
        yield from _delivered(parcel, commit)


def _publish(context: Context, parcels: Sequence[_Parcel]) -> list[str]:
    """Build the commits and move the branch onto them; return their ids."""
    database = context.tracker.database
    for _ in range(_ATTEMPTS):
        head = read_head(context.repo)
        commits = _with_deletions(context, parcels, head.commit)
        ids = build(context.repo, uuid.uuid4().hex, head.commit, commits)
        tracked_ids = [parcel.findings.job.id for parcel in parcels]
        publication = publications.note(database, head.branch, head.commit, ids[-1], tracked_ids)
        # The index comes first: between the two the files look staged, not deleted.
        update_index(context.repo, (change for commit in commits for change in commit.changes))
        if move_branch(context.repo, head, ids[-1], f"slurm-finish: {len(ids)} job(s)"):
            publications.complete(database, publication)
            drop_private_refs(context.repo)
            return ids
        publications.discard(database, publication)
        lgr.info("%s has moved meanwhile; building the commits on its new tip", head.branch)
    raise PublicationError(
        f"the branch {head.branch} was moved by others {_ATTEMPTS} times while the commits were "
        "built; run `datalad slurm-finish` again when that has stopped; all jobs are still open"
    )


def _with_deletions(context: Context, parcels: Sequence[_Parcel], base: str) -> list[NewCommit]:
    """Return the commits to build; what a job took away from its outputs is deleted."""
    commits: list[NewCommit] = []
    with TreeReader(context.repo, base) as tree:
        for parcel in parcels:
            present = {change.path for change in parcel.changes}
            gone = (
                Change(path)
                for output in parcel.findings.job.outputs
                for path in tree.files_below(output)
                if path not in present and _is_gone(context, path)
            )
            commits.append(NewCommit(parcel.message, (*parcel.changes, *dict.fromkeys(gone))))
    return commits


def _is_gone(context: Context, path: str) -> bool:
    target = context.repo.root / path
    # below a link or a file that took the place of a directory there is nothing of this name
    behind_link = any((context.repo.root / parent).is_symlink() for parent in _parents(path))
    return behind_link or not (target.is_symlink() or target.exists())


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _kept_open(findings: Findings, failed: Sequence[str], staging: Staging) -> Iterator[Outcome]:
    details = {"slurm_job_id": findings.job.job_id}
    for path in failed:
        yield Outcome("add", "error", staging.failures[path], path, "file", details)
    yield Outcome(
        "finish",
        "error",
        f"Slurm job {findings.job.label} was not committed and is still open: "
        f"{len(failed)} of its files could not be added, the first is '{failed[0]}'; mend that "
        "and run `datalad slurm-finish` again",
        details=details,
    )


def _delivered(parcel: _Parcel, commit: str) -> Iterator[Outcome]:
    findings = parcel.findings
    details = {"slurm_job_id": findings.job.job_id, "commit": commit}
    for change in parcel.changes:
        key = {"key": change.key} if change.key else {}
        yield Outcome("add", "ok", path=change.path, type="file", details=details | key)
    yield Outcome(
        "save", "ok", type="dataset", details=details | {"slurm_state": findings.status.word}
    )
    for path in findings.missing:
        yield Outcome(
            "add",
            "impossible",
            f"job {findings.job.label} declared this output, but there is nothing",
            path or None,
            details=details,
        )
    for path in findings.not_committable:
        yield Outcome(
            "add",
            "impossible",
            f"job {findings.job.label} left a repository or a special file here, which cannot "
            "be committed",
            path,
            details=details,
        )
