"""Find the jobs of a submission of which nothing was heard, by their token."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from datalad_slurm.jobs.errors import AccountingDisabledError, QueryFailedError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.sbatch_options import clusters
from datalad_slurm.slurm import sacct, squeue
from datalad_slurm.slurm.clusters import known_clusters, own_cluster
from datalad_slurm.workflow.context import Context
from datalad_slurm.workflow.scripts import with_directives

__all__ = ["find_by_token"]


def find_by_token(
    context: Context, claim: TrackedJob, notes: Path, *, patient: bool = True
) -> list[SlurmJob]:
    """Return the jobs that Slurm took with the token of a claim.

    Looked for on the own cluster, and on those to which sbatch was told to
    send the job.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        The claim that may have a job.
    notes : Path
        Directory with the notes of the submission.
    patient : bool
        Whether to wait for the accounting where only that can know the job.

    Raises
    ------
    QueryFailedError
        When Slurm does not answer.
    """
    timeout = context.settings.query_timeout
    calls = [begun.read_text(errors="replace").splitlines() for begun in notes.glob("*.begun")]
    comments = {
        cluster: squeue.find_comments(cluster, timeout)
        for cluster in _clusters(calls, context.repo.root / claim.pwd, timeout)
    }
    found = [
        SlurmJob(job_id, cluster, claim.claimed_at)
        for cluster, held in comments.items()
        for job_id, comment in held.items()
        if comment == claim.submission
    ]
    if found:
        return found
    # A comment of the user's own replaces ours, but the submit line holds both.
    has_own_comment = any(word.startswith("--com") for words in calls for word in words)
    while True:
        try:
            found = [
                SlurmJob(job_id, cluster, claim.claimed_at)
                for cluster, held in comments.items()
                for job_id in sacct.find_token(
                    claim.submission, claim.claimed_at, held, cluster, timeout
                )
            ]
        except AccountingDisabledError:
            # where there is none, the script is a runner that lies among our notes
            return [
                SlurmJob(job_id, cluster, claim.claimed_at)
                for cluster in comments
                for job_id in squeue.find_in_command(claim.submission, cluster, timeout)
            ]
        except QueryFailedError:
            if has_own_comment:
                raise
            return []
        waits = patient and has_own_comment and time.time() < claim.claimed_at + sacct.LONGEST_LAG
        if found or not waits:
            return found
        time.sleep(1)


def _clusters(calls: list[list[str]], cwd: Path, timeout: float) -> list[str]:
    """Return where jobs may be: the own cluster, as the empty name, and all that were named."""
    named = {name for words in calls for name in _named_clusters(words, cwd)}
    if "all" in named:
        named = {*named - {"all"}, *known_clusters(timeout)}
    return ["", *sorted(named - {own_cluster(timeout)})] if named else [""]


def _named_clusters(words: list[str], cwd: Path) -> Iterator[str]:
    """Yield the clusters that one call of sbatch named, in one of the ways of sbatch(1)."""
    for variable in ("SBATCH_CLUSTERS", "SLURM_CLUSTERS"):
        yield from filter(None, os.environ.get(variable, "").split(","))
    for options, _ in with_directives(["sbatch", *words], cwd):
        yield from clusters(options)
