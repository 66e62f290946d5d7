"""Commit what ended jobs have left: one commit a job, all published at once."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
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
from datalad_slurm.jobs.packs import PACK
from datalad_slurm.jobs.plan import Shape
from datalad_slurm.jobs.record import render_message
from datalad_slurm.workflow.archive import stage_archive, without_repetition
from datalad_slurm.workflow.bring_back import Brought, bring_back, inputs_in
from datalad_slurm.workflow.changes import InputCheck
from datalad_slurm.workflow.collect import Findings, await_outputs, collect, write_facts
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.delivery_outcomes import (
    delivered,
    details_of,
    kept_open,
    still_open,
    unreadable,
)
from datalad_slurm.workflow.levels import Parcel
from datalad_slurm.workflow.packed_directories import PackedDirectory
from datalad_slurm.workflow.publishing import publish_parcels
from datalad_slurm.workflow.verify import judged, note_untouched

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
    stored = [path for findings in found for path in findings.stored_here]
    staging = _staged(context, stored, {path for each in found for path in each.archives})
    if any(findings.packed for findings in found):
        from datalad_slurm.workflow.packing import stage_members

        stage_members(context, found, staging)
    archived = stage_archive(context, [findings.job for findings in found])
    staging.changes.update(archived.changes)
    staging.failures.update(archived.failures)
    parcels: list[Parcel] = []
    yield from _in_parcels(context, judged(context, found, staging), staging, message, parcels)
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
        yield from delivered(parcel, commit, branch.removeprefix("refs/heads/"))
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
        packed: tuple[PackedDirectory, ...] = ()
        if PACK in job.extra:
            from datalad_slurm.workflow.packing import pack_outputs

            packed = pack_outputs(context, job, others, brought.streamed)
        findings = check.of(write_facts(context, collect(context, job, status, others)))
        missing = dict.fromkeys((*findings.missing, *brought.missing))
        odd = dict.fromkeys((*findings.not_committable, *brought.odd))
        findings = replace(findings, missing=tuple(missing), not_committable=tuple(odd))
        yield note_untouched(context, findings.with_packed(packed))
    except OSError as exc:
        yield Outcome("finish", "error", unreadable(job, exc), details=details_of(job))
        return
    except TransferError as exc:
        yield Outcome("finish", "error", still_open(job, str(exc)), details=details_of(job))
        return
    for left in brought.left:
        said = f"job {job.label} left {left}, which cannot be committed and stays there"
        yield Outcome("finish", "impossible", said, details=details_of(job))


def _in_parcels(
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
            yield Outcome("finish", "error", unreadable(job, exc), details=details_of(job))
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
            yield from kept_open(findings, failed, staging)
            continue
        job = findings.job
        text = render_message(job.label, findings.status.word, [job.message, message], record)
        parcels.append(Parcel(findings, text, _changes(context, paths, staging)))


def _staged(context: Context, paths: Sequence[str], archives: Collection[str] = ()) -> Staging:
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
        annexed = {path for path, whole_path in full.items() if whole_path in archives}
        part = _staged_in(context.hierarchy.repo(name), list(full), annexed)
        whole.changes.update((full[path], change) for path, change in part.changes.items())
        whole.failures.update((full[path], why) for path, why in part.failures.items())
    return whole


def _staged_in(repo: Repo, paths: Sequence[str], annexed: Collection[str]) -> Staging:
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
    return stage(repo, changed, committed, annexed)


def _changes(
    context: Context, paths: Sequence[str], staging: Staging
) -> dict[str, tuple[Change, ...]]:
    groups = context.hierarchy.by_holder(path for path in paths if path in staging.changes)
    return {
        name: tuple(staging.changes[path] for path in members) for name, members in groups.items()
    }
