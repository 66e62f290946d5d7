"""Make built commits the branches' own, in one repository or in several at once."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.index import IndexUpdate
from datalad_slurm.dataset.stage import Change
from datalad_slurm.jobs.errors import DatasetError

__all__ = [
    "Head",
    "Step",
    "contains",
    "free_branch_names",
    "messages_since",
    "publish",
    "read_head",
]


@dataclass(frozen=True)
class Head:
    """Where a working tree stands."""

    #: full name of the branch, or ``HEAD`` when it is detached
    branch: str
    #: empty as long as the branch has no commit
    commit: str


@dataclass(frozen=True)
class Step:
    """What is to be published in one repository."""

    repo: Repo
    #: where the commits were built on
    head: Head
    #: the last of the new commits, or nothing when only new branches are to be made
    tip: str
    #: for the index: all that the commits up to the tip change
    changes: tuple[Change, ...]
    #: full names of branches to make, and their commits
    branches: Mapping[str, str] = field(default_factory=dict)


def read_head(repo: Repo) -> Head:
    """Return branch and commit that are checked out."""
    branch = repo.ask("symbolic-ref", "-q", "HEAD") or "HEAD"
    return Head(branch, repo.ask("rev-parse", "--verify", "-q", "HEAD^{commit}") or "")


def contains(repo: Repo, branch: str, commit: str) -> bool:
    """Return whether a branch has a commit in its history; the commit may be gone."""
    if not (repo.has_commit(branch) and repo.has_commit(commit)):
        return False
    return not repo.run("rev-list", "--max-count=1", commit, f"^{branch}").strip()


def messages_since(repo: Repo, base: str, branch: str) -> Iterator[tuple[str, str]]:
    """Yield id and message of the commits that a branch has won since `base`, newest first."""
    if not repo.has_commit(branch):
        return
    spread = [branch, f"^{base}"] if base else [branch]
    listed = repo.run("log", "-z", "--format=%H%n%B", "--no-show-signature", *spread, "--")
    for entry in listed.split(b"\0"):
        commit, _, message = os.fsdecode(entry).partition("\n")
        if commit:
            yield commit, message


def publish(steps: Sequence[Step], reason: str) -> bool:
    """Move each branch onto its new commits, and the index with it.

    Parameters
    ----------
    steps : sequence of Step
        Subdatasets before the datasets that hold them, the dataset itself last.
    reason : str
        For the reflog.

    Returns
    -------
    bool
        False when a branch is no longer where its commits were built on; then
        nothing has changed anywhere.

    Raises
    ------
    DatasetError
        When git fails; nothing has changed.
    """
    with ExitStack() as locks:
        updates = []
        for step in steps:
            if not step.tip:
                continue
            update = locks.enter_context(IndexUpdate(step.repo))
            if read_head(step.repo) != step.head:
                return False
            update.prepare(step.changes)
            updates.append(update)
        is_published = False
        try:
            is_published = all(_move(step, reason) for step in steps)
        finally:
            # an interrupt may have come after the last branch was moved
            if is_published or _is_moved(steps[-1]):
                for update in updates:
                    update.install()
            else:
                _move_back(steps, reason)
        return is_published


def _move(step: Step, reason: str) -> bool:
    """Move a branch from where it was to its tip; return False if it is no longer there.

    A compare-and-swap: what somebody committed meanwhile is never lost.
    """
    branch, old = step.head.branch, step.head.commit
    if step.branches:
        new = "".join(f"create {name} {commit}\n" for name, commit in step.branches.items())
        step.repo.run("update-ref", "-m", reason, "--stdin", input=new.encode())
    if not step.tip:
        return True
    try:
        # an empty old value means that the ref must not exist
        step.repo.run("update-ref", "-m", reason, *_no_deref(branch), branch, step.tip, old)
    except DatasetError:
        now = step.repo.ask("rev-parse", "--verify", "-q", f"{branch}^{{commit}}") or ""
        if now == old:
            raise
        return False
    return True


def _is_moved(step: Step) -> bool:
    if step.tip:
        return read_head(step.repo).commit == step.tip
    return all(contains(step.repo, name, commit) for name, commit in step.branches.items())


def free_branch_names(repo: Repo, wanted: Iterable[str]) -> dict[str, str]:
    """Return names for new branches: those wanted, with a number where there is one already."""
    prefix = "refs/heads/"
    listed = os.fsdecode(repo.run("for-each-ref", "--format=%(refname)", prefix))
    taken = set(listed.split())
    names: dict[str, str] = {}
    for name in wanted:
        tries = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
        names[name] = next(each for each in tries if prefix + each not in taken)
        taken.add(prefix + names[name])
    return names


def _move_back(steps: Sequence[Step], reason: str) -> None:
    """Undo the moves of a publication that did not come to its end."""
    for step in steps:
        branch = step.head.branch
        if step.tip and read_head(step.repo) == Head(branch, step.tip):
            old = step.head.commit
            move = [branch, old, step.tip] if old else ["-d", branch, step.tip]
            step.repo.run("update-ref", "-m", f"{reason}, undone", *_no_deref(branch), *move)


def _no_deref(branch: str) -> list[str]:
    return ["--no-deref"] if branch == "HEAD" else []
