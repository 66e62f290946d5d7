"""Clear away what a failed attempt has left of a job's outputs, so that it can be undone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from datalad_slurm.dataset.git import Repo, in_argument_chunks
from datalad_slurm.dataset.paths import matches, walk
from datalad_slurm.dataset.subdatasets import Hierarchy
from datalad_slurm.dataset.transfer import move
from datalad_slurm.jobs.claims import covers, top_of
from datalad_slurm.jobs.errors import DatasetError

__all__ = [
    "Leftovers",
    "drop_aside",
    "find_leftovers",
    "known_to_git",
    "move_aside",
    "put_back",
    "restore",
]

#: Name of the note of what was moved, among those of a submission.
_NOTE = "leftovers.json"


class Leftovers(NamedTuple):
    """What has changed at and below outputs; all paths are relative to where the job runs."""

    files: tuple[str, ...] = ()
    #: innermost first
    directories: tuple[str, ...] = ()


def find_leftovers(
    hierarchy: Hierarchy,
    place: Repo,
    outputs: Iterable[str],
    since: int,
    stays: Callable[[str], bool],
) -> Leftovers:
    """Return what has changed at and below outputs since a time.

    What is older was there before the job, and what cannot be committed is left alone.

    Parameters
    ----------
    hierarchy : Hierarchy
        The dataset.
    place : Repo
        Where the job runs: the dataset, or what stands for it.
    outputs : iterable of str
        Claims, which may be globs.
    since : int
        By the clock of that file system (ns since the epoch).
    stays : callable
        Tells of a file whether it is not meant, and of a directory whether it stays if it is
        empty.

    Raises
    ------
    DatasetError
        When a directory cannot be read.
    """
    is_own = place.root == hierarchy.top.root
    args = (hierarchy.is_subdataset,) if is_own else ()
    files: dict[str, None] = {}
    directories: dict[str, None] = {}
    try:
        for output in dict.fromkeys(outputs):
            for top in matches(place, output, *args):
                for path, is_committable in walk(place, top, *args):
                    if is_committable and not stays(path) and _is_new(place, path, since):
                        files[path] = None
            for path in _directories(place, top_of(output)):
                if path and not stays(path) and _is_new(place, path, since):
                    directories[path] = None
    except OSError as exc:
        raise DatasetError(
            f"cannot see what there is of the outputs: {exc.strerror} ({exc.filename})"
        ) from exc
    return Leftovers(tuple(files), tuple(sorted(directories, key=len, reverse=True)))


def _is_new(place: Repo, path: str, since: int) -> bool:
    return (place.root / path).lstat().st_ctime_ns > since


def _directories(place: Repo, top: str) -> Iterable[str]:
    for where, names, _ in os.walk(place.root / top):
        names[:] = [name for name in names if not (Path(where) / name / ".git").exists()]
        if ".git" in names:
            names.remove(".git")
        path = os.path.relpath(where, place.root)
        yield "" if path == "." else path


def move_aside(place: Repo, found: Leftovers, aside: Path, notes: Path) -> None:
    """Move files to where they are out of the way; `put_back` undoes it, whoever is killed.

    Parameters
    ----------
    place : Repo
        Where the job runs.
    found : Leftovers
        What to move; directories are removed when they are empty then.
    aside : Path
        A directory that is made for them, best on the same file system.
    notes : Path
        Directory of the submission's notes.

    Raises
    ------
    OSError
        When nothing can be noted or made there.
    TransferError
        When something cannot be moved.
    """
    content = {"root": str(place.root), "aside": str(aside), "files": found.files}
    part = (notes / _NOTE).with_suffix(".part")
    part.write_text(json.dumps(content))
    part.replace(notes / _NOTE)
    aside.mkdir(parents=True)
    for number, path in enumerate(found.files):
        move(place.root / path, aside / str(number), aside)
    for directory in found.directories:
        with suppress(OSError):  # not empty
            (place.root / directory).rmdir()


def put_back(notes: Path) -> None:
    """Undo `move_aside`, if that was done for a submission."""
    noted = _noted(notes)
    for number, path in enumerate(noted["files"] if noted else ()):
        source, target = Path(noted["aside"]) / str(number), Path(noted["root"]) / path
        if os.path.lexists(source):
            target.parent.mkdir(parents=True, exist_ok=True)
            move(source, target, source.parent)
    drop_aside(notes)


def drop_aside(notes: Path) -> None:
    """Remove for good what was moved for a submission."""
    noted = _noted(notes)
    if noted:
        shutil.rmtree(noted["aside"], ignore_errors=True)
        (notes / _NOTE).unlink(missing_ok=True)


def _noted(notes: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((notes / _NOTE).read_text()))
    except FileNotFoundError:
        return {}


def restore(hierarchy: Hierarchy, outputs: Collection[str]) -> None:
    """Write files again that git knows at and below outputs, and that are not there.

    Raises
    ------
    DatasetError
        When git or git-annex fails.
    """
    tops = dict.fromkeys(map(top_of, outputs))
    names = dict.fromkeys(name for top in tops for name in hierarchy.around(top))
    for name in names:
        repo = hierarchy.repo(name)
        within = [_within(hierarchy, name, top) for top in tops]
        listed = b"".join(
            repo.run("ls-files", "-z", "--", *chunk)
            for chunk in in_argument_chunks(dict.fromkeys(path or "." for path in within))
        )
        whole = {path: f"{name}/{path}" if name else path for path in _split(listed)}
        gone = [
            path
            for path, full in whole.items()
            if not os.path.lexists(repo.root / path)
            and any(covers(output, full) for output in outputs)
        ]
        if gone:
            _check_out(repo, gone)


def known_to_git(hierarchy: Hierarchy, paths: Iterable[str]) -> set[str]:
    """Return those paths at or below which git, in the dataset or a subdataset, knows files.

    Raises
    ------
    DatasetError
        When git fails.
    """
    known = set()
    for path in paths:
        name = hierarchy.holder(path)
        within = hierarchy.within(name, path)
        if hierarchy.is_here(name) and hierarchy.repo(name).run("ls-files", "-z", "--", within):
            known.add(path)
    return known


def _within(hierarchy: Hierarchy, name: str, top: str) -> str:
    """Return a path relative to a repository; the repository itself for one above it."""
    return hierarchy.within(name, top) if not name or top.startswith(f"{name}/") else ""


def _split(listed: bytes) -> Iterable[str]:
    return dict.fromkeys(os.fsdecode(path) for path in listed.split(b"\0") if path)


def _check_out(repo: Repo, paths: Iterable[str]) -> None:
    lines = b"".join(os.fsencode(path) + b"\0" for path in paths)
    repo.run("checkout-index", "-q", "-u", "-z", "--stdin", input=lines)
    if repo.has_annex:
        # the filter writes pointers; this puts content in their places (git-annex-smudge(1))
        repo.run("annex", "smudge", "--update")
