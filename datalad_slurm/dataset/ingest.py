"""Move the content of files into the annex, each with a link in its place.

Called for thousands of files, so paths are texts here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from datalad_slurm.dataset.files import plain_stat
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.keys import OBJECTS
from datalad_slurm.dataset.side_by_side import side_by_side

__all__ = ["CHANGED", "Ingested", "ingest"]

CHANGED = "it changed while it was added; another process may still write to it"
_DONE = "done"
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Ingested:
    """What became of some files; those in neither are as they were."""

    done: list[str] = field(default_factory=list)
    #: path to reason
    failures: dict[str, str] = field(default_factory=dict)


def ingest(
    repo: Repo,
    found: Mapping[str, os.stat_result],
    objects: Mapping[str, str],
    links: Mapping[str, str],
) -> Ingested:
    """Move files to their places in the annex, and put links where they were.

    The content is hard-linked into the annex first, and the link put in the place of
    the file by renaming: whenever this is killed, the path holds the content or
    leads to it. Modes are those that git-annex gives where nothing is shared.

    Parameters
    ----------
    repo : Repo
        The repository.
    found : mapping
        Stat of the files from before their keys were calculated, by path.
    objects : mapping
        Where the annex is to hold each path's content, absolute.
    links : mapping
        Target of each link.

    Returns
    -------
    Ingested
        A file that has changed since `found` is a failure. One that cannot be moved in this
        way is not in it.
    """
    with suppress(OSError):  # then none of them can be moved in this way
        os.makedirs(repo.root / OBJECTS, exist_ok=True)
    new_link = repo.state_file("ingest.link")
    known: set[str] = set()
    files = {
        path: _File(f"{repo.root}/{path}", found[path], place, links[path])
        for path, place in objects.items()
    }

    def move(path: str, number: int) -> str | None:
        return _move(files[path], f"{new_link}.{number}", known)

    # of one content only one file is moved, and the others find it in the annex
    firsts: dict[str, str] = {}
    for path, place in objects.items():
        firsts.setdefault(place, path)
    outcomes = dict(zip(firsts.values(), side_by_side(move, list(firsts.values())), strict=True))
    others = [path for path in objects if path not in outcomes]
    held = [path for path in others if outcomes[firsts[objects[path]]] == _DONE]
    outcomes.update(zip(held, side_by_side(move, held), strict=True))
    # where it is not held, one may let go of what another has found meanwhile
    outcomes.update((path, move(path, 0)) for path in others if path not in outcomes)
    return Ingested(
        [path for path in objects if outcomes[path] == _DONE],
        {path: why for path in objects if (why := outcomes[path]) and why != _DONE},
    )


class _File(NamedTuple):
    """A file that is to be moved."""

    path: str
    before: os.stat_result
    #: where the annex is to hold it
    place: str
    leads_to: str


def _move(file: _File, new_link: str, known: set[str]) -> str | None:
    """Move one file; return why it failed, or None where it cannot be moved in this way."""
    before, place = file.before, file.place
    try:
        is_new = _hold(file.path, place, known)
    except OSError:
        return None
    why = None
    try:
        if plain_stat(os.lstat(file.path)) != plain_stat(before):
            why = CHANGED
        elif not is_new and os.stat(place).st_size != before.st_size:
            why = (
                f"the annex has a damaged file of this content, {place}; `git annex fsck` "
                "moves that out of the way"
            )
        else:
            if is_new:
                os.chmod(place, stat.S_IMODE(before.st_mode) & ~_WRITABLE | stat.S_IRUSR)
                directory = os.path.dirname(place)
                os.chmod(directory, stat.S_IMODE(os.stat(directory).st_mode) & ~_WRITABLE)
            _replace(file, new_link)
            return _DONE
    except OSError:
        pass
    if is_new:
        _let_go(file)
    return why


def _hold(target: str, place: str, known: set[str]) -> bool:
    """Give content a second name, in the annex; return False if the annex has it already."""
    directory = os.path.dirname(place)
    above = os.path.dirname(directory)
    if above not in known:  # from the top, as most of them are new
        with suppress(FileExistsError):
            try:
                os.mkdir(above)
            except FileNotFoundError:
                with suppress(FileExistsError):
                    os.mkdir(os.path.dirname(above))
                os.mkdir(above)
        known.add(above)
    try:
        os.mkdir(directory)
    except FileExistsError:
        if os.path.exists(place):
            return False
        raise
    try:
        os.link(target, place, follow_symlinks=False)
    except OSError:
        os.rmdir(directory)
        raise
    return True


def _replace(file: _File, new_link: str) -> None:
    """Put a link in the place of a file, with the file's time, as git-annex does."""
    try:
        os.symlink(file.leads_to, new_link)
    except FileExistsError:  # of one that was killed
        os.unlink(new_link)
        os.symlink(file.leads_to, new_link)
    times = (file.before.st_atime_ns, file.before.st_mtime_ns)
    os.utime(new_link, ns=times, follow_symlinks=False)
    os.replace(new_link, file.path)


def _let_go(file: _File) -> None:
    """Take the second name of a file away again; the file keeps its content and mode."""
    if os.path.islink(file.path):
        # another git-annex has added it, or NFS says of a renaming that it has failed after
        # it was done: the content has no other name any more
        return
    directory = os.path.dirname(file.place)
    with suppress(OSError):  # of a file of somebody else
        os.chmod(file.place, stat.S_IMODE(file.before.st_mode))
    with suppress(OSError):
        os.chmod(directory, stat.S_IMODE(os.stat(directory).st_mode) | stat.S_IWUSR)
        os.unlink(file.place)
        os.rmdir(directory)
