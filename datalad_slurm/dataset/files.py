"""What tells whether a file of the working tree has changed."""

from __future__ import annotations

import hashlib
import os
import stat
from enum import Enum
from pathlib import Path

from datalad_slurm.dataset.git import Repo

__all__ = [
    "LINK_MODE",
    "Form",
    "add_content",
    "file_stat",
    "is_committed",
    "lstat_of",
    "new_blob_hash",
    "plain_stat",
    "stat_of",
]

#: git's mode of a symbolic link
LINK_MODE = "120000"


class Form(Enum):
    """How git-annex holds a file."""

    LOCKED = "locked"
    UNLOCKED = "unlocked"


def file_stat(repo: Repo, path: str) -> tuple[int, int, int] | None:
    """Return what tells whether a plain file has changed, or None when it is none."""
    return stat_of(repo.root / path, follow=False)


def stat_of(path: Path, *, follow: bool) -> tuple[int, int, int] | None:
    """Return size, modification time (ns) and inode of a plain file, or None."""
    try:
        return plain_stat(path.stat(follow_symlinks=follow))
    except OSError:
        return None


def lstat_of(path: Path) -> os.stat_result | None:
    """Return the stat of what is at a path, or None when nothing can be seen there."""
    try:
        return path.lstat()
    except OSError:
        return None


def plain_stat(found: os.stat_result | None) -> tuple[int, int, int] | None:
    """Return size, modification time (ns) and inode, or None when it is no plain file's stat."""
    if found is None or not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def new_blob_hash(object_format: str, size: int) -> hashlib._Hash:
    """Return what is to be fed a file's content to get the id that git gives to it, unfiltered."""
    total = hashlib.new(object_format, usedforsecurity=False)
    total.update(b"blob %d\0" % size)
    return total


def add_content(total: hashlib._Hash, path: Path) -> None:
    """Feed the content of a file to a hash.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            total.update(chunk)


def is_committed(repo: Repo, path: str, mode: str, blob: str) -> bool:
    """Return whether a path holds just what is committed there, without asking git.

    Of an unlocked annexed file, git holds a pointer: there the answer is no.
    """
    target = repo.root / path
    object_format = "sha256" if len(blob) == 64 else "sha1"
    try:
        found = target.lstat()
        if stat.S_ISLNK(found.st_mode):
            content = os.fsencode(target.readlink())
            total = new_blob_hash(object_format, len(content))
            total.update(content)
            return mode == LINK_MODE and total.hexdigest() == blob
        if mode != ("100755" if found.st_mode & stat.S_IXUSR else "100644"):
            return False
        total = new_blob_hash(object_format, found.st_size)
        add_content(total, target)
    except OSError:
        return False
    return total.hexdigest() == blob
