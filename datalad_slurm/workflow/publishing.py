"""From parcels to commits: built, noted, and published in all repositories at once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from datalad_slurm.dataset.commits import NewCommit, build, drop_private_refs
from datalad_slurm.dataset.index import not_checked_out
from datalad_slurm.dataset.publish import Head, Step, publish, read_head
from datalad_slurm.dataset.stage import Change
from datalad_slurm.dataset.tree import TreeReader
from datalad_slurm.jobs.claims import is_below
from datalad_slurm.jobs.errors import PublicationError
from datalad_slurm.tracking import publications
from datalad_slurm.tracking.publications import Publication
from datalad_slurm.workflow.collect import Findings
from datalad_slurm.workflow.context import Context, lgr

__all__ = ["COMMITTED_IN", "Parcel", "publish_parcels"]

#: How often commits are built anew because somebody else moved a branch.
_ATTEMPTS = 10
_SUBDATASET_MODE = "160000"
#: Key of what an interrupted finish has committed in subdatasets, in a job's extra notes.
COMMITTED_IN = "committed_in"


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
class _Level:
    """One repository: what is built there, each commit by the position of its parcel."""

    name: str
    head: Head
    commits: dict[int, NewCommit]
    ids: dict[int, str]


def publish_parcels(context: Context, parcels: Sequence[Parcel]) -> list[str]:
    """Build one commit a parcel, move the branches, and forget the jobs.

    Returns
    -------
    list of str
        The commits in the dataset itself, in the order of the parcels.

    Raises
    ------
    PublicationError
        When others move the branches faster than commits are built.
    DatasetError
        When git fails; all jobs are still open.
    """
    database = context.tracker.database
    reason = f"slurm-finish: {len(parcels)} job(s)"
    tracked_ids = [parcel.findings.job.id for parcel in parcels]
    for _ in range(_ATTEMPTS):
        levels = _build(context, parcels)
        publications.note(
            database,
            (
                Publication(
                    level.name,
                    level.head.branch,
                    level.head.commit,
                    _tip(level),
                    tuple(tracked_ids[position] for position in level.ids),
                )
                for level in levels
            ),
        )
        if publish([_step(context, level) for level in levels], reason):
            publications.complete(database, tracked_ids)
            for level in levels:
                drop_private_refs(context.hierarchy.repo(level.name))
                if level.head.branch == "HEAD":
                    where = f"subdataset '{level.name}'" if level.name else "dataset"
                    lgr.warning(
                        "HEAD of the %s is detached: no branch holds the new commits", where
                    )
            return [levels[-1].ids[position] for position in range(len(parcels))]
        publications.withdraw(database)
        lgr.info("a branch has moved meanwhile; building the commits on its new tip")
    raise PublicationError(
        f"the branch was moved by others {_ATTEMPTS} times while the commits were built; run "
        "`datalad slurm-finish` again when that has stopped; all jobs are still open"
    )


def _build(context: Context, parcels: Sequence[Parcel]) -> list[_Level]:
    """Build the commits of each repository, subdatasets before what holds them."""
    levels: dict[str, _Level] = {}
    for name in _names(context, parcels):
        repo = context.hierarchy.repo(name)
        level = _Level(name, read_head(repo), {}, {})
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
            ids = build(repo, uuid.uuid4().hex, level.head.commit, list(level.commits.values()))
            level.ids |= dict(zip(level.commits, ids, strict=True))
        levels[name] = level
    return [level for level in levels.values() if level.commits]


def _names(context: Context, parcels: Sequence[Parcel]) -> list[str]:
    """Return the repositories concerned, each before the one that holds it."""
    names = {""}
    for parcel in parcels:
        touched = {*parcel.changes, *parcel.findings.job.extra.get(COMMITTED_IN, ())}
        for output in parcel.findings.job.outputs:
            touched.update(context.hierarchy.around(output))
        for name in touched:
            while name and name not in names and context.hierarchy.is_here(name):
                names.add(name)
                name = context.hierarchy.holder(name)  # noqa: PLW2901 - on its way up
    return sorted(names, key=lambda name: (-len(name.split("/")) if name else 0, name))


def _links(
    context: Context, name: str, levels: Mapping[str, _Level], parcels: Sequence[Parcel]
) -> list[list[Change]]:
    """Return, for each parcel, what a repository notes of the commits in its subdatasets."""
    links: list[list[Change]] = [[] for _ in parcels]
    for child in levels.values():
        if child.name and context.hierarchy.holder(child.name) == name:
            path = context.hierarchy.within(name, child.name)
            for position, commit in child.ids.items():
                if position not in child.commits and parcels[position].committed_in(name):
                    continue  # an interrupted finish has noted it there as well
                links[position].append(Change(path, _SUBDATASET_MODE, commit))
    return links


def _tip(level: _Level) -> str:
    return level.ids[max(level.commits)]


def _step(context: Context, level: _Level) -> Step:
    changes = tuple(change for commit in level.commits.values() for change in commit.changes)
    return Step(context.hierarchy.repo(level.name), level.head, _tip(level), changes)


def _gone(context: Context, name: str, parcels: Sequence[Parcel], base: str) -> list[list[str]]:
    """Return, for each parcel, what was committed in a repository and its job took away."""
    repo, hierarchy = context.hierarchy.repo(name), context.hierarchy
    gone: list[list[str]] = []
    with TreeReader(repo, base) as tree:
        for parcel in parcels:
            job = parcel.findings.job
            # links that scheduling removed, and the job has not written, were not taken away
            kept = {*parcel.findings.paths, *job.extra.get("removed_outputs", ())}
            below = (
                path
                for output in job.outputs
                if (top := _within(name, output)) is not None
                for path in tree.files_below(top)
            )
            gone.append(
                [
                    path
                    for path in dict.fromkeys(below)
                    if (full := f"{name}/{path}" if name else path) not in kept
                    and hierarchy.holder(full) == name
                    and _is_gone(context, full)
                ]
            )
    left_out = not_checked_out(repo, [path for paths in gone for path in paths])
    return [[path for path in paths if path not in left_out] for paths in gone]


def _within(name: str, output: str) -> str | None:
    """Return what an output is to a subdataset: a path in it, all of it (empty), or None."""
    if not name or output == name:
        return output if not name else ""
    if is_below(output, name):
        return output[len(name) + 1 :]
    return "" if is_below(name, output) else None


def _is_gone(context: Context, path: str) -> bool:
    target = context.repo.root / path
    # below a link or a file that took the place of a directory there is nothing of this name
    behind_link = any((context.repo.root / parent).is_symlink() for parent in _parents(path))
    return behind_link or not (target.is_symlink() or target.exists())


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
