"""Write what the jobs of a history have read and written in a form that others read."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from datalad_slurm.dataset.contents import Contents
from datalad_slurm.dataset.history import Change
from datalad_slurm.dataset.tree import SUBDATASET_MODE
from datalad_slurm.dataset.whereabouts import find_whereabouts, public_addresses, special_remotes
from datalad_slurm.jobs.archive import ARCHIVE_DIRECTORY
from datalad_slurm.jobs.claims import ancestors, is_below
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.job_summary import Summary, facts_files
from datalad_slurm.jobs.provenance import Activity, Entity, Kind
from datalad_slurm.jobs.record import RunRecord
from datalad_slurm.jobs.source import Source
from datalad_slurm.jobs.trace import CommittedJob, Written, trace
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.history import Selection
from datalad_slurm.workflow.report import read_jobs_with_changes

__all__ = ["EXPORT_ACTION", "export"]

EXPORT_ACTION = "slurm-export"

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
        ``ro-crate`` or ``prov``.
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
    jobs = yield from _read_jobs(context, selection)
    if not jobs:
        raise InvalidRequestError(f"no commit of {selection} holds the record of a Slurm job")
    activities = list(trace(context.dsid, jobs))
    entities = {each.iri: each for job in activities for each in job.entities}
    source = _source(context, selection, jobs[-1].job, entities.values())
    _write(path, lambda file: write(file, source, activities), target)
    said = f"{_counted(len(jobs), 'job')} and {_counted(len(entities), 'file')} in {target}"
    details = {"format": form, "jobs": len(jobs), "files": len(entities)}
    yield Outcome(EXPORT_ACTION, "ok", said, str(path), "file", details)


def _read_jobs(
    context: Context, selection: Selection
) -> Generator[Outcome, None, list[CommittedJob]]:
    """Return the jobs in the order of history; yield why others cannot be read."""
    jobs = []
    with Contents(context.repo) as contents:
        for finding, changes in read_jobs_with_changes(context, selection, contents):
            if finding.record is None or finding.summary is None:
                yield finding.outcome(EXPORT_ACTION)
                continue
            commit, own = finding.commit, _own_paths(context, finding.record)
            written = list(_written(contents, finding.record, own, changes))
            job = CommittedJob(
                finding.record, finding.summary, commit.author, commit.email, written
            )
            jobs.append(job)
    return jobs[::-1]


def _source(
    context: Context, selection: Selection, newest: Summary, entities: Iterable[Entity]
) -> Source:
    commits = f"{selection.since}..{newest.commit}" if selection.since else newest.commit
    return Source(
        dsid=context.dsid,
        name=context.repo.root.name,
        description=f"Slurm jobs of the DataLad dataset {context.dsid}, recorded in {commits}",
        date=newest.date,
        commit=newest.commit,
        addresses=public_addresses(context.repo),
        whereabouts=find_whereabouts(context.repo, (each.key for each in entities if each.key)),
        remotes=special_remotes(context.repo),
    )


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
            "`pip install '.[export]'` in a clone of datalad-slurm brings it"
        ) from exc
    if target.suffix not in SUFFIXES:
        known = " or ".join(SUFFIXES)
        raise InvalidRequestError(
            f"the name of a file for --format prov ends in {known}, which '{typed}' does not"
        )
    return target, partial(write_prov, suffix=target.suffix)


def _written(
    contents: Contents, record: RunRecord, own: Sequence[str], changes: Sequence[Change]
) -> Iterator[Written]:
    """Yield what a commit has of the outputs and logs of its job, without what is our own."""
    outputs = {"" if path == "." else path for path in record.outputs}
    for change in changes:
        if change.mode == SUBDATASET_MODE:
            if any(is_below(path, change.path) for path in outputs):
                yield Written(change.path, Kind.SUBDATASET, {"commit": change.blob}, None)
        elif not (
            change.is_removal
            or outputs.isdisjoint(ancestors(change.path))
            or any(is_below(change.path, path) for path in own)
        ):
            yield Written(change.path, Kind.FILE, *contents.identify(change.mode, change.blob))


def _own_paths(context: Context, record: RunRecord) -> list[str]:
    """Return where finish has written, and not the job."""
    return [*facts_files(record), ARCHIVE_DIRECTORY, context.settings.record_directory]


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
