"""The archive of a site as a dataset: one commit for many jobs.

All files go into git, as they are. What has been written is known, so nothing is
looked for except at the start, when there may be files that a killed process has
written and not committed.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from datalad_slurm.dataset.blobs import write_blobs
from datalad_slurm.dataset.commits import NewCommit, build, drop_private_refs
from datalad_slurm.dataset.files import lstat_of, plain_stat
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.index import catch_up_index, drop_own_lock
from datalad_slurm.dataset.publish import Step, publish, read_head
from datalad_slurm.dataset.stage import Change
from datalad_slurm.jobs.errors import DatasetError, PublicationError
from datalad_slurm.jobs.site_archive import is_archived_path

__all__ = ["commit_files", "open_archive", "uncommitted_files"]

_REFLOG = "datalad slurm-archive"
#: Files of one commit at most; a row of an index, and a blob's id, are in memory for each.
_MOST_FILES = 20_000
_NEW_DATASET = "[DATALAD] new dataset"


def open_archive(root: Path) -> Repo:
    """Return the repository of an archive, which is made a dataset if it is none.

    Its git directory is for the account that runs this alone: whoever can read
    it can read the environment of everybody's jobs.

    Raises
    ------
    DatasetError
        When git fails.
    """
    dot_git = root / ".git"
    repo = Repo(root.resolve())
    if not dot_git.exists():
        repo.run("init", "--quiet", "--template=")
        dot_git.chmod(0o700)
    _name_author(repo)
    drop_own_lock(repo)
    drop_private_refs(repo)
    head = repo.head()
    if not head:
        _commit(repo, [_described(repo)], _NEW_DATASET)
    elif parent := repo.ask("rev-parse", "-q", "--verify", f"{head}^"):
        catch_up_index(repo, parent, head)
    return repo


def _name_author(repo: Repo) -> None:
    """Give the repository an author where git knows none, as for a service without a home."""
    if repo.ask("config", "user.email") is None and "GIT_COMMITTER_EMAIL" not in os.environ:
        repo.run("config", "user.name", "datalad slurm-archive")
        repo.run("config", "user.email", f"slurm-archive@{socket.getfqdn() or 'localhost'}")


def _described(repo: Repo) -> str:
    """Write what makes a repository a dataset, and return its path."""
    path = ".datalad/config"
    described = repo.root / path
    if not described.exists():
        described.parent.mkdir(exist_ok=True)
        described.write_text(f'[datalad "dataset"]\n\tid = {uuid.uuid4()}\n')
    return path


def uncommitted_files(repo: Repo) -> list[str]:
    """Return the archived files that git does not know, whatever it ignores.

    Raises
    ------
    DatasetError
        When git fails.
    """
    listed = repo.run("ls-files", "--others", "-z")
    paths = (os.fsdecode(path) for path in listed.split(b"\0"))
    return sorted(filter(is_archived_path, paths))


def commit_files(repo: Repo, paths: Sequence[str], message: str) -> int:
    """Commit archived files, in one commit unless they are very many; return how many commits.

    A file that is no longer there is left out.

    Raises
    ------
    DatasetError
        When git fails, or when somebody else commits all the time; what is not
        committed can be committed later.
    """
    made = 0
    rest = iter(sorted(set(paths)))
    while part := list(islice(rest, _MOST_FILES)):
        made += _commit(repo, part, message)
    if made:
        repo.run("-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")
    return made


def _commit(repo: Repo, paths: Sequence[str], message: str) -> bool:
    stats = {path: lstat_of(repo.root / path) for path in paths}
    present = [path for path, found in stats.items() if plain_stat(found) is not None]
    if not present:
        return False
    try:
        blobs = write_blobs(repo, ((repo.root / path).read_bytes() for path in present))
    except OSError as exc:
        raise DatasetError(f"{exc.filename} cannot be read: {exc.strerror}") from exc
    changes = tuple(
        Change(path, "100644", blob, stat=stats[path])
        for path, blob in zip(present, blobs, strict=True)
    )
    head = read_head(repo)
    lock = repo.git_dir / "index.lock"
    if lock.exists():
        raise PublicationError(
            f"{lock} is there, so another git process is at work, or was killed; remove it if no "
            "git runs"
        )
    try:
        (tip,) = build(repo, "archive", head.commit, [NewCommit(message, changes)])
        if not publish([Step(repo, head, tip, changes)], _REFLOG):
            raise PublicationError(f"somebody else has committed to {repo.root}")
    finally:
        drop_private_refs(repo)
    return True
