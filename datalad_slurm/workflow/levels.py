"""From parcels to commits: what is built in the dataset and in each subdataset."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from datalad_slurm.dataset.commits import NewCommit, build
from datalad_slurm.dataset.index import not_checked_out
from datalad_slurm.dataset.publish import Head, read_head
from datalad_slurm.dataset.stage import Change
from datalad_slurm.dataset.tree import SUBDATASET_MODE, TreeReader
from datalad_slurm.jobs.claims import is_below, top_of
from datalad_slurm.jobs.notes import COMMITTED_IN
from datalad_slurm.jobs.plan import Shape
from datalad_slurm.workflow.collect import Findings
from datalad_slurm.workflow.context import Context

__all__ = ["Level", "Parcel", "build_levels"]

#: git's own tools make no commit of more than 16 parents (git-fast-import(1), "merge").
_MERGED_AT_ONCE = 15


@dataclass(frozen=True)
class Parcel:
    """One job, ready to be committed."""

    findings: Findings
    message: str
    #: by subdataset; paths relative to it
    changes: Mapping[str, tuple[Change, ...]]

    def committed_in(self, name: str) -> str:
        """Return the commit that an interrupted finish has made of the job in a subdataset."""
        return str(self.findings.job.extra.get(COMMITTED_IN, {}).get(name, ""))


@dataclass
class Level:
    """One repository, and what is built there; commits by the position of their parcel."""

    #: path relative to the root; empty for the dataset itself
    name: str
    head: Head
    commits: dict[int, NewCommit] = field(default_factory=dict)
    ids: dict[int, str] = field(default_factory=dict)
    #: commits that merge those of the jobs
    merges: list[str] = field(default_factory=list)
    #: commits by the full name of the branch of its own that each job gets; the branch that is
    #: checked out stays where it is then
    branches: dict[str, str] = field(default_factory=dict)

    @property
    def tip(self) -> str:
        """The last commit."""
        return self.merges[-1] if self.merges else self.ids[max(self.commits)]

    @property
    def changes(self) -> tuple[Change, ...]:
        """All that the commits change."""
        return tuple(change for commit in self.commits.values() for change in commit.changes)


def build_levels(context: Context, parcels: Sequence[Parcel], shape: Shape) -> list[Level]:
    """Build the commits of each repository, subdatasets before what holds them.

    In subdatasets they always are a chain.
    """
    levels: dict[str, Level] = {}
    for name in _names(context, parcels):
        repo = context.hierarchy.repo(name)
        level = Level(name, read_head(repo))
        links = _links(context, name, levels, parcels)
        gone = _gone(context, name, parcels, level.head.commit)
        for position, parcel in enumerate(parcels):
            changes = (
                *parcel.changes.get(name, ()),
                *links[position],
                *(Change(path) for path in gone[position]),
            )
            if changes or not name:
                level.commits[position] = NewCommit(parcel.message, changes)
            elif known := parcel.committed_in(name):
                level.ids[position] = known
        if level.commits:
            commits = _arranged(level, shape if not name else Shape.CHAIN, parcels)
            ids = build(repo, uuid.uuid4().hex, level.head.commit, commits)
            level.ids |= dict(zip(level.commits, ids, strict=False))
            level.merges = ids[len(level.commits) :]
        levels[name] = level
    return [level for level in levels.values() if level.commits]


def _arranged(level: Level, shape: Shape, parcels: Sequence[Parcel]) -> list[NewCommit]:
    """Return the commits to build with their parents, and those that merge them."""
    commits, base = list(level.commits.values()), level.head.commit
    if shape is Shape.CHAIN:
        return commits
    start = (base,) if base else ()
    commits = [replace(commit, parents=start) for commit in commits]
    if shape is Shape.BRANCHES:
        return commits
    trunk: tuple[str | int, ...] = start
    for first in range(0, len(parcels), _MERGED_AT_ONCE):
        members = range(first, min(first + _MERGED_AT_ONCE, len(parcels)))
        # a subdataset is in several of them: the last one has all commits
        changes = {change.path: change for each in members for change in commits[each].changes}
        jobs = ", ".join(parcels[each].findings.job.label for each in members)
        message = f"Merge the commits of Slurm jobs {jobs}\n"
        commits.append(NewCommit(message, tuple(changes.values()), (*trunk, *members)))
        trunk = (len(commits) - 1,)
    return commits


def _names(context: Context, parcels: Sequence[Parcel]) -> list[str]:
    """Return the repositories concerned, each before the one that holds it."""
    names = {""}
    for parcel in parcels:
        touched = {*parcel.changes, *parcel.findings.job.extra.get(COMMITTED_IN, ())}
        for output in parcel.findings.job.outputs:
            touched.update(context.hierarchy.around(top_of(output)))
        for name in touched:
            while name and name not in names and context.hierarchy.is_here(name):
                names.add(name)
                name = context.hierarchy.holder(name)  # noqa: PLW2901 - on its way up
    return sorted(names, key=lambda name: (-len(name.split("/")) if name else 0, name))


def _links(
    context: Context, name: str, levels: Mapping[str, Level], parcels: Sequence[Parcel]
) -> list[list[Change]]:
    """Return, for each parcel, what a repository notes of the commits in its subdatasets."""
    links: list[list[Change]] = [[] for _ in parcels]
    for child in levels.values():
        if child.name and context.hierarchy.holder(child.name) == name:
            path = context.hierarchy.within(name, child.name)
            for position, commit in child.ids.items():
                if position not in child.commits and parcels[position].committed_in(name):
                    continue  # an interrupted finish has noted it there as well
                links[position].append(Change(path, SUBDATASET_MODE, commit))
    return links


def _gone(context: Context, name: str, parcels: Sequence[Parcel], base: str) -> list[list[str]]:
    """Return, for each parcel, what was committed in a repository and its job took away."""
    repo, hierarchy = context.hierarchy.repo(name), context.hierarchy
    gone: list[list[str]] = []
    with TreeReader(repo, base) as tree:
        for parcel in parcels:
            job = parcel.findings.job
            packed = [each.path for each in parcel.findings.packed]
            # links that scheduling removed, and the job has not written, were not taken away;
            # but of a packed directory the commit holds what the archive does
            removed = (
                path
                for path in job.extra.get("removed_outputs", ())
                if not any(is_below(path, top) for top in packed)
            )
            kept = {*parcel.findings.paths, *removed}
            below = (path for output in job.outputs for path in tree.files_claimed(output, name))
            gone.append(
                [
                    path
                    for path in dict.fromkeys(below)
                    if (full := f"{name}/{path}" if name else path) not in kept
                    and hierarchy.holder(full) == name
                    and (any(is_below(full, top) for top in packed) or _is_gone(context, full))
                ]
            )
    left_out = not_checked_out(repo, [path for paths in gone for path in paths])
    return [[path for path in paths if path not in left_out] for paths in gone]


def _is_gone(context: Context, path: str) -> bool:
    target = context.repo.root / path
    # below a link or a file that took the place of a directory there is nothing of this name
    behind_link = any((context.repo.root / parent).is_symlink() for parent in _parents(path))
    return behind_link or not (target.is_symlink() or target.exists())


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
