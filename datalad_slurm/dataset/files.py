"""What tells whether a file of the working tree has changed."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from datalad_slurm.dataset.git import Repo

__all__ = ["LINK_MODE", "file_stat", "is_committed", "stat_of"]

#: git's mode of a symbolic link
LINK_MODE = "120000"


def file_stat(repo: Repo, path: str) -> tuple[int, int, int] | None:
    """Return what tells whether a plain file has changed, or None when it is none."""
    return stat_of(repo.root / path, follow=False)


def stat_of(path: Path, *, follow: bool) -> tuple[int, int, int] | None:
    """Return size, modification time (ns) and inode of a plain file, or None."""
    try:
        found = path.stat(follow_symlinks=follow)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def is_committed(repo: Repo, path: str, mode: str, blob: str) -> bool:
    """Return whether a path holds just what is committed there, without asking git.

    Of an unlocked annexed file, git holds a pointer: there the answer is no.
    """
    target = repo.root / path
    digest = hashlib.new("sha256" if len(blob) == 64 else "sha1", usedforsecurity=False)
    try:
        found = target.lstat()
        if stat.S_ISLNK(found.st_mode):
            content = os.fsencode(target.readlink())
            digest.update(b"blob %d\0" % len(content) + content)
            return mode == LINK_MODE and digest.hexdigest() == blob
        if mode != ("100755" if found.st_mode & stat.S_IXUSR else "100644"):
            return False
        digest.update(b"blob %d\0" % found.st_size)
        with target.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    except OSError:
        return False
    return digest.hexdigest() == blob
