"""Bring to an end what a finisher that died had begun to publish."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from datalad_slurm.dataset.commits import drop_private_refs
from datalad_slurm.dataset.diff import differences
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.index import catch_up_index, drop_own_lock
from datalad_slurm.dataset.orphans import no_orphans
from datalad_slurm.dataset.publish import contains, messages_since, read_head
from datalad_slurm.dataset.stage import Change, drop_staging_index
from datalad_slurm.dataset.tree import TreeReader
from datalad_slurm.dataset.unsettled import settle_adding
from datalad_slurm.dataset.worktree import put_back
from datalad_slurm.jobs.notes import COMMITTED_IN
from datalad_slurm.jobs.record import recorded_job_id
from datalad_slurm.tracking import publications
from datalad_slurm.tracking.finisher import only_finisher
from datalad_slurm.tracking.publications import Publication
from datalad_slurm.workflow.context import Context, lgr
from datalad_slurm.workflow.packed_directories import take_away
from datalad_slurm.workflow.publishing import JOB_BRANCH

__all__ = ["no_other_finisher"]


@contextmanager
def no_other_finisher(context: Context) -> Iterator[None]:
    """Enter a time in which no other process finishes jobs, nor anything of one that died runs on.

    Jobs that such a one has committed are tracked no more.

    Raises
    ------
    DatabaseError
        When another process is at it for longer than this one is to wait.
    """
    settings = context.settings
    with (
        only_finisher(
            context.tracker.database,
            settings.finish_timeout,
            lgr.warning,
            take_over=settings.take_over,
        ),
        no_orphans(context.repo, settings.finish_timeout),
    ):
        _settle_publications(context)
        yield


def _settle_publications(context: Context) -> None:
    """Forget the jobs that an interrupted finish has committed; the others stay open."""
    repo = context.repo
    _clear(repo)
    pending = publications.pending(context.tracker.database)
    if not pending:
        return
    jobs = {job.id: job for job in context.tracker.open_jobs()}
    job_ids = {tracked_id: job.job_id for tracked_id, job in jobs.items()}
    done: set[int] = set()
    committed_in: dict[int, dict[str, str]] = {}
    for publication in pending:
        name = publication.subdataset
        if not context.hierarchy.is_here(name):
            continue
        repo = context.hierarchy.repo(name)
        if name:
            _clear(repo)
        commits = _commits_of(context, repo, publication, job_ids)
        if name:
            for tracked_id, commit in commits.items():
                committed_in.setdefault(tracked_id, {})[name] = commit
        else:
            done |= commits.keys()
    for tracked_id, commits_by_name in committed_in.items():
        if tracked_id in job_ids and tracked_id not in done:
            context.tracker.note_extra(tracked_id, {COMMITTED_IN: commits_by_name})
    if done:
        branches = {each.subdataset: each.branch for each in pending}
        earlier = (name for each in done for name in jobs[each].extra.get(COMMITTED_IN, ()))
        for name in dict.fromkeys((*branches, *earlier)):
            _take_away(context, name, branches.get(name, ""))
    publications.complete(context.tracker.database, done)
    if done:
        lgr.info("jobs that an interrupted slurm-finish had committed are closed now")


def _take_away(context: Context, name: str, branch: str) -> None:
    """Take away what was packed in a repository, of which no job is open any more."""
    if context.hierarchy.is_here(name):
        is_checked_out = read_head(context.hierarchy.repo(name)).branch == branch
        take_away(context, name, is_checked_out=is_checked_out or not branch)


def _clear(repo: Repo) -> None:
    drop_own_lock(repo)
    drop_private_refs(repo)
    drop_staging_index(repo)
    settle_adding(repo)


def _commits_of(
    context: Context, repo: Repo, publication: Publication, job_ids: Mapping[int, int]
) -> dict[int, str]:
    """Return the commits of a publication's jobs that its branch has, by tracked job.

    They may not be the ones that were published: somebody may have amended or
    rebased them. But all that they brought must still be there.
    """
    branch, base, tip = publication.branch, publication.base, publication.tip
    if contains(repo, branch, tip):
        if read_head(repo).branch == branch:
            catch_up_index(repo, base, tip)
        elif branch.startswith(JOB_BRANCH):
            take_away(context, publication.subdataset, is_checked_out=False)
            put_back(repo, base, (Change(d.path, *d.new) for d in differences(repo, base, tip)))
    elif not _has_all(repo, branch, base, tip):
        return {}
    by_job_id = {
        recorded_job_id(message): commit for commit, message in messages_since(repo, base, branch)
    }
    return {
        tracked_id: by_job_id[job_ids[tracked_id]]
        for tracked_id in publication.jobs
        if tracked_id in job_ids and job_ids[tracked_id] in by_job_id
    }


def _has_all(repo: Repo, branch: str, base: str, tip: str) -> bool:
    """Return whether a branch has something at each path that the commits up to `tip` wrote."""
    if not repo.has_commit(tip):
        return False
    with TreeReader(repo, branch) as tree:
        return all(
            tree.lookup(difference.path) is not None
            for difference in differences(repo, base, tip)
            if difference.new[0]
        )
