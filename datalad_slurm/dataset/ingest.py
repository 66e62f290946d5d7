"""Move the content of files into the annex, each with a link in its place."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from datalad_slurm.dataset.files import lstat_of, plain_stat
from datalad_slurm.dataset.git import Repo

__all__ = ["CHANGED", "Ingested", "ingest"]

CHANGED = "it changed while it was added; another process may still write to it"
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
    objects: Mapping[str, Path],
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
    ingested = Ingested()
    new_link = repo.state_file("ingest.link")
    known: set[Path] = set()
    for path, place in objects.items():
        target = repo.root / path
        before = plain_stat(found[path])
        try:
            is_new = _hold(target, place, known)
        except OSError:
            continue
        try:
            if plain_stat(lstat_of(target)) != before:
                ingested.failures[path] = CHANGED
            elif not is_new and place.stat().st_size != found[path].st_size:
                ingested.failures[path] = (
                    f"the annex has a damaged file of this content, {place}; `git annex fsck` "
                    "moves that out of the way"
                )
            else:
                if is_new:
                    place.chmod(stat.S_IMODE(found[path].st_mode) & ~_WRITABLE | stat.S_IRUSR)
                    _take_write_permission(place.parent)
                _replace(target, new_link, links[path], found[path])
                ingested.done.append(path)
                continue
        except OSError:
            pass
        if is_new:
            _let_go(target, place, found[path])
    return ingested


def _hold(target: Path, place: Path, known: set[Path]) -> bool:
    """Give content a second name, in the annex; return False if the annex has it already."""
    above = place.parent.parent
    if above not in known:  # from the top, as most of them are new
        with suppress(FileExistsError):
            try:
                os.mkdir(above)  # noqa: PTH102 - called for thousands
            except FileNotFoundError:
                above.mkdir(parents=True)
        known.add(above)
    try:
        os.mkdir(place.parent)  # noqa: PTH102
    except FileExistsError:
        if place.exists():
            return False
        raise
    try:
        os.link(target, place, follow_symlinks=False)
    except OSError:
        place.parent.rmdir()
        raise
    return True


def _take_write_permission(directory: Path) -> None:
    directory.chmod(stat.S_IMODE(directory.stat().st_mode) & ~_WRITABLE)


def _replace(target: Path, new_link: Path, leads_to: str, before: os.stat_result) -> None:
    """Put a link in the place of a file, with the file's time, as git-annex does."""
    try:
        os.symlink(leads_to, new_link)  # noqa: PTH211 - called for thousands
    except FileExistsError:  # of one that was killed
        new_link.unlink()
        new_link.symlink_to(leads_to)
    os.utime(new_link, ns=(before.st_atime_ns, before.st_mtime_ns), follow_symlinks=False)
    os.replace(new_link, target)  # noqa: PTH105


def _let_go(target: Path, place: Path, before: os.stat_result) -> None:
    """Take the second name of a file away again; the file keeps its content and mode."""
    if target.is_symlink():
        # another git-annex has added it, or NFS says of a renaming that it has failed after
        # it was done: the content has no other name any more
        return
    with suppress(OSError):  # of a file of somebody else
        place.chmod(stat.S_IMODE(before.st_mode))
    with suppress(OSError):
        place.parent.chmod(stat.S_IMODE(place.parent.stat().st_mode) | stat.S_IWUSR)
        place.unlink()
        place.parent.rmdir()
