"""Publish the commits of jobs in all repositories at once, and forget the jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datalad_slurm.dataset.commits import drop_private_refs
from datalad_slurm.dataset.publish import Step, free_branch_names, publish
from datalad_slurm.dataset.worktree import put_back
from datalad_slurm.jobs.errors import PublicationError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.plan import Shape
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.tracking import publications
from datalad_slurm.tracking.publications import Publication
from datalad_slurm.workflow.context import Context, lgr
from datalad_slurm.workflow.levels import Level, Parcel, build_levels
from datalad_slurm.workflow.packed_directories import note_packed_in, take_away

__all__ = ["JOB_BRANCH", "Published", "publish_parcels"]

#: How often commits are built anew because somebody else moved a branch.
_ATTEMPTS = 10
#: Full name of a job's own branch, without the job's id.
JOB_BRANCH = "refs/heads/slurm-job-branch-"


@dataclass(frozen=True)
class Published:
    """What became of the parcels."""

    #: in the dataset itself, in the order of the parcels
    commits: Sequence[str]
    #: names of the jobs' own branches, in the same order, if there are any
    branches: Sequence[str] = ()
    #: commits that merge those of the jobs
    merges: Sequence[str] = ()


def publish_parcels(context: Context, parcels: Sequence[Parcel], shape: Shape) -> Published:
    """Build one commit a parcel, move the branches, and forget the jobs.

    Raises
    ------
    PublicationError
        When others move the branches faster than commits are built.
    DatasetError
        When git fails; all jobs are still open.
    """
    database = context.tracker.database
    reason = f"slurm-finish: {len(parcels)} job(s)"
    jobs = [parcel.findings.job for parcel in parcels]
    if len(parcels) == 1 and shape is Shape.OCTOPUS:
        shape = Shape.CHAIN  # there is nothing to merge
    packed = [each for parcel in parcels for each in parcel.findings.packed]
    names = {"", *(name for parcel in parcels for name in parcel.changes)}
    names.update(context.hierarchy.holder(each.archive) for each in packed)
    committed = {path for parcel in parcels for path in parcel.findings.paths}
    note_packed_in(context, packed, names, committed)
    for _ in range(_ATTEMPTS):
        levels = build_levels(context, parcels, shape)
        top = levels[-1]
        if shape is Shape.BRANCHES:
            wanted = [f"{JOB_BRANCH.removeprefix('refs/heads/')}{job.job_id}" for job in jobs]
            free = free_branch_names(context.repo, wanted)
            top.branches = {
                f"refs/heads/{free[name]}": top.ids[number] for number, name in enumerate(wanted)
            }
        publications.note(
            database,
            [each for level in levels for each in _noted(level, jobs)],
        )
        steps = [_step(context, level) for level in levels]
        if publish(steps, reason):
            for name in names:
                take_away(context, name, is_checked_out=bool(name or not top.branches))
            if top.branches:  # before the jobs are forgotten, so that the next finish can go on
                _put_back(context, top)
            publications.complete(database, (job.id for job in jobs))
            _tidy(context, levels)
            ids = [top.ids[number] for number in range(len(parcels))]
            return Published(ids, list(top.branches), top.merges)
        publications.withdraw(database)
        lgr.info("a branch has moved meanwhile; building the commits on its new tip")
    raise PublicationError(
        f"the branch was moved by others {_ATTEMPTS} times while the commits were built; run "
        "`datalad slurm-finish` again when that has stopped; all jobs are still open"
    )


def _noted(level: Level, jobs: Sequence[TrackedJob]) -> list[Publication]:
    base = level.head.commit
    if level.branches:
        return [
            Publication("", branch, base, commit, (job.id,), _parts([job]))
            for (branch, commit), job in zip(level.branches.items(), jobs, strict=True)
        ]
    held = [jobs[number] for number in level.ids]
    ids = tuple(job.id for job in held)
    return [Publication(level.name, level.head.branch, base, level.tip, ids, _parts(held))]


def _parts(jobs: Iterable[TrackedJob]) -> dict[int, tuple[TaskId, ...]]:
    return {job.id: job.leaving for job in jobs if job.leaving}


def _step(context: Context, level: Level) -> Step:
    repo = context.hierarchy.repo(level.name)
    if level.branches:
        return Step(repo, level.head, "", (), level.branches)
    return Step(repo, level.head, level.tip, level.changes)


def _tidy(context: Context, levels: Sequence[Level]) -> None:
    for level in levels:
        drop_private_refs(context.hierarchy.repo(level.name))
        if level.head.branch == "HEAD" and not level.branches:
            where = f"subdataset '{level.name}'" if level.name else "dataset"
            lgr.warning("HEAD of the %s is detached: no branch holds the new commits", where)


def _put_back(context: Context, top: Level) -> None:
    left = put_back(context.repo, top.head.commit, top.changes)
    if left:
        lgr.warning(
            "%s file(s) are on their branches, but could not be taken out of the working "
            "tree, such as '%s'",
            len(left),
            left[0],
        )
