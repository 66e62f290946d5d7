"""Build commits from explicit paths, without an index or a checkout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from datalad_slurm.dataset.commit_objects import Parents, Roots, identity, write_commit
from datalad_slurm.dataset.diff import changes_of_commits
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.identity import object_format
from datalad_slurm.dataset.objects import ObjectReader
from datalad_slurm.dataset.packfile import Packfile, drop_keeps
from datalad_slurm.dataset.stage import Change
from datalad_slurm.dataset.tree import SUBDATASET_MODE, TreeReader
from datalad_slurm.jobs.claims import is_below
from datalad_slurm.jobs.errors import DatasetError

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
    """Make sure that git knows whom to name as the author.

    Raises
    ------
    DatasetError
        With git's own advice when it does not.
    """
    repo.run("var", "GIT_COMMITTER_IDENT")


def build(repo: Repo, name: str, base: str, commits: Sequence[NewCommit]) -> list[str]:
    """Build commits under private refs, and check each of them.

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
        When git fails, or when a commit does not hold exactly what it should.

    Notes
    -----
    No hook runs, and nothing is signed.
    """
    _check_blobs(repo, commits)
    who = identity(repo)
    pack = Packfile(object_format(repo))
    ids: list[str] = []
    parents = _parents(base, commits)
    with ObjectReader(repo) as reader:
        for known in dict.fromkeys(each for group in parents for each in group):
            if isinstance(known, str):
                reader.require(known, "commit")
        roots = Roots(reader, pack.id_size, parents)
        for commit, its_parents in zip(commits, parents, strict=True):
            entries = ((change.path, change.mode, change.blob) for change in commit.changes)
            root = roots.grown_from(its_parents, entries)
            named = [ids[each] if isinstance(each, int) else each for each in its_parents]
            ids.append(write_commit(pack, root, named, who, commit.message))
    inner = {ids[each] for group in parents for each in group if isinstance(each, int)}
    tips = [oid for oid in dict.fromkeys(ids) if oid not in inner]
    refs = "".join(f"create {repo.private_refs}{name}-{oid} {oid}\n" for oid in tips)
    with pack.handed_over(repo):
        repo.run("update-ref", "--stdin", input=refs.encode())
    _verify(repo, dict(zip(ids, commits, strict=True)), ids)
    return ids


def _check_blobs(repo: Repo, commits: Sequence[NewCommit]) -> None:
    """Make sure that git has what the commits are to hold."""
    changes = (change for commit in commits for change in commit.changes)
    blobs = {each.blob: each.path for each in changes if each.mode not in ("", SUBDATASET_MODE)}
    if not blobs:
        return
    told = repo.run("cat-file", "--batch-check", input="\n".join(blobs).encode())
    for (blob, path), line in zip(blobs.items(), told.decode().splitlines(), strict=True):
        if line.split()[:2] != [blob, "blob"]:
            raise DatasetError(f"git does not have the content that '{path}' is to hold")


def _parents(base: str, commits: Sequence[NewCommit]) -> list[Parents]:
    """Return the parents of each commit: ids, or positions of those that are built before."""
    before: list[Parents] = [(base,) if base else ()]
    before += [(position,) for position in range(len(commits) - 1)]
    return [
        chained if commit.parents is None else commit.parents
        for commit, chained in zip(commits, before, strict=False)
    ]


def _verify(repo: Repo, commits: dict[str, NewCommit], ids: Sequence[str]) -> None:
    merges = {
        commit: ids[first] if isinstance(first := planned.parents[0], int) else first
        for commit, planned in commits.items()
        if planned.parents and len(planned.parents) > 1
    }
    seen = changes_of_commits(repo, commits, merges)
    for commit, planned in commits.items():
        _verify_one(repo, commit, planned, {each.path: each.new for each in seen[commit]})


def _verify_one(
    repo: Repo, commit: str, planned: NewCommit, seen: dict[str, tuple[str, str]]
) -> None:
    wanted = {change.path: (change.mode, change.blob) for change in planned.changes}
    for path, found in seen.items():
        # a file that became a directory, or the reverse, takes what was there with it
        replaced = not found[0] and any(is_below(path, p) or is_below(p, path) for p in wanted)
        if found != wanted.get(path) and not replaced:
            raise DatasetError(f"the commit built for '{path}' does not hold what was staged")
    unchanged = [path for path in wanted if path not in seen]
    if not unchanged:
        return
    with TreeReader(repo, commit) as tree:
        for path in unchanged:
            if (tree.lookup(path) or ("", "")) != wanted[path]:
                raise DatasetError(f"the commit built for '{path}' does not hold what was staged")


def drop_private_refs(repo: Repo) -> None:
    """Drop what builds have left; only for the one process that may build."""
    for marks in repo.state_dir.glob("*.marks"):  # of blobs
        marks.unlink(missing_ok=True)
    drop_keeps(repo)
    listed = os.fsdecode(repo.run("for-each-ref", "--format=%(refname)", repo.private_refs))
    if refs := listed.split():
        repo.run("update-ref", "--stdin", input="".join(f"delete {ref}\n" for ref in refs).encode())
