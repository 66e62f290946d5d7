"""Track a job that is in Slurm already."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace

from datalad_slurm.dataset.paths import inside
from datalad_slurm.jobs.errors import InvalidRequestError, JobNotTrackedError, QueryFailedError
from datalad_slurm.jobs.model import SlurmJob
from datalad_slurm.slurm import sacct, scontrol
from datalad_slurm.workflow.alt_dir import register
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.schedule import Request, claim_of, scheduled
from datalad_slurm.workflow.submissions import settle_claims

__all__ = ["adopt_job"]

#: Seconds in which the accounting hears of a job that slurmctld has.
_ACCOUNTING_LAG = 15.0
#: What a shell reads otherwise than as itself; spaces between words are lost in others.
_NEEDS_QUOTES = re.compile(r"[^\w\s@%+=:,./-]")


def adopt_job(context: Context, job_id: int, request: Request) -> Iterator[Outcome]:
    """Track a job that was submitted without this extension, or that it has lost.

    Command and directory are those of the submission, as Slurm keeps them.
    Nothing is submitted, retrieved or unlocked.

    Parameters
    ----------
    context : Context
        The dataset.
    job_id : int
        Id of the Slurm job.
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
    try:
        context.tracker.open_jobs([job_id])
    except JobNotTrackedError:
        pass
    else:
        raise InvalidRequestError(f"job {job_id} is tracked already; `datalad slurm-finish -l`")
    timeout = context.settings.query_timeout
    job = _as_slurmctld_knows_it(job_id, timeout)
    command, work_dir = _as_submitted(job_id, timeout, is_queued=job is not None)
    if job is None:
        job = _as_accounted(job_id, timeout)
    work_dir = job.work_dir or work_dir
    claim, _ = claim_of(context, replace(request, cmd=_literal(command)))
    place = context.place_of(claim)
    pwd = inside(place, work_dir + "/.")
    if pwd is None:
        where = "alternative directory" if claim.alt_dir else "dataset"
        hint = "" if claim.alt_dir else "; if it runs in an alternative directory, name that (-a)"
        raise InvalidRequestError(
            f"job {job_id} was submitted in {work_dir}, which is outside the {where} "
            f"{place.root}{hint}"
        )
    outputs = tuple(os.path.relpath(path or ".", pwd or ".") for path in claim.outputs)
    claim = replace(claim, pwd=pwd or ".", declared_outputs=outputs)
    claim = context.tracker.claim(claim, check=request.check_outputs)
    if claim.alt_dir:
        register(context, claim)
    context.tracker.note_submission(claim.id, [job])
    message = f"Slurm job {job_id} is tracked now"
    if _NEEDS_QUOTES.search(command):
        message += (
            f"; Slurm keeps its command without quotes, as {command!r}, so it may not mean the "
            "same when it is run again"
        )
    yield scheduled(claim, [job], message)


def _literal(text: str) -> str:
    """Return a text in which braces are no placeholders."""
    return text.replace("{", "{{").replace("}", "}}")


def _as_slurmctld_knows_it(job_id: int, timeout: float) -> SlurmJob | None:
    try:
        return scontrol.describe(job_id, timeout=timeout)
    except QueryFailedError:
        return None  # forgotten, unknown or not answering: the accounting decides


def _as_submitted(job_id: int, timeout: float, *, is_queued: bool) -> tuple[str, str]:
    """Return submit line and directory; wait for the accounting if the job is known to exist."""
    deadline = time.monotonic() + (_ACCOUNTING_LAG if is_queued else 0)
    while True:
        told = sacct.show_submission(job_id, timeout=timeout)
        if told is not None and all(told):
            return told
        if time.monotonic() >= deadline:
            break
        time.sleep(0.5)
    if is_queued:
        raise QueryFailedError(f"the accounting does not tell how job {job_id} was submitted")
    raise InvalidRequestError(f"Slurm knows no job {job_id}")


def _as_accounted(job_id: int, timeout: float) -> SlurmJob:
    rows = sacct.show([job_id], timeout=timeout)
    submitted = min((row.submitted for row in rows if row.submitted), default=None)
    return SlurmJob(job_id, submitted=submitted)
