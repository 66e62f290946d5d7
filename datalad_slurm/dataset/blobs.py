"""Write many blobs into the object database as one pack, instead of a file each."""

from __future__ import annotations

from collections.abc import Iterable

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.packfile import Packfile

__all__ = ["write_blobs"]


def write_blobs(repo: Repo, contents: Iterable[bytes]) -> list[str]:
    """Write blobs, and return their ids in the same order.

    Parameters
    ----------
    repo : Repo
        The repository.
    contents : iterable of bytes
        Asked for one at a time, so they need not all be in memory.

    Raises
    ------
    DatasetError
        When they cannot be written; then git has none of them.
    """
    pack = Packfile(repo)
    ids = []
    for content in contents:
        oid = pack.identify("blob", [content])
        pack.write("blob", oid, content)
        ids.append(oid.hex())
    with pack.handed_over():
        return ids
