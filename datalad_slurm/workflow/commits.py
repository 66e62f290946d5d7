"""Find the commits that jobs have become."""

from __future__ import annotations

from collections.abc import Collection

from datalad_slurm.dataset.history import read_commits
from datalad_slurm.jobs.record import recorded_job_id
from datalad_slurm.workflow.context import Context

__all__ = ["commits_of_jobs"]


def commits_of_jobs(context: Context, job_ids: Collection[int], since: str = "") -> dict[int, str]:
    """Return the latest commit of each job, on the branch at hand or on one of its own.

    Parameters
    ----------
    context : Context
        The dataset.
    job_ids : collection of int
        The jobs; those without a commit are left out.
    since : str
        Id of a commit; what is reachable from it is left out, if it is here.
    """
    from datalad_slurm.workflow.publishing import JOB_BRANCH  # much that is seldom needed

    repo = context.repo
    tips = {"HEAD": set(job_ids)} | {f"{JOB_BRANCH}{job_id}": {job_id} for job_id in job_ids}
    without = since if since and repo.has_commit(since) else ""
    found: dict[int, str] = {}
    for tip, those in tips.items():
        wanted = those - found.keys()
        if not wanted or (commit := repo.ask("rev-parse", "--verify", "-q", tip)) is None:
            continue
        ids = "|".join(map(str, sorted(wanted)))
        pattern = rf"^\[DATALAD SLURM RUN\] Slurm job ({ids})(_[^:]*)?:"
        for each in read_commits(repo, commit, without=without, pattern=pattern):
            job_id = recorded_job_id(each.message)
            if job_id in wanted:
                found[job_id] = each.id
    return found
