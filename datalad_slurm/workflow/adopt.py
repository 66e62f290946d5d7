"""Track a job that is in Slurm already."""

from __future__ import annotations

import glob
import os
import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import replace

from datalad_slurm.dataset.paths import inside
from datalad_slurm.jobs.braces import literal
from datalad_slurm.jobs.errors import (
    AccountingDisabledError,
    InvalidRequestError,
    QueryFailedError,
)
from datalad_slurm.jobs.model import SlurmJob
from datalad_slurm.jobs.names import JobName
from datalad_slurm.jobs.node_local import NodeLocal
from datalad_slurm.jobs.notes import NODE_LOCAL
from datalad_slurm.jobs.task_outputs import typed, with_claims
from datalad_slurm.node.runner import submitted_as
from datalad_slurm.slurm import sacct, scontrol, squeue
from datalad_slurm.workflow.alt_dir import register
from datalad_slurm.workflow.alt_notes import INPUTS
from datalad_slurm.workflow.context import Context, Outcome, default_cluster
from datalad_slurm.workflow.endings import has_notes
from datalad_slurm.workflow.request import Request, at_head, claim_of
from datalad_slurm.workflow.scripts import with_held_script
from datalad_slurm.workflow.stores import store_with, was_packed
from datalad_slurm.workflow.submissions import settle_claims
from datalad_slurm.workflow.submitted import scheduled

__all__ = ["adopt_job"]

#: How sbatch begins the script that it makes of --wrap.
_WRAPPED = "#!/bin/sh\n# This script was created by sbatch --wrap.\n"
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
    own_cluster = default_cluster(context)  # if not told, the accounting may know the job still
    if name.cluster == own_cluster:
        name = JobName(name.job_id)  # as sbatch names it without --clusters
    job = _as_slurmctld_knows_it(name, timeout)
    is_queued = job is not None
    command, work_dir, caveat = _as_submitted(name, timeout, is_queued=is_queued)
    if job is None:
        job = _as_accounted(name, timeout)
    work_dir = job.work_dir or work_dir
    claim, _ = claim_of(context, request._replace(cmd=literal(command)), is_submitted=True)
    place = context.place_of(claim)
    pwd = inside(place, os.path.realpath(work_dir) + "/.")
    if pwd is None:
        where = "alternative directory" if claim.alt_dir else "dataset"
        hint = "" if claim.alt_dir else "; if it runs in an alternative directory, name that (-a)"
        raise InvalidRequestError(
            f"job {name} was submitted in {work_dir}, which is outside the {where} "
            f"{place.root}{hint}"
        )
    base = typed(glob.escape(pwd)) or "."
    outputs = tuple(
        os.path.relpath(typed(output) or ".", base) + "/" * output.endswith("/")
        for output in claim.templates or claim.outputs
    )
    if claim.templates and job.tasks is None:
        raise InvalidRequestError(
            f"slurmctld does not know job {name} (any more), so it is not known which tasks it "
            "has, and what the patterns in outputs stand for: name them without"
        )
    exact = with_claims(replace(claim, slurm_jobs=(job,))).outputs
    claim = at_head(context, claim)
    claim = replace(claim, pwd=pwd or ".", declared_outputs=outputs, outputs=exact)
    if is_queued:
        claim = with_held_script(context, claim, name)
    token = squeue.find_comments(name.cluster, timeout).get(name.job_id, "")
    if has_notes(context, token):
        claim = replace(claim, token=token)  # lost with the database, but not its notes
    is_free = bool(token) and token not in context.tracker.tokens()
    if is_free and store_with(context, token).is_dir():
        noted = {NODE_LOCAL: NodeLocal().to_json()} if was_packed(context, token) else {}
        claim = replace(claim, token=token, extra={**noted, **claim.extra})
    if claim.alt_dir:
        claim = replace(claim, extra={**claim.extra, INPUTS: []})  # nothing was copied there
    claim = context.tracker.adopt(claim, job, own_cluster, check=request.check_outputs)
    if claim.alt_dir:
        register(context, claim)
    yield scheduled(claim, [job], f"Slurm job {name} is tracked now{caveat}")


def _as_slurmctld_knows_it(name: JobName, timeout: float) -> SlurmJob | None:
    try:
        return scontrol.describe(name.job_id, name.cluster, timeout)
    except QueryFailedError:
        return None  # forgotten, unknown or not answering: the accounting decides


def _as_submitted(name: JobName, timeout: float, *, is_queued: bool) -> tuple[str, str, str]:
    """Return command and directory of a submission, and what is to be said about them."""
    if is_queued:
        words = submitted_as(_batch_script(name, timeout))
        if words is not None:
            return shlex.join(["sbatch", *words]), "", ""
    try:
        command, work_dir = _as_accounted_for(name, timeout, is_queued=is_queued)
        caveat = ""
    except AccountingDisabledError as exc:
        if not is_queued:
            raise QueryFailedError(
                f"slurmctld does not know job {name} (any more), and {exc}"
            ) from exc
        command, work_dir = _as_slurmctld_keeps_it(name, timeout)
        caveat = (
            f"; it is taken to be {command!r}: where there is no accounting, Slurm may have "
            "forgotten the options with which it was submitted"
        )
    if not caveat and _NEEDS_QUOTES.search(command):
        caveat = (
            f"; Slurm keeps its command without quotes, as {command!r}, so it may not mean the "
            "same when it is run again"
        )
    return command, work_dir, caveat


def _batch_script(name: JobName, timeout: float) -> str:
    return os.fsdecode(scontrol.batch_script(name.job_id, name.cluster, timeout))


def _as_slurmctld_keeps_it(name: JobName, timeout: float) -> tuple[str, str]:
    command, work_dir = scontrol.show_submission(name.job_id, name.cluster, timeout)
    script = _batch_script(name, timeout)
    if not command and script.startswith(_WRAPPED):
        command = shlex.join(["sbatch", "--wrap", script.removeprefix(_WRAPPED).strip("\n")])
    if not command:
        raise InvalidRequestError(
            f"Slurm has not kept how job {name} was submitted, as its script came from standard "
            "input; so it cannot be tracked"
        )
    return command, work_dir


def _as_accounted_for(name: JobName, timeout: float, *, is_queued: bool) -> tuple[str, str]:
    """Return submit line and directory; wait for the accounting if the job is known to exist."""
    deadline = time.monotonic() + (sacct.LONGEST_LAG if is_queued else 0)
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
