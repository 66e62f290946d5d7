"""Bring contents that are known by heart into the working tree and into git, past git-annex."""

from __future__ import annotations

from collections.abc import Mapping

from datalad_slurm.dataset.blobs import write_blobs
from datalad_slurm.dataset.files import is_committed, lstat_of
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.identity import blob_of
from datalad_slurm.dataset.paths import inside
from datalad_slurm.dataset.publish import read_head
from datalad_slurm.dataset.stage import Change, Staging
from datalad_slurm.dataset.tree import TreeReader

__all__ = ["archive"]

_MODE = "100644"


def archive(repo: Repo, contents: Mapping[str, bytes]) -> Staging:
    """Write files, and return what a commit is to hold for those that HEAD does not have.

    All are written to git in one go, whatever git-annex would take.

    Parameters
    ----------
    repo : Repo
        The repository.
    contents : mapping
        What the files hold, by their paths relative to the root.

    Raises
    ------
    DatasetError
        When git fails.
    """
    found = Staging()
    new: dict[str, str] = {}
    with TreeReader(repo, read_head(repo).commit) as tree:
        for path, content in contents.items():
            blob = blob_of(repo, content)
            if tree.lookup(path) == (_MODE, blob):
                continue
            try:
                _write(repo, path, blob, content)
                new[path] = blob
            except OSError as exc:
                found.failures[path] = f"it cannot be written: {exc.strerror or exc}"
    if new:
        write_blobs(repo, (contents[path] for path in new))
    for path, blob in new.items():
        found.changes[path] = Change(path, _MODE, blob, stat=lstat_of(repo.root / path))
    return found


def _write(repo: Repo, path: str, blob: str, content: bytes) -> None:
    """Write a file, unless it is there; cut short, it is written again by the next finish."""
    target = repo.root / path
    if inside(repo, str(target.parent)) != path.rpartition("/")[0]:
        raise OSError("a link on the way leads elsewhere")
    if is_committed(repo, path, _MODE, blob):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # what was there may be a link
    target.write_bytes(content)
