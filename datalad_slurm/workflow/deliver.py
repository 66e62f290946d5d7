"""Commit what ended jobs have left: one commit a job, all published at once."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from datalad_slurm.dataset.files import Form, is_committed
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.publish import read_head
from datalad_slurm.dataset.sidecar import place_record
from datalad_slurm.dataset.stage import Change, Staging, stage
from datalad_slurm.dataset.transfer import Stamp
from datalad_slurm.dataset.tree import TreeReader
from datalad_slurm.jobs.archive import archived_files
from datalad_slurm.jobs.errors import TransferError
from datalad_slurm.jobs.model import JobStatus, TrackedJob
from datalad_slurm.jobs.notes import has_checkpoints
from datalad_slurm.jobs.plan import Shape
from datalad_slurm.jobs.record import render_message
from datalad_slurm.workflow.archive import stage_archive, without_repetition
from datalad_slurm.workflow.bring_back import Brought, bring_back, inputs_in
from datalad_slurm.workflow.changes import InputCheck
from datalad_slurm.workflow.collect import Findings, await_outputs, collect, write_facts
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.levels import Parcel
from datalad_slurm.workflow.publishing import publish_parcels
from datalad_slurm.workflow.verify import judged, note_untouched, verified

__all__ = ["deliver"]

#: What is committed and published at once: so much is done again at most after a crash,
#: and as much is held in memory.
_JOBS_AT_ONCE = 1000
_FILES_AT_ONCE = 20_000


def deliver(
    context: Context,
    jobs: Sequence[tuple[TrackedJob, JobStatus]],
    others: Mapping[str, int],
    message: str,
    shape: Shape = Shape.CHAIN,
) -> Iterator[Outcome]:
    """Commit jobs that have ended, and forget them.

    Of very many jobs a part at a time is staged, committed, published and forgotten.
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
    shape : Shape
        How the commits hang together.

    Raises
    ------
    DatasetError
        When git or git-annex fails; all jobs stay open of which no outcome was told.
    """
    if not jobs:
        return
    await_outputs(context, jobs)
    check = InputCheck(context, [job for job, _ in jobs])
    inputs = {
        directory: inputs_in(context, directory) for directory in {job.alt_dir for job, _ in jobs}
    }
    found: list[Findings] = []
    files = 0
    for ended in jobs:
        for each in _found(context, ended, others, inputs[ended[0].alt_dir], check):
            if isinstance(each, Outcome):
                yield each
            else:
                found.append(each)
                files += len(each.paths)
        is_enough = len(found) >= _JOBS_AT_ONCE or files >= _FILES_AT_ONCE
        if is_enough and shape is Shape.CHAIN:
            yield from _delivered_together(context, found, message, shape)
            found, files = [], 0
    yield from _delivered_together(context, found, message, shape)


def _delivered_together(
    context: Context, found: Sequence[Findings], message: str, shape: Shape
) -> Iterator[Outcome]:
    """Stage, commit and publish what some jobs have left, and forget these jobs."""
    staging = _staged(context, [path for findings in found for path in findings.paths])
    archived = stage_archive(context, [findings.job for findings in found])
    staging.changes.update(archived.changes)
    staging.failures.update(archived.failures)
    parcels: list[Parcel] = []
    yield from _packed(context, judged(context, found, staging), staging, message, parcels)
    if not parcels:
        return
    with_states = [p.findings.job for p in parcels if has_checkpoints(p.findings.job)]
    if with_states:
        from datalad_slurm.workflow.stores import let_go

        let_go(context, (job for job in with_states if not job.leaving))
    if shape is Shape.CHAIN:
        parcels = without_repetition(parcels)
    published = publish_parcels(context, parcels, shape)
    if with_states:
        from datalad_slurm.workflow.checkpoints import drop_states

        drop_states(context, with_states)
    branches = published.branches or [""] * len(parcels)
    for parcel, commit, branch in zip(parcels, published.commits, branches, strict=True):
        yield from _delivered(parcel, commit, branch.removeprefix("refs/heads/"))
    if published.merges:
        yield Outcome(
            "merge",
            "ok",
            f"{len(parcels)} jobs in {len(published.merges)} merge(s)",
            type="dataset",
            details={"commit": published.merges[-1], "merges": list(published.merges)},
        )


def _found(
    context: Context,
    ended: tuple[TrackedJob, JobStatus],
    others: Mapping[str, int],
    inputs: Mapping[str, Container[Stamp]],
    check: InputCheck,
) -> Iterator[Findings | Outcome]:
    """Look for what a job has left; tell instead why the job stays open."""
    job, status = ended
    try:
        brought = Brought()
        if job.alt_dir:
            brought = bring_back(context, job, status, others, inputs)
        if job.is_node_local:
            from datalad_slurm.workflow.node_results import unpack_results

            brought = unpack_results(context, job, status)
        findings = check.of(write_facts(context, collect(context, job, status, others)))
        missing = dict.fromkeys((*findings.missing, *brought.missing))
        odd = dict.fromkeys((*findings.not_committable, *brought.odd))
        findings = replace(findings, missing=tuple(missing), not_committable=tuple(odd))
        yield note_untouched(context, findings)
    except OSError as exc:
        yield Outcome("finish", "error", _unreadable(job, exc), details=_details(job))
        return
    except TransferError as exc:
        yield Outcome("finish", "error", _still_open(job, str(exc)), details=_details(job))
        return
    for left in brought.left:
        said = f"job {job.label} left {left}, which cannot be committed and stays there"
        yield Outcome("finish", "impossible", said, details=_details(job))


def _packed(
    context: Context,
    found: Iterable[Findings],
    staging: Staging,
    message: str,
    parcels: list[Parcel],
) -> Iterator[Outcome]:
    """Write the records, and add to `parcels` what is whole; tell of jobs that stay open."""
    records: list[tuple[Findings, str, tuple[str, ...]]] = []
    sidecars: list[str] = []
    for findings in found:
        job = findings.job
        try:
            record, sidecar = place_record(
                context.repo,
                findings.record().to_json(),
                context.settings.record_directory,
                use_sidecar=context.settings.record_sidecar,
            )
        except OSError as exc:
            yield Outcome("finish", "error", _unreadable(job, exc), details=_details(job))
            continue
        sidecars += sidecar
        committed = (*findings.paths, *sidecar, *archived_files(job))
        records.append((findings, record, tuple(dict.fromkeys(committed))))
    late = _staged(context, sidecars)
    staging.changes.update(late.changes)
    staging.failures.update(late.failures)
    for findings, record, paths in records:
        failed = [path for path in paths if path in staging.failures]
        if failed:
            yield from _kept_open(findings, failed, staging)
            continue
        job = findings.job
        text = render_message(job.label, findings.status.word, [job.message, message], record)
        parcels.append(Parcel(findings, text, _changes(context, paths, staging)))


def _staged(context: Context, paths: Sequence[str]) -> Staging:
    """Stage what differs from the last commit of its repository; the rest is as it should be.

    The paths in the answer are relative to the dataset's root.
    """
    whole = Staging()
    for name, members in context.hierarchy.by_holder(dict.fromkeys(paths)).items():
        if not context.hierarchy.is_here(name):
            why = f"it lies in the subdataset '{name}', which is not installed"
            whole.failures.update(dict.fromkeys(members, why))
            continue
        full = {context.hierarchy.within(name, path): path for path in members}
        part = _staged_in(context.hierarchy.repo(name), list(full))
        whole.changes.update((full[path], change) for path, change in part.changes.items())
        whole.failures.update((full[path], why) for path, why in part.failures.items())
    return whole


def _staged_in(repo: Repo, paths: Sequence[str]) -> Staging:
    committed: dict[str, Form] = {}
    changed: list[str] = []
    with TreeReader(repo, read_head(repo).commit) as tree:
        for path in paths:
            entry = tree.lookup(path)
            if entry is not None and is_committed(repo, path, *entry):
                continue
            changed.append(path)
            form = tree.form(path)
            if form is not None:
                committed[path] = form
    return stage(repo, changed, committed)


def _changes(
    context: Context, paths: Sequence[str], staging: Staging
) -> dict[str, tuple[Change, ...]]:
    groups = context.hierarchy.by_holder(path for path in paths if path in staging.changes)
    return {
        name: tuple(staging.changes[path] for path in members) for name, members in groups.items()
    }


def _details(job: TrackedJob) -> dict[str, object]:
    return {"slurm_job_id": job.job_id}


def _unreadable(job: TrackedJob, exc: OSError) -> str:
    return _still_open(job, f"{exc.strerror} ({exc.filename})")


def _still_open(job: TrackedJob, reason: str) -> str:
    return (
        f"Slurm job {job.label} was not committed and is still open: {reason}; mend that and run "
        "`datalad slurm-finish` again"
    )


def _kept_open(findings: Findings, failed: Sequence[str], staging: Staging) -> Iterator[Outcome]:
    details = _details(findings.job)
    for path in failed:
        yield Outcome("add", "error", staging.failures[path], path, "file", details)
    reason = f"{len(failed)} of its files could not be added, the first is '{failed[0]}'"
    yield Outcome("finish", "error", _still_open(findings.job, reason), details=details)


def _delivered(parcel: Parcel, commit: str, branch: str) -> Iterator[Outcome]:
    findings = parcel.findings
    label = findings.job.label
    details = {**_details(findings.job), "commit": commit}
    if branch:
        details["branch"] = branch
    added = [
        (f"{name}/{change.path}" if name else change.path, change)
        for name, changes in parcel.changes.items()
        for change in changes
    ]
    for number, (path, change) in enumerate(added):
        more = {"key": change.key} if change.key else {}
        rank = {"rank": number, "of": len(added)}
        yield Outcome("add", "ok", path=path, type="file", details=details | more | rank)
    state = {"slurm_state": findings.status.word, **findings.inputs.details()}
    said = [f"on branch {branch}"] if branch else []
    said += filter(None, [findings.inputs.message()])
    yield Outcome("save", "ok", "; ".join(said), type="dataset", details=details | state)
    yield from verified(findings, details)
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
