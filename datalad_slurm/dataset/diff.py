"""What commits change, in git's raw form."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from datalad_slurm.dataset.git import Repo

__all__ = ["NOTHING", "Difference", "changes_of_commits", "differences"]

#: mode and object id of what is not there
NOTHING = ("", "")
#: Fewer commits are not worth a process.
_FEWEST = 200
#: A login node has many processors, and many users.
_MOST_PROCESSES = 4


@dataclass(frozen=True)
class Difference:
    """What two trees hold at one path: mode and object id each, or two empty texts."""

    path: str
    old: tuple[str, str]
    new: tuple[str, str]


def differences(repo: Repo, old: str, new: str) -> list[Difference]:
    """Return where two commits differ; an empty `old` stands for an empty tree."""
    if not old:
        old = repo.run("hash-object", "-t", "tree", "--stdin", input=b"").decode().strip()
    listed = repo.run("diff-tree", "-r", "-z", "--no-renames", old, new)
    return [difference for group in _parsed(listed).values() for difference in group]


def changes_of_commits(
    repo: Repo, commits: Iterable[str], before: Mapping[str, str]
) -> dict[str, list[Difference]]:
    """Return what each of some commits changes.

    Parameters
    ----------
    repo : Repo
        The repository.
    commits : iterable of str
        Their ids.
    before : mapping
        By commit, against which other one; where there is none, against its parent. Of merges,
        one must be given.
    """
    commits = list(commits)

    def listed(some: Sequence[str]) -> bytes:
        lines = (f"{each} {before.get(each, '')}\n" for each in some)
        return repo.run(
            "diff-tree", "--stdin", "-r", "-z", "--root", "--no-renames",
            input="".join(lines).encode(),
        )  # fmt: skip

    changes: dict[str, list[Difference]] = {}
    # neighbours go to the same process: of what it has unpacked for one, the next is made
    processes = min(_MOST_PROCESSES, os.cpu_count() or 1)
    share = max(_FEWEST, -(-len(commits) // processes))
    shares = [commits[start : start + share] for start in range(0, len(commits), share)]
    with ThreadPoolExecutor(processes) as pool:
        for each in pool.map(listed, shares):
            changes |= _parsed(each)
    return {commit: changes.get(commit, []) for commit in commits}


def _parsed(listed: bytes) -> dict[str, list[Difference]]:
    """Return differences by the commit that heads them (git-diff-tree(1), "RAW OUTPUT FORMAT")."""
    found: dict[str, list[Difference]] = {}
    current = ""
    fields = iter(listed.split(b"\0"))
    for field in fields:
        if not field:
            continue
        if not field.startswith(b":"):
            current = field.decode().split()[0]
            continue
        old_mode, mode, old_blob, blob, _ = field[1:].decode().split(" ")
        found.setdefault(current, []).append(
            Difference(
                os.fsdecode(next(fields)),
                (old_mode, old_blob) if int(old_mode) else NOTHING,
                (mode, blob) if int(mode) else NOTHING,
            )
        )
    return found
