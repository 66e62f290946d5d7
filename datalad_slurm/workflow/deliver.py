"""Commit what ended jobs have left: one commit a job, all published at once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from datalad_slurm.dataset.commits import NewCommit, build, drop_private_refs
from datalad_slurm.dataset.publish import (
    contains,
    move_branch,
    not_checked_out,
    read_head,
    update_index,
)
from datalad_slurm.dataset.sidecar import place_record
from datalad_slurm.dataset.stage import (
    Change,
    Form,
    Staging,
    drop_staging_index,
    is_committed,
    stage,
)
from datalad_slurm.dataset.tree import TreeReader
from datalad_slurm.jobs.errors import PublicationError
from datalad_slurm.jobs.model import JobStatus, TrackedJob
from datalad_slurm.jobs.record import render_message
from datalad_slurm.tracking import publications
from datalad_slurm.workflow.changes import InputCheck
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
    context: Context,
    jobs: Sequence[tuple[TrackedJob, JobStatus]],
    others: Mapping[str, int],
    message: str,
) -> Iterator[Outcome]:
    """Commit jobs that have ended, and forget them.

    Only for the one process that finishes jobs. A job of which a file cannot
    be committed stays open.

    Parameters
    ----------
    context : Context
        The dataset.
    jobs : sequence of pairs of TrackedJob and JobStatus
        What to commit.
    others : mapping
        Logs of jobs that stay open, by path: not to be committed with these.
    message : str
        Added to each commit's message.

    Raises
    ------
    DatasetError
        When git or git-annex fails; all jobs stay open.
    """
    if not jobs:
        return
    await_outputs(context, jobs)
    check = InputCheck(context, [job for job, _ in jobs])
    records: dict[int, tuple[Findings, str, tuple[str, ...]]] = {}
    for job, status in jobs:
        try:
            findings = check.of(write_facts(context, collect(context, job, status, others)))
            record, sidecar = place_record(
                context.repo,
                findings.record().to_json(),
                context.settings.record_directory,
                use_sidecar=context.settings.record_sidecar,
            )
        except OSError as exc:
            yield Outcome("finish", "error", _unreadable(job, exc), details=_details(job))
            continue
        records[job.id] = (findings, record, tuple(dict.fromkeys((*findings.paths, *sidecar))))
    staging = _staged(context, [path for *_, paths in records.values() for path in paths])
    parcels = []
    for findings, record, paths in records.values():
        failed = [path for path in paths if path in staging.failures]
        if failed:
            yield from _kept_open(findings, failed, staging)
            continue
        text = render_message(
            findings.job.job_id, findings.status.word, [findings.job.message, message], record
        )
        changes = tuple(staging.changes[path] for path in paths if path in staging.changes)
        parcels.append(_Parcel(findings, text, changes))
    if not parcels:
        return
    commits = _publish(context, parcels)
    for parcel, commit in zip(parcels, commits, strict=True):
        yield from _delivered(parcel, commit)


def _staged(context: Context, paths: Sequence[str]) -> Staging:
    """Stage what differs from the last commit; the rest is as it should be."""
    repo = context.repo
    committed: dict[str, Form] = {}
    changed: dict[str, None] = {}
    with TreeReader(repo, read_head(repo).commit) as tree:
        for path in dict.fromkeys(paths):
            entry = tree.lookup(path)
            if entry is not None and is_committed(repo, path, *entry):
                continue
            changed[path] = None
            form = tree.form(path)
            if form is not None:
                committed[path] = form
    return stage(repo, list(changed), committed)


def _publish(context: Context, parcels: Sequence[_Parcel]) -> list[str]:
    """Build the commits and move the branch onto them; return their ids."""
    database = context.tracker.database
    for _ in range(_ATTEMPTS):
        head = read_head(context.repo)
        commits = _with_deletions(context, parcels, head.commit)
        ids = build(context.repo, uuid.uuid4().hex, head.commit, commits)
        tracked_ids = [parcel.findings.job.id for parcel in parcels]
        publication = publications.note(database, head.branch, head.commit, ids[-1], tracked_ids)
        if read_head(context.repo) == head:
            # The index comes first: between the two the files look staged, not deleted.
            update_index(context.repo, (c for commit in commits for c in commit.changes))
            if move_branch(context.repo, head, ids[-1], f"slurm-finish: {len(ids)} job(s)"):
                publications.complete(database, publication)
                drop_private_refs(context.repo)
                if head.branch == "HEAD":
                    lgr.warning("HEAD is detached: no branch holds the new commits")
                return ids
        publications.discard(database, publication)
        lgr.info("%s has moved meanwhile; building the commits on its new tip", head.branch)
    raise PublicationError(
        f"the branch {head.branch} was moved by others {_ATTEMPTS} times while the commits were "
        "built; run `datalad slurm-finish` again when that has stopped; all jobs are still open"
    )


def _with_deletions(context: Context, parcels: Sequence[_Parcel], base: str) -> list[NewCommit]:
    """Return the commits to build; what a job took away from its outputs is deleted."""
    gone: list[list[str]] = []
    with TreeReader(context.repo, base) as tree:
        for parcel in parcels:
            job = parcel.findings.job
            # links that scheduling removed, and the job has not written, were not taken away
            kept = {*parcel.findings.paths, *job.extra.get("removed_outputs", ())}
            below = (path for output in job.outputs for path in tree.files_below(output))
            gone.append([p for p in dict.fromkeys(below) if p not in kept and _is_gone(context, p)])
    left_out = not_checked_out(context.repo, [path for paths in gone for path in paths])
    return [
        NewCommit(
            parcel.message,
            (*parcel.changes, *(Change(path) for path in paths if path not in left_out)),
        )
        for parcel, paths in zip(parcels, gone, strict=True)
    ]


def _is_gone(context: Context, path: str) -> bool:
    target = context.repo.root / path
    # below a link or a file that took the place of a directory there is nothing of this name
    behind_link = any((context.repo.root / parent).is_symlink() for parent in _parents(path))
    return behind_link or not (target.is_symlink() or target.exists())


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _details(job: TrackedJob) -> dict[str, object]:
    return {"slurm_job_id": job.job_id}


def _unreadable(job: TrackedJob, exc: OSError) -> str:
    return (
        f"Slurm job {job.label} was not committed and is still open: {exc.strerror} "
        f"({exc.filename}); mend that and run `datalad slurm-finish` again"
    )


def _kept_open(findings: Findings, failed: Sequence[str], staging: Staging) -> Iterator[Outcome]:
    details = _details(findings.job)
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
    label = findings.job.label
    details = {**_details(findings.job), "commit": commit}
    for number, change in enumerate(parcel.changes):
        more = {"key": change.key} if change.key else {}
        rank = {"rank": number, "of": len(parcel.changes)}
        yield Outcome("add", "ok", path=change.path, type="file", details=details | more | rank)
    state = {"slurm_state": findings.status.word, **findings.inputs.details()}
    said = findings.inputs.message()
    yield Outcome("save", "ok", said, type="dataset", details=details | state)
    problems = dict.fromkeys(
        findings.missing, f"job {label} declared this output, but there is nothing"
    ) | dict.fromkeys(
        findings.not_committable,
        f"job {label} left something here that cannot be committed: a repository, a special "
        "file, or a link on the way that leads elsewhere",
    )
    for path, problem in problems.items():
        yield Outcome("add", "impossible", problem, path or None, details=details)
    for path, other in findings.logs_of_others.items():
        yield Outcome("add", "notneeded", f"it is a log of job {other}, which is open", path)
