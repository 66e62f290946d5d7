"""What was put into an alternative directory, and what of it is to be removed again.

Each claim has a note of its own, beside the database: it lists files, and
outlives the claim until all that it lists is gone. In the directory itself a
marker names the dataset whose jobs run there.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from datalad_slurm.dataset.transfer import Stamp, stamp
from datalad_slurm.jobs.claims import ancestors, is_below, top_of
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.workflow.context import Context, lgr
from datalad_slurm.workflow.whole_files import write_whole

__all__ = [
    "INPUTS",
    "MARKER",
    "Note",
    "abandon",
    "clean_up",
    "drop_note",
    "notes_on",
    "read_note",
    "refuse_other_owner",
    "release",
    "take",
    "write_note",
]

#: Our directory inside an alternative directory.
MARKER = ".datalad-slurm"
#: Key of a job's inputs in an alternative directory, in the job's extra notes.
INPUTS = "alt_inputs"
_DIRECTORY = "alt-dir"
_OWNER = "owner.json"
#: Seconds for which others may have to wait for the tracking database.
_LONGEST_HOLD = 5.0


@dataclass
class Note:
    """What one claim has to do with an alternative directory; paths are relative to that."""

    token: str
    directory: str
    #: the job's inputs, as they were there when it was submitted
    files: dict[str, Stamp] = field(default_factory=dict)
    #: those files and links to directories that were put there for this job
    placed: dict[str, Stamp] = field(default_factory=dict)
    #: directories made for this job, parents first
    made: list[str] = field(default_factory=list)
    #: outputs that were directories before
    were_there: list[str] = field(default_factory=list)
    #: outputs whose empty directories go with them
    outputs: list[str] = field(default_factory=list)
    #: what was copied back to the dataset; None as long as nothing was
    brought: dict[str, Stamp] | None = None
    #: there is no job, and will be none
    is_abandoned: bool = False
    #: all that is to be removed has been, but for our marker
    is_cleaned: bool = False

    @property
    def is_over(self) -> bool:
        """Whether what it lists can go, once the job is not tracked any more."""
        return self.is_abandoned or self.brought is not None

    def path(self, relative: str) -> Path:
        """Return where something is in the alternative directory."""
        return Path(self.directory) / relative

    def go_on(self, earlier: Note | None) -> None:
        """Add what earlier attempts at a job that is submitted again have put there."""
        if earlier is not None:
            self.placed = earlier.placed | self.placed
            self.made = list(dict.fromkeys([*earlier.made, *self.made]))
            self.were_there = earlier.were_there

    def parts(self) -> Path:
        """Return where copies grow in the alternative directory."""
        return self.path(MARKER) / self.token


def read_note(context: Context, token: str) -> Note | None:
    """Return the note of a claim, if there is one."""
    try:
        content = json.loads(_file(context, token).read_text())
    except FileNotFoundError:
        return None
    for key in ("files", "placed", "brought"):
        content[key] = content[key] and {path: tuple(each) for path, each in content[key].items()}
    content["files"], content["placed"] = content["files"] or {}, content["placed"] or {}
    return Note(**content)


def write_note(context: Context, note: Note) -> None:
    """Keep a note; it is whole or as it was before."""
    path = _file(context, note.token)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(asdict(note)))


def drop_note(context: Context, token: str) -> None:
    """Remove a note: what it lists stays where it is."""
    _file(context, token).unlink(missing_ok=True)


def notes_on(context: Context, directory: str) -> list[Note]:
    """Return the notes of all claims on an alternative directory."""
    return [note for note in _all_notes(context) if note.directory == directory]


def _all_notes(context: Context) -> Iterator[Note]:
    for path in sorted(_file(context, "").parent.glob("*.json")):
        note = read_note(context, path.stem)
        if note is not None:
            yield note


def _file(context: Context, token: str) -> Path:
    return context.repo.state_dir / _DIRECTORY / f"{token}.json"


def refuse_other_owner(context: Context, directory: str) -> None:
    """Raise InvalidRequestError when another dataset's jobs run in a directory."""
    owner = _owner(directory)
    if owner and owner.get("owner") != _own_id(context):
        raise InvalidRequestError(
            f"jobs of the dataset {owner.get('path')} (id {owner.get('dataset')}) run in "
            f"{directory}: choose another directory, such as one below it; if they do not any "
            f"more, remove {directory}/{MARKER}"
        )


def take(context: Context, directory: str) -> None:
    """Mark a directory as one in which this dataset's jobs run.

    Only while the tracking database is held.
    """
    refuse_other_owner(context, directory)
    own_id = _own_id(context)
    if not own_id:
        own_id = uuid.uuid4().hex
        kept = context.repo.state_dir / _DIRECTORY / "owner"
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, own_id)  # others read it without holding the database
    marker = Path(directory) / MARKER / _OWNER
    marker.parent.mkdir(exist_ok=True)
    content = {"dataset": context.dsid, "owner": own_id, "path": str(context.repo.root)}
    write_whole(marker, json.dumps(content) + "\n", own_id)


def _own_id(context: Context) -> str:
    """Return what tells this working tree from others, even of the same dataset."""
    try:
        return (context.repo.state_dir / _DIRECTORY / "owner").read_text()
    except FileNotFoundError:
        return ""


def _owner(directory: str) -> dict[str, str]:
    try:
        content = json.loads((Path(directory) / MARKER / _OWNER).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def abandon(context: Context, token: str, *, keep_files: bool) -> None:
    """Note that a claim has come to nothing, so that what was copied for it can go, or stays."""
    note = read_note(context, token)
    if keep_files:
        drop_note(context, token)
    elif note is not None:
        note.is_abandoned = True
        write_note(context, note)


def clean_up(context: Context) -> None:
    """Remove from alternative directories what no open job needs any more.

    What was committed or abandoned goes, unless it was changed since, or
    another open job has it among its inputs: then it goes after that one.
    Whatever was there before stays.
    """
    pending = [note for note in _all_notes(context) if note.is_over]
    cleaned = []
    while pending:
        with context.tracker.held() as jobs:
            deadline = time.monotonic() + _LONGEST_HOLD
            while pending and time.monotonic() < deadline:
                note = pending.pop()
                if _is_cleaned(context, note, jobs):
                    cleaned.append(note)
    for directory in {note.directory for note in cleaned}:
        with context.tracker.held() as jobs:
            release(context, directory, [job for job in jobs if job.alt_dir == directory])
    for note in cleaned:
        drop_note(context, note.token)


def _is_cleaned(context: Context, note: Note, jobs: Iterable[TrackedJob]) -> bool:
    """Remove what a note lists; return whether all that can ever go has gone."""
    if note.is_cleaned or any(job.token == note.token for job in jobs):
        return note.is_cleaned
    try:
        note.is_cleaned = _clean(note, [job for job in jobs if job.alt_dir == note.directory])
        if note.is_cleaned:
            write_note(context, note)
    except OSError as exc:
        lgr.warning(
            "%s could not be cleaned up: %s (%s); the next slurm-finish tries again",
            note.directory,
            exc.strerror,
            exc.filename,
        )
    return note.is_cleaned


def release(context: Context, directory: str, others: Iterable[TrackedJob]) -> None:
    """Take our marker out of a directory that no open job, and nothing to clean, is about."""
    if list(others) or any(not note.is_cleaned for note in notes_on(context, directory)):
        return
    marker = Path(directory) / MARKER
    with suppress(OSError):
        (marker / _OWNER).unlink(missing_ok=True)
    _remove_empty(marker)


def _clean(note: Note, others: list[TrackedJob]) -> bool:
    """Remove what can go; return whether nothing is left to remove later."""
    if not note.path(MARKER).is_dir():
        return False  # not mounted here, perhaps
    if any(INPUTS not in job.extra for job in others):
        return False  # one is being prepared, and what it needs is not known yet
    shutil.rmtree(note.parts(), ignore_errors=True)
    needed = {path for job in others for path in (*map(top_of, job.outputs), *job.extra[INPUTS])}
    kept = False
    for path, known in {**note.placed, **(note.brought or {})}.items():
        if not needed.isdisjoint(ancestors(path)):
            kept = True
            continue
        now = stamp(note.path(path))
        if now == known:
            note.path(path).unlink()
        elif os.path.lexists(note.path(path)):
            lgr.warning("%s has changed since, and stays there", note.path(path))
    standing = {job.pwd for job in others}
    for output in note.outputs:
        kept |= not _prune(note, output, needed, standing)
    for path in reversed(note.made):
        kept |= not _remove_unless(note, path, needed, standing)
    return not kept


def _prune(note: Note, output: str, needed: set[str], standing: set[str]) -> bool:
    """Remove empty directories at and below an output; return whether none has to wait."""
    is_done = True
    for where, _, _ in os.walk(note.path(output), topdown=False):
        path = os.path.relpath(where, note.directory)
        is_done &= _remove_unless(note, path, needed, standing)
    return is_done


def _remove_unless(note: Note, path: str, needed: set[str], standing: set[str]) -> bool:
    """Remove an empty directory unless an open job needs it; return whether none does."""
    if not needed.isdisjoint(ancestors(path)):
        return False
    if any(is_below(other, path) for other in needed | standing):
        return False
    _remove_empty(note.path(path))
    return True


def _remove_empty(directory: Path) -> None:
    with suppress(OSError):  # not empty, or gone
        directory.rmdir()
