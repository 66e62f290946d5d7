"""Take out of the working tree what was committed on branches that are not checked out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from datalad_slurm.dataset.files import is_committed
from datalad_slurm.dataset.git import Repo, in_argument_chunks
from datalad_slurm.dataset.index import IndexUpdate
from datalad_slurm.dataset.stage import Change
from datalad_slurm.dataset.tree import TreeReader

__all__ = ["put_back"]

_SUBDATASET_MODE = "160000"


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
    restored: list[Change] = []
    left: list[str] = []
    with TreeReader(repo, base) as tree:
        for change in changes:
            before = tree.lookup(change.path)
            if change.mode == _SUBDATASET_MODE:
                continue
            if not change.is_deletion:
                if not is_committed(repo, change.path, change.mode, change.blob):
                    left.append(change.path)
                    continue
                (repo.root / change.path).unlink()
                _remove_empty_directories(repo, change.path)
            if before is not None:
                restored.append(Change(change.path, *before))
    if restored:
        # scheduling has put the unlocked form of files into the index
        with IndexUpdate(repo) as update:
            update.prepare(restored)
            update.install()
    for chunk in in_argument_chunks(change.path for change in restored):
        repo.run("checkout-index", "-q", "-f", "-u", "--", *chunk, ok_codes=(0, 1, 128))
    return left


def _remove_empty_directories(repo: Repo, path: str) -> None:
    directory = os.path.dirname(path)  # noqa: PTH120 - ends at the root, ""
    with suppress(OSError):  # one that is not empty
        while directory:
            (repo.root / directory).rmdir()
            directory = os.path.dirname(directory)  # noqa: PTH120
