"""Build commits from explicit paths, without an index or a checkout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from datalad_slurm.dataset.commit_checks import PlannedCommit, check_blobs, check_commits
from datalad_slurm.dataset.commit_objects import Parents, Roots, author_lines, write_commit
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.objects import ObjectReader
from datalad_slurm.dataset.pack_store import drop_keeps
from datalad_slurm.dataset.packfile import Packfile
from datalad_slurm.dataset.stage import Change

__all__ = ["NewCommit", "build", "check_identity", "drop_private_refs"]


@dataclass(frozen=True)
class NewCommit:
    """One commit to build: its message, and what changes against its first parent."""

    message: str
    changes: tuple[Change, ...]
    #: ids, or positions of commits that are built before this one; when not given, the one
    #: before, or the base for the first
    parents: Parents | None = None


def check_identity(repo: Repo) -> None:
    """Make sure that git knows whom to name as author and committer.

    Raises
    ------
    DatasetError
        With git's own advice when it does not.
    """
    author_lines(repo)


def build(repo: Repo, name: str, base: str, commits: Sequence[NewCommit]) -> list[str]:
    """Build commits under private refs, and check them; see `commit_checks`.

    Parameters
    ----------
    repo : Repo
        The repository.
    name : str
        Last part of the private refs' names; must be new.
    base : str
        Commit to build the first one on, empty in a repository that has none.
    commits : sequence of NewCommit
        What to build, oldest first.

    Returns
    -------
    list of str
        The ids of the new commits, in the same order.

    Raises
    ------
    DatasetError
        When git fails, or when commits do not hold exactly what they should.

    Notes
    -----
    No hook runs, and nothing is signed.
    """
    check_blobs(repo, (change for commit in commits for change in commit.changes))
    who = author_lines(repo)
    pack = Packfile(repo)
    built: list[PlannedCommit] = []
    parents = _parents(base, commits)
    with ObjectReader(repo) as reader:
        for known in dict.fromkeys(each for group in parents for each in group):
            if isinstance(known, str):
                reader.require(known, "commit")
        roots = Roots(reader, pack.id_size, parents)
        for commit, its_parents in zip(commits, parents, strict=True):
            entries = ((change.path, change.mode, change.blob) for change in commit.changes)
            root = roots.grown_from(its_parents, entries)
            named = tuple(built[p].oid if isinstance(p, int) else p for p in its_parents)
            oid = write_commit(pack, root, named, who, commit.message)
            built.append(PlannedCommit(oid, named, commit.changes))
    ids = [commit.oid for commit in built]
    inner = {ids[each] for group in parents for each in group if isinstance(each, int)}
    tips = [oid for oid in dict.fromkeys(ids) if oid not in inner]
    refs = "".join(f"create {repo.private_refs}{name}-{oid} {oid}\n" for oid in tips)
    with pack.handed_over():
        repo.run("update-ref", "--stdin", input=refs.encode())
    check_commits(repo, built, pack.identified)
    return ids


def _parents(base: str, commits: Sequence[NewCommit]) -> list[Parents]:
    """Return the parents of each commit: ids, or positions of those that are built before."""
    before: list[Parents] = [(base,) if base else ()]
    before += [(position,) for position in range(len(commits) - 1)]
    return [
        chained if commit.parents is None else commit.parents
        for commit, chained in zip(commits, before, strict=False)
    ]


def drop_private_refs(repo: Repo) -> None:
    """Drop what builds have left; only for the one process that may build."""
    drop_keeps(repo)
    listed = os.fsdecode(repo.run("for-each-ref", "--format=%(refname)", repo.private_refs))
    if refs := listed.split():
        repo.run("update-ref", "--stdin", input="".join(f"delete {ref}\n" for ref in refs).encode())
