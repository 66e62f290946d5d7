"""Let a job run in a directory that stands for the dataset's root: before its submission."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from datalad_slurm.dataset.mirror import Mirror
from datalad_slurm.dataset.transfer import Stamp, copy_file, copy_link, has_same_stamp, stamp
from datalad_slurm.jobs.claims import ancestors, covers, is_glob, top_of
from datalad_slurm.jobs.errors import InvalidRequestError, TransferError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.workflow import alt_notes
from datalad_slurm.workflow.alt_notes import INPUTS, Note, refuse_other_owner, take, write_note
from datalad_slurm.workflow.context import Context, Outcome, lgr
from datalad_slurm.workflow.mirroring import mirror_of

__all__ = ["checked_alt_dir", "place", "register"]


def checked_alt_dir(context: Context, typed: str) -> str:
    """Return an alternative directory as an absolute path without links.

    Parameters
    ----------
    context : Context
        The dataset.
    typed : str
        Absolute, or relative to the directory of the process.

    Raises
    ------
    InvalidRequestError
        When jobs of this dataset cannot run there.
    """
    if "\0" in typed:
        raise InvalidRequestError("an alternative directory cannot have a null in its name")
    path = Path(os.path.realpath(typed))
    told = str(path) if str(path) == typed else f"{path} (given as {typed!r})"
    try:
        is_there, is_directory = path.exists(), path.is_dir()
    except OSError as exc:
        raise InvalidRequestError(
            f"the alternative directory {told} cannot be looked at: {exc.strerror}"
        ) from exc
    if not is_there:
        raise InvalidRequestError(
            f"the alternative directory {told} does not exist; make it where compute nodes see it"
        )
    if not is_directory:
        raise InvalidRequestError(f"the alternative directory {told} is not a directory")
    for own in (context.repo.root, context.repo.common_dir, context.repo.git_dir):
        if path == own or path.is_relative_to(own):
            raise InvalidRequestError(
                f"the alternative directory {told} is inside the dataset {context.repo.root}; "
                "choose one outside of it"
            )
        if own.is_relative_to(path):
            raise InvalidRequestError(
                f"the alternative directory {told} contains the dataset {context.repo.root}; "
                "choose one beside it"
            )
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise InvalidRequestError(f"the alternative directory {told} cannot be written to")
    refuse_other_owner(context, str(path))
    _warn_of_node_local(path)
    return str(path)


def _warn_of_node_local(path: Path) -> None:
    places = ("/tmp", "/var/tmp", "/dev/shm", tempfile.gettempdir())  # noqa: S108
    above = next((place for place in places if path.is_relative_to(os.path.realpath(place))), None)
    if above is not None:
        said = "%s is below %s, which each node usually has for itself: jobs on other nodes "
        lgr.warning(said + "will not find their files there", path, above)


def place(
    context: Context,
    claim: TrackedJob,
    inputs: Iterable[str],
    calls: Sequence[tuple[Sequence[str], str]],
) -> Iterator[Outcome]:
    """Copy what a job reads to its alternative directory, and make the directories it needs.

    What is there already, with the size and time of the dataset's file, stays.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        In the database already.
    inputs : iterable of str
        Paths and globs, relative to the job's directory.
    calls : sequence of pairs
        Options, with the directives of the script, and script of each sbatch
        in the command.

    Raises
    ------
    InvalidRequestError
        When an input cannot be copied, or something is in the way.
    TransferError
        When a copy fails.
    """
    mirror = mirror_of(context, claim, inputs, calls)
    # from now on nobody removes these in the alternative directory
    context.tracker.note_extra(claim.id, {INPUTS: sorted(mirror.tops)})
    note = Note(claim.token, claim.alt_dir)
    try:
        with context.tracker.held() as jobs:
            missing = _missing(note, mirror)
            others = [
                job for job in jobs if job.alt_dir == claim.alt_dir and job.token != claim.token
            ]
            replaced = [path for path in missing if os.path.lexists(note.path(path))]
            _refuse_mixing(claim, others, mirror, replaced)
            note.placed = {path: (text,) for path, text in mirror.links.items()}
            note.placed |= {path: _known(mirror.files[path]) for path in missing}
            note.placed = {
                path: each
                for path, each in note.placed.items()
                if path in missing or not os.path.lexists(note.path(path))
            }
            note.made = [path for path in mirror.all_directories() if not note.path(path).is_dir()]
            tops = dict.fromkeys(map(top_of, claim.outputs))
            note.were_there = [path for path in tops if note.path(path).is_dir()]
            note.go_on(alt_notes.read_note(context, claim.token))
            take(context, claim.alt_dir)
            write_note(context, note)
        _warn_of_left_overs(note, claim, mirror)
        _fill(note, mirror, missing)
    except OSError as exc:
        raise TransferError(
            f"{claim.alt_dir} cannot be filled: {exc.strerror} ({exc.filename})"
        ) from exc
    note.files = {path: _known(note.path(path)) for path in mirror.files}
    note.placed |= {path: note.files[path] for path in missing}
    write_note(context, note)
    message = f"{len(missing)} of {len(mirror.files)} input files to {claim.alt_dir}"
    yield Outcome("copy", "ok" if missing else "notneeded", message, type="dataset")


def register(context: Context, claim: TrackedJob) -> None:
    """Note a job that runs in an alternative directory already; nothing is copied there."""
    with context.tracker.held():
        take(context, claim.alt_dir)
        there = [*map(top_of, claim.outputs)]
        write_note(context, Note(claim.token, claim.alt_dir, were_there=there))


def _known(path: Path) -> Stamp:
    found = stamp(path)
    if found is None:
        raise TransferError(f"{path} has gone while it was copied")
    return found


def _missing(note: Note, mirror: Mirror) -> list[str]:
    """Return the files that are not there, or differ from the dataset's."""
    for path in mirror.all_directories():
        here = note.path(path)
        if path not in mirror.links and os.path.lexists(here) and _is_no_directory(here):
            raise InvalidRequestError(
                f"{here} is in the way: the job needs a directory there; remove it"
            )
    for path, text in mirror.links.items():
        here = note.path(path)
        if os.path.lexists(here) and stamp(here) != (text,):
            raise InvalidRequestError(f"{here} is in the way of a link to {text}; remove it")
    for path in mirror.files:
        if _is_directory(note.path(path)):
            raise InvalidRequestError(f"{note.path(path)} is in the way of a file; remove it")
    return [
        path for path, source in mirror.files.items() if not _is_current(note.path(path), source)
    ]


def _is_current(copy: Path, source: Path) -> bool:
    if not has_same_stamp(stamp(copy), stamp(source)):
        return False
    return not (copy.stat().st_mode ^ source.stat().st_mode) & stat.S_IXUSR


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_no_directory(path: Path) -> bool:
    return path.is_symlink() or not path.is_dir()


def _refuse_mixing(
    claim: TrackedJob, others: Iterable[TrackedJob], mirror: Mirror, replaced: Iterable[str]
) -> None:
    """Refuse inputs that would change files of jobs that are open in the same directory."""
    outputs = {output: job for job in others for output in job.outputs}
    globs = [output for output in outputs if is_glob(output)]
    outputs |= {top_of(output): job for output, job in outputs.items() if output not in globs}
    inputs = {path: job for job in others for path in job.extra.get(INPUTS, ())}
    for path in mirror.files:
        writer = next((outputs[above] for above in ancestors(path) if above in outputs), None)
        if writer is None:
            writer = next((outputs[each] for each in globs if covers(each, path)), None)
        if writer is not None:
            raise InvalidRequestError(
                f"input '{path}' is an output of job {writer.label}, which is open in "
                f"{claim.alt_dir}; finish that job first, or choose another directory"
            )
    for path in replaced:
        reader = next((inputs[above] for above in ancestors(path) if above in inputs), None)
        if reader is not None:
            raise InvalidRequestError(
                f"input '{path}' has changed since it was copied to {claim.alt_dir} for job "
                f"{reader.label}, which is open; finish that job first, or choose another directory"
            )


def _warn_of_left_overs(note: Note, claim: TrackedJob, mirror: Mirror) -> None:
    for output in claim.outputs:
        here = note.path(top_of(output))
        if is_glob(output) or not output or not os.path.lexists(here):
            continue
        has_files = not _is_directory(here) or any(files for _, _, files in os.walk(here))
        if has_files and not any(covers(output, path) for path in mirror.files):
            lgr.warning("%s is there already; it will be taken for the job's own output", here)


def _fill(note: Note, mirror: Mirror, missing: Iterable[str]) -> None:
    parts = note.parts()
    parts.mkdir(parents=True, exist_ok=True)
    for path in mirror.all_directories():
        if path not in mirror.links:
            note.path(path).mkdir(exist_ok=True)
    for path, text in mirror.links.items():
        if not os.path.lexists(note.path(path)):
            copy_link(text, note.path(path), parts)
    for path in missing:
        if not _is_current(note.path(path), mirror.files[path]):
            copy_file(mirror.files[path], note.path(path), parts)
    parts.rmdir()
