"""Take out of the working tree what was committed on branches that are not checked out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from datalad_slurm.dataset.files import is_committed
from datalad_slurm.dataset.git import Repo, in_argument_chunks
from datalad_slurm.dataset.index import IndexUpdate
from datalad_slurm.dataset.stage import Change
from datalad_slurm.dataset.tree import SUBDATASET_MODE, TreeReader

__all__ = ["put_back"]


def put_back(repo: Repo, base: str, changes: Iterable[Change]) -> list[str]:
    """Bring the working tree, and the index, back to `base` at paths that other branches changed.

    Only what is just as it was committed is taken away, so nothing can be
    lost. Without this, those files would be in the way of a merge.

    Returns
    -------
    list of str
        Paths that were left as they are: unlocked annexed files, and what has
        changed since.
    """
    changes = list(changes)
    if not changes:
        return []
    # The lock comes first: without it nothing is taken away. Scheduling has put the unlocked
    # form of files into the index, so that is brought back as well.
    with IndexUpdate(repo) as update:
        restored, left = _take_away(repo, base, changes)
        if restored:
            update.prepare(restored)
            update.install()
    for chunk in in_argument_chunks(change.path for change in restored):
        repo.run("checkout-index", "-q", "-f", "-u", "--", *chunk, ok_codes=(0, 1, 128))
    return left


def _take_away(repo: Repo, base: str, changes: Iterable[Change]) -> tuple[list[Change], list[str]]:
    """Remove files that are just as committed; return what `base` has there, and what stays."""
    restored: list[Change] = []
    left: list[str] = []
    with TreeReader(repo, base) as tree:
        for change in changes:
            if change.mode == SUBDATASET_MODE:
                continue
            target = repo.root / change.path
            # one that is not there was taken away by a finish that has died since
            if not change.is_deletion and (target.is_symlink() or target.exists()):
                if not is_committed(repo, change.path, change.mode, change.blob):
                    left.append(change.path)
                    continue
                target.unlink()
                _remove_empty_directories(repo, change.path)
            before = tree.lookup(change.path)
            if before is not None:
                restored.append(Change(change.path, *before))
    return restored, left


def _remove_empty_directories(repo: Repo, path: str) -> None:
    directory = os.path.dirname(path)  # noqa: PTH120 - ends at the root, ""
    with suppress(OSError):  # one that is not empty
        while directory:
            (repo.root / directory).rmdir()
            directory = os.path.dirname(directory)  # noqa: PTH120
