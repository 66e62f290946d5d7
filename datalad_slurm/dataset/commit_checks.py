"""Have git tell what commits hold, and compare that with the plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from datalad_slurm.dataset.diff import NOTHING, changes_of_commits
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.objects import DIRECTORY_MODE
from datalad_slurm.dataset.stage import Change
from datalad_slurm.dataset.tree import SUBDATASET_MODE, TreeReader
from datalad_slurm.jobs.claims import is_below
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["PlannedCommit", "check_blobs", "check_commits"]

#: git compares directories entry by entry: so much of them, in bytes, takes it 0.3 s.
_MOST_COMPARED = 128 * 2**20


class PlannedCommit(NamedTuple):
    """A commit that was built, and what it was to be."""

    oid: str
    parents: tuple[str, ...]
    changes: Sequence[Change]


@dataclass
class _Step:
    """What some commits, each the next one's parent, change together."""

    #: before the first of them; nothing where that has no parent
    before: str
    last: str
    #: mode and blob from then on, by path
    wanted: dict[str, tuple[str, str]] = field(default_factory=dict)
    _directories: set[str] = field(default_factory=set)

    def add(self, commit: PlannedCommit) -> None:
        """Let a commit follow."""
        self.last = commit.oid
        for change in sorted(commit.changes, key=lambda change: not change.is_deletion):
            parents = list(_directories_of(change.path))
            # a file takes the place of a directory, or the reverse
            gone = [parent for parent in parents if change.mode and parent in self.wanted]
            if change.path in self._directories:
                gone += [path for path in self.wanted if is_below(path, change.path)]
            self.wanted.update(dict.fromkeys(gone, NOTHING))
            self.wanted[change.path] = (change.mode, change.blob)
            self._directories.update(parents)


def _directories_of(path: str) -> Iterator[str]:
    for position, character in enumerate(path):
        if character == "/":
            yield path[:position]


def check_blobs(repo: Repo, changes: Iterable[Change]) -> None:
    """Make sure that git has what commits are to hold.

    Raises
    ------
    DatasetError
        When it does not.
    """
    blobs = {each.blob: each.path for each in changes if each.mode not in ("", SUBDATASET_MODE)}
    if not blobs:
        return
    told = repo.run("cat-file", "--batch-check", input="\n".join(blobs).encode())
    for (blob, path), line in zip(blobs.items(), told.decode().splitlines(), strict=True):
        if line.split()[:2] != [blob, "blob"]:
            raise DatasetError(f"git does not have the content that '{path}' is to hold")


def check_commits(repo: Repo, commits: Sequence[PlannedCommit], size: int) -> None:
    """Make sure that commits change what they are to change, and nothing else.

    Where directories are very large, not each of them is compared with the one before, but
    one of several, with the one that many before: what they change together. So nothing is
    lost or added, but what is in the wrong one of several would not be found.

    Parameters
    ----------
    repo : Repo
        The repository.
    commits : sequence of PlannedCommit
        Parents first.
    size : int
        Bytes of all directories in which these commits differ.

    Raises
    ------
    DatasetError
        When git fails, or one does not.
    """
    steps = _steps(commits, max(1, -(-size // _MOST_COMPARED)))
    before = {step.last: step.before for step in steps}
    seen = changes_of_commits(repo, before, before)
    for step in steps:
        _check(repo, step, {each.path: each.new for each in seen[step.last]})
    _check_parents(repo, commits)


def _steps(commits: Sequence[PlannedCommit], length: int) -> list[_Step]:
    """Return commits in groups, each in a row, of a length at most."""
    steps: list[_Step] = []
    count = 0
    for commit in commits:
        before = commit.parents[0] if commit.parents else ""
        follows = steps and commit.parents == (steps[-1].last,)
        # without a parent, git compares it with nothing only by itself
        if not follows or not steps[-1].before or count == length:
            steps.append(_Step(before, commit.oid))
            count = 0
        steps[-1].add(commit)
        count += 1
    return steps


def _check(repo: Repo, step: _Step, seen: Mapping[str, tuple[str, str]]) -> None:
    wanted = step.wanted
    for path, found in seen.items():
        # a file that became a directory, or the reverse, takes what was there with it
        replaced = not found[0] and any(is_below(path, p) or is_below(p, path) for p in wanted)
        if found != wanted.get(path) and not replaced:
            raise DatasetError(f"the commit built for '{path}' does not hold what was staged")
    unchanged = [path for path in wanted if path not in seen]
    if not unchanged:
        return
    with TreeReader(repo, step.last) as tree:
        for path in unchanged:
            found = tree.lookup(path) or NOTHING
            if (NOTHING if found[0] == DIRECTORY_MODE else found) != wanted[path]:
                raise DatasetError(f"the commit built for '{path}' does not hold what was staged")


def _check_parents(repo: Repo, commits: Sequence[PlannedCommit]) -> None:
    asked = "".join(f"{commit.oid}\n" for commit in commits)
    told = repo.run("rev-list", "--no-walk=unsorted", "--parents", "--stdin", input=asked.encode())
    parents = {oid: tuple(rest) for oid, *rest in map(str.split, told.decode().splitlines())}
    for commit in commits:
        if parents.get(commit.oid) != commit.parents:
            raise DatasetError(f"git does not have commit {commit.oid} as it was built")
