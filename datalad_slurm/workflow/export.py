"""Write what the jobs of a history have read and written in a form that others read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from datalad_slurm.dataset.contents import Contents
from datalad_slurm.dataset.history import Change
from datalad_slurm.dataset.tree import SUBDATASET_MODE
from datalad_slurm.dataset.whereabouts import find_whereabouts, public_addresses, special_remotes
from datalad_slurm.jobs.claims import ancestors, is_below
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.job_summary import facts_files
from datalad_slurm.jobs.provenance import Activity, Kind
from datalad_slurm.jobs.record import RunRecord
from datalad_slurm.jobs.source import Source
from datalad_slurm.jobs.trace import CommittedJob, Written, trace
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.history import Selection
from datalad_slurm.workflow.report import Finding, read_jobs_with_changes

__all__ = ["EXPORT_ACTION", "FORMATS", "export"]

EXPORT_ACTION = "slurm-export"
FORMATS = ("ro-crate", "prov")

#: Writes what is known of jobs to a file.
_Writer = Callable[[IO[bytes], Source, list[Activity]], None]


def export(
    context: Context, selection: Selection, form: str, target: str, *, force: bool = False
) -> Iterator[Outcome]:
    """Write an export; commits whose record cannot be read are named.

    Parameters
    ----------
    context : Context
        The dataset.
    selection : Selection
        The commits.
    form : str
        One of `FORMATS`.
    target : str
        For a crate a directory, which is made; else a file, whose suffix tells how it is written.
    force : bool
        Whether an export that is there is replaced.

    Raises
    ------
    InvalidRequestError
        When a revision names no commit, or no commit has a job; when the file is there or cannot
        be written; when a library is not installed, or the dataset has no id.
    """
    if not context.dsid:
        raise InvalidRequestError(
            f"the dataset {context.repo.root} has no id, by which others could know its files; "
            "`datalad create --force` gives it one"
        )
    path, write = _file_and_writer(form, Path(target).absolute(), target)
    if path.exists() and not force:
        raise InvalidRequestError(f"there is a {path.name} at {target}; --force replaces it")
    findings: list[tuple[Finding, list[Written]]] = []
    with Contents(context.repo) as contents:
        for finding, changes in read_jobs_with_changes(context, selection, contents):
            if finding.record is None:
                yield finding.outcome(EXPORT_ACTION)
            else:
                findings.append((finding, _written(contents, finding.record, changes)))
    if not findings:
        raise InvalidRequestError(f"no commit of {selection} holds the record of a Slurm job")
    newest = findings[0][0].commit
    jobs = [_committed(*each) for each in reversed(findings)]
    activities = list(trace(context.dsid, jobs))
    files = {each.iri: each for job in activities for each in job.entities}
    source = Source(
        dsid=context.dsid,
        name=context.repo.root.name,
        description=f"Slurm jobs of the DataLad dataset {context.dsid}, recorded in {selection}",
        date=newest.date,
        commit=newest.id,
        addresses=public_addresses(context.repo),
        whereabouts=find_whereabouts(
            context.repo, (each.key for each in files.values() if each.key)
        ),
        remotes=special_remotes(context.repo),
    )
    _write(path, lambda file: write(file, source, activities), target)
    said = f"{_counted(len(jobs), 'job')} and {_counted(len(files), 'file')} in {target}"
    details = {"format": form, "jobs": len(jobs), "files": len(files)}
    yield Outcome(EXPORT_ACTION, "ok", said, str(path), "file", details)


def _file_and_writer(form: str, target: Path, typed: str) -> tuple[Path, _Writer]:
    """Return the file to be written, and what writes it.

    Raises
    ------
    InvalidRequestError
        As `export` does.
    """
    try:
        if form == "ro-crate":
            from datalad_slurm.export.crate import METADATA_FILE, write_crate

            if target.exists() and not target.is_dir():
                raise InvalidRequestError(f"an RO-Crate is a directory, and {typed} is none")
            return target / METADATA_FILE, write_crate
        from datalad_slurm.export.prov_document import SUFFIXES, write_prov
    except ImportError as exc:
        package = (exc.name or "").partition(".")[0]
        raise InvalidRequestError(
            f"--format {form} needs the Python package '{package}', which is not installed; "
            "`pip install 'datalad-slurm[export]'`"
        ) from exc
    if target.suffix not in SUFFIXES:
        known = " or ".join(SUFFIXES)
        raise InvalidRequestError(
            f"the name of a file for --format prov ends in {known}, which '{typed}' does not"
        )
    return target, partial(write_prov, suffix=target.suffix)


def _committed(finding: Finding, written: Sequence[Written]) -> CommittedJob:
    if finding.record is None or finding.summary is None:
        raise ValueError("a commit without a job")
    commit = finding.commit
    return CommittedJob(finding.record, finding.summary, commit.author, commit.email, written)


def _written(contents: Contents, record: RunRecord, changes: Sequence[Change]) -> list[Written]:
    """Return what a commit has of the outputs and logs of its job."""
    facts = facts_files(record)
    outputs = {"" if path == "." else path for path in record.outputs if path not in facts}
    written = []
    for change in changes:
        if change.mode == SUBDATASET_MODE:
            if any(is_below(path, change.path) for path in outputs):
                state = {"commit": change.blob}
                written.append(Written(change.path, Kind.SUBDATASET, state, None))
        elif not change.is_removal and not outputs.isdisjoint(ancestors(change.path)):
            identity, size = contents.identify(change.mode, change.blob)
            written.append(Written(change.path, Kind.FILE, identity, size))
    return written


def _write(path: Path, write: Callable[[IO[bytes]], None], typed: str) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(exist_ok=True)
        with part.open("wb") as file:
            write(file)
        part.replace(path)
    except OSError as exc:
        raise InvalidRequestError(f"cannot write the export {typed}: {exc.strerror}") from exc
    finally:
        part.unlink(missing_ok=True)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
