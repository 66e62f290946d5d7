"""Copy what a job has left in an alternative directory back to the dataset."""

from __future__ import annotations

import os
import shutil
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datalad_slurm.dataset.pack_archive import Entry
from datalad_slurm.dataset.paths import matches, walk
from datalad_slurm.dataset.transfer import (
    Stamp,
    copy_file,
    copy_link,
    has_same_stamp,
    same_content,
    stamp,
)
from datalad_slurm.jobs.claims import covers, is_glob, top_of
from datalad_slurm.jobs.errors import TransferError
from datalad_slurm.jobs.model import JobStatus, TrackedJob
from datalad_slurm.workflow.alt_notes import (
    MARKER,
    Note,
    drop_note,
    notes_on,
    read_note,
    release,
    write_note,
)
from datalad_slurm.workflow.collect import leads_elsewhere
from datalad_slurm.workflow.context import Context, lgr
from datalad_slurm.workflow.logs import earlier_logs, find_logs

__all__ = ["Brought", "bring_back", "inputs_in", "leave", "make_way"]


@dataclass
class Brought:
    """What became of a job's files in its alternative directory."""

    #: brought back, with what they were when they were copied; relative to the root
    files: dict[str, Stamp] = field(default_factory=dict)
    #: outputs at which there is nothing
    missing: list[str] = field(default_factory=list)
    #: absolute paths of what cannot be committed, and stays there
    left: list[str] = field(default_factory=list)
    #: relative to the root, what cannot be committed and is not here
    odd: list[str] = field(default_factory=list)
    #: by path, what goes from one archive into another and never becomes a file here
    streamed: dict[str, Entry] = field(default_factory=dict)


def bring_back(
    context: Context,
    job: TrackedJob,
    status: JobStatus,
    others: Mapping[str, int],
    inputs: Mapping[str, Container[Stamp]],
) -> Brought:
    """Copy outputs and logs to the dataset, to the same paths relative to its root.

    An input that lies in an output and has not changed is not copied; one that
    the job has removed is removed in the dataset as well. Nothing is removed in
    the alternative directory: that is for when all of it is committed.

    Parameters
    ----------
    context : Context
        The dataset.
    job : TrackedJob
        A job with an alternative directory.
    status : JobStatus
        How it ended.
    others : mapping
        Logs of other open jobs, by path: those may still be written.
    inputs : mapping
        What `inputs_in` tells of the job's alternative directory.

    Raises
    ------
    TransferError
        When something cannot be copied; the dataset may hold some of the rest.
    """
    _check_is_there(job)
    note = read_note(context, job.token) or Note(
        job.token, job.alt_dir, were_there=[*map(top_of, job.outputs)]
    )
    brought = Brought()
    try:
        logs, _ = find_logs(context, job, status)
        earlier, _ = earlier_logs(context, job)
        wanted = [*_outputs(context, job, brought), *earlier, *logs]
        parts = context.repo.state_file("incoming")
        shutil.rmtree(parts, ignore_errors=True)  # what a finish that was killed has left
        parts.mkdir()
        for path in dict.fromkeys(wanted):
            found = stamp(note.path(path))
            if found is None or path in others or found in inputs.get(path, ()):
                continue
            make_way(context, path)
            _copy(context, note, path, found, parts)
            brought.files[path] = found
        shutil.rmtree(parts)
        _remove_what_the_job_removed(context, job, note)
    except OSError as exc:
        raise TransferError(f"{exc.filename} cannot be brought back: {exc.strerror}") from exc
    # with what was brought back of tasks that were committed before
    note.brought = {**(note.brought or {}), **brought.files}
    tops = dict.fromkeys(map(top_of, job.outputs))
    new = [top for top in tops if top not in note.were_there]
    note.outputs = list(dict.fromkeys((*note.outputs, *new)))
    write_note(context, note)
    return brought


def _check_is_there(job: TrackedJob) -> None:
    marker = Path(job.alt_dir) / MARKER
    if not marker.is_dir():
        raise TransferError(
            f"{marker} is not there, so {job.alt_dir} may not be mounted here; if all that it held "
            f"is lost, `mkdir -p {marker}` lets the job be committed without it"
        )


def inputs_in(context: Context, directory: str) -> dict[str, set[Stamp]]:
    """Return the inputs of all jobs in a directory, as they were at submission."""
    found: dict[str, set[Stamp]] = {}
    for note in notes_on(context, directory) if directory else ():
        for path, known in note.files.items():
            found.setdefault(path, set()).add(known)
    return found


def _outputs(context: Context, job: TrackedJob, brought: Brought) -> Iterator[str]:
    place = context.place_of(job)
    for output in job.outputs:
        if leads_elsewhere(place, output):
            brought.left.append(str(place.root / top_of(output)))
            continue
        is_missing = True
        found = sorted(matches(place, output))
        for path, is_committable in (entry for top in found for entry in walk(place, top)):
            if path.partition("/")[0] == MARKER:
                continue
            is_missing = False
            if is_committable:
                yield path
            else:
                brought.left.append(str(place.root / path))
        if is_missing:
            brought.missing.append(output if is_glob(output) else top_of(output))


def make_way(context: Context, path: str) -> None:
    """Make the directory in the dataset for a file that is brought back.

    Raises
    ------
    TransferError
        When something else is in the way.
    """
    root, parent = context.repo.root, (context.repo.root / path).parent
    holder = context.hierarchy.holder(path)
    if not context.hierarchy.is_here(holder):
        raise TransferError(
            f"'{path}' cannot be brought back: the subdataset '{holder}' is not installed"
        )
    try:
        parent.mkdir(parents=True, exist_ok=True)
        is_free = os.path.realpath(parent) == str(parent)
    except (FileExistsError, NotADirectoryError):
        is_free = False
    target = root / path
    if not is_free or (target.is_dir() and not target.is_symlink()):
        raise TransferError(
            f"'{path}' cannot be brought back: in the dataset there is something else in its "
            "place, or in the place of a directory above it"
        )


def _copy(context: Context, note: Note, path: str, found: Stamp, parts: Path) -> None:
    source, target = note.path(path), context.repo.root / path
    if len(found) == 1:
        copy_link(_link_text(note, path, found[0]), target, parts)
    elif not _is_here(source, target):
        copy_file(source, target, parts, verify=True)
    if stamp(source) != found:
        raise TransferError(f"{source} changed while it was copied; is it still written to?")


def _is_here(source: Path, target: Path) -> bool:
    """Return whether an earlier attempt has brought a file back already."""
    try:
        is_like = has_same_stamp(stamp(target, follow=True), stamp(source))
    except OSError:
        return False
    return is_like and _mode(source) == _mode(target) and same_content(source, target)


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o100


def _link_text(note: Note, path: str, text: str) -> str:
    """Return where a link leads from the dataset: one into the directory is made relative."""
    if text == note.directory or text.startswith(note.directory + "/"):
        return os.path.relpath(text, note.path(path).parent)
    return text


def _remove_what_the_job_removed(context: Context, job: TrackedJob, note: Note) -> None:
    for path, known in note.files.items():
        is_output = any(covers(output, path) for output in job.outputs)
        if not is_output or os.path.lexists(note.path(path)):
            continue
        target = context.repo.root / path
        if has_same_stamp(known, stamp(target, follow=True)):
            target.unlink()
        elif os.path.lexists(target):
            lgr.warning(
                "job %s has removed '%s', which has changed in the dataset and stays there",
                job.label,
                path,
            )


def leave(context: Context, jobs: Iterable[TrackedJob]) -> None:
    """Let go of the alternative directories of jobs that are closed: all stays as it is."""
    closed = [job for job in jobs if job.alt_dir]
    for job in closed:
        drop_note(context, job.token)
    for directory in dict.fromkeys(job.alt_dir for job in closed):
        tokens = {job.token for job in closed}
        with context.tracker.held() as others:
            release(
                context,
                directory,
                [job for job in others if job.alt_dir == directory and job.token not in tokens],
            )
