"""Track a job that is in Slurm already."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace

from datalad_slurm.dataset.paths import inside
from datalad_slurm.jobs.errors import InvalidRequestError, QueryFailedError
from datalad_slurm.jobs.model import SlurmJob
from datalad_slurm.jobs.names import JobName
from datalad_slurm.slurm import clusters, sacct, scontrol
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.schedule import Request, claim_of, scheduled
from datalad_slurm.workflow.submissions import settle_claims

__all__ = ["adopt_job"]

#: Seconds in which the accounting hears of a job that slurmctld has.
_ACCOUNTING_LAG = 15.0
#: What a shell reads otherwise than as itself; spaces between words are lost in others.
_NEEDS_QUOTES = re.compile(r"[^\w\s@%+=:,./-]")


def adopt_job(context: Context, name: JobName, request: Request) -> Iterator[Outcome]:
    """Track a job that was submitted without this extension, or that it has lost.

    Command and directory are those of the submission, as Slurm keeps them.
    Nothing is submitted, retrieved or unlocked.

    Parameters
    ----------
    context : Context
        The dataset.
    name : JobName
        The Slurm job; without a cluster, one of the cluster that jobs go to by default.
    request : Request
        Holds the outputs and the message; its command and directory are not used.

    Raises
    ------
    InvalidRequestError
        When the job is tracked already, or was submitted outside the dataset.
    QueryFailedError
        When Slurm does not answer, or does not know the job.
    """
    settle_claims(context)
    timeout = context.settings.query_timeout
    own_cluster = _own_cluster(timeout)
    if name.cluster == own_cluster:
        name = JobName(name.job_id)  # as sbatch names it without --clusters
    job = _as_slurmctld_knows_it(name, timeout)
    command, work_dir = _as_submitted(name, timeout, is_queued=job is not None)
    if job is None:
        job = _as_accounted(name, timeout)
    work_dir = job.work_dir or work_dir
    pwd = inside(context.repo, os.path.realpath(work_dir) + "/.")
    if pwd is None:
        raise InvalidRequestError(
            f"job {name} was submitted in {work_dir}, which is outside the dataset "
            f"{context.repo.root}"
        )
    claim, _ = claim_of(context, replace(request, cmd=_literal(command)))
    outputs = tuple(os.path.relpath(path or ".", pwd or ".") for path in claim.outputs)
    claim = replace(claim, pwd=pwd or ".", declared_outputs=outputs)
    claim = context.tracker.adopt(claim, job, own_cluster, check=request.check_outputs)
    message = f"Slurm job {name} is tracked now"
    if _NEEDS_QUOTES.search(command):
        message += (
            f"; Slurm keeps its command without quotes, as {command!r}, so it may not mean the "
            "same when it is run again"
        )
    yield scheduled(claim, [job], message)


def _literal(text: str) -> str:
    """Return a text in which braces are no placeholders."""
    return text.replace("{", "{{").replace("}", "}}")


def _own_cluster(timeout: float) -> str:
    try:
        return clusters.own_cluster(timeout)
    except QueryFailedError:
        return ""  # the accounting may know the job nevertheless


def _as_slurmctld_knows_it(name: JobName, timeout: float) -> SlurmJob | None:
    try:
        return scontrol.describe(name.job_id, name.cluster, timeout)
    except QueryFailedError:
        return None  # forgotten, unknown or not answering: the accounting decides


def _as_submitted(name: JobName, timeout: float, *, is_queued: bool) -> tuple[str, str]:
    """Return submit line and directory; wait for the accounting if the job is known to exist."""
    deadline = time.monotonic() + (_ACCOUNTING_LAG if is_queued else 0)
    while True:
        told = sacct.show_submission(name.job_id, name.cluster, timeout)
        if told is not None and all(told):
            return told
        if time.monotonic() >= deadline:
            break
        time.sleep(0.5)
    if is_queued:
        raise QueryFailedError(f"the accounting does not tell how job {name} was submitted")
    raise InvalidRequestError(f"Slurm knows no job {name}")


def _as_accounted(name: JobName, timeout: float) -> SlurmJob:
    rows = sacct.show([name.job_id], name.cluster, timeout=timeout)
    submitted = min((row.submitted for row in rows if row.submitted), default=None)
    return SlurmJob(name.job_id, name.cluster, submitted)
