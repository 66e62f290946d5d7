"""Make built commits the branch's, and the index agree with them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

from datalad_slurm.dataset.git import Repo, in_argument_chunks
from datalad_slurm.dataset.stage import Change, file_stat
from datalad_slurm.jobs.errors import DatasetError, PublicationError

__all__ = ["Head", "contains", "move_branch", "not_checked_out", "read_head", "update_index"]

_NO_FILTER = (
    "-c", "filter.annex.clean=", "-c", "filter.annex.smudge=", "-c", "filter.annex.process=",
)  # fmt: skip
#: Seconds to wait for another git process to let go of the index.
_INDEX_LOCK_PATIENCE = 10.0


@dataclass(frozen=True)
class Head:
    """Where the working tree stands."""

    #: full name of the branch, or ``HEAD`` when it is detached
    branch: str
    #: empty as long as the branch has no commit
    commit: str


def read_head(repo: Repo) -> Head:
    """Return branch and commit that are checked out."""
    branch = repo.ask("symbolic-ref", "-q", "HEAD") or "HEAD"
    return Head(branch, repo.ask("rev-parse", "--verify", "-q", "HEAD^{commit}") or "")


def contains(repo: Repo, branch: str, commit: str) -> bool:
    """Return whether a branch has a commit in its history."""
    if repo.ask("rev-parse", "--verify", "-q", f"{branch}^{{commit}}") is None:
        return False
    return not repo.run("rev-list", "--max-count=1", commit, f"^{branch}").strip()


def update_index(repo: Repo, changes: Iterable[Change]) -> None:
    """Bring the user's index to what was committed at these paths, and at no other.

    Raises
    ------
    PublicationError
        When another git process holds the index for too long.
    """
    changes = list(changes)
    if not changes:
        return
    null = "0" * len(next((c.blob for c in changes if c.blob), "0" * 40))
    entries = b"".join(
        f"{change.mode or 0} {change.blob or null}\t".encode() + os.fsencode(change.path) + b"\0"
        for change in sorted(changes, key=lambda change: not change.is_deletion)
    )
    deadline = time.monotonic() + _INDEX_LOCK_PATIENCE
    while True:
        try:
            repo.run("update-index", "--add", "--replace", "-z", "--index-info", input=entries)
            break
        except DatasetError as exc:
            if "index.lock" not in str(exc):
                raise
            if time.monotonic() > deadline:
                raise PublicationError(
                    f"{repo.git_dir / 'index.lock'} is there, so another git process is at work; "
                    "run `datalad slurm-finish` again when it has ended, or remove the file if "
                    "no git runs; nothing was committed yet"
                ) from exc
        time.sleep(0.2)
    _note_file_times(repo, changes)


def _note_file_times(repo: Repo, changes: Iterable[Change]) -> None:
    """Let the index know the times of plain files, so that `git status` need not filter them.

    Only of files that are as they were when they were staged: git reads them
    again here. It saves time later, no more, so it may fail.
    """
    settled = [
        change.path
        for change in changes
        if change.file_stat is not None and change.file_stat == file_stat(repo, change.path)
    ]
    if not settled:
        return
    paths = b"".join(os.fsencode(path) + b"\0" for path in settled)
    repo.run(*_NO_FILTER, "update-index", "-z", "--stdin", input=paths, ok_codes=(0, 1, 128))


def not_checked_out(repo: Repo, paths: Iterable[str]) -> set[str]:
    """Return those of some paths that a sparse checkout leaves out of the working tree."""
    if repo.ask("config", "--type=bool", "core.sparseCheckout") != "true":
        return set()
    left_out: set[str] = set()
    for chunk in in_argument_chunks(paths):
        for entry in repo.run("ls-files", "-t", "-z", "--", *chunk).split(b"\0"):
            if entry.startswith(b"S "):
                left_out.add(os.fsdecode(entry[2:]))
    return left_out


def move_branch(repo: Repo, head: Head, tip: str, reason: str) -> bool:
    """Move the branch from where it was to `tip`; return False if it is no longer there.

    A compare-and-swap: what somebody committed meanwhile is never lost.
    """
    detached = ["--no-deref"] if head.branch == "HEAD" else []
    try:
        # an empty old value means that the ref must not exist
        repo.run("update-ref", "-m", reason, *detached, head.branch, tip, head.commit)
    except DatasetError:
        now = repo.ask("rev-parse", "--verify", "-q", f"{head.branch}^{{commit}}") or ""
        if now == head.commit:
            raise
        return False
    return True
