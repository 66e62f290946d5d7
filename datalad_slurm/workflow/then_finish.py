"""Have a job finished, and its commit pushed, by a small job that waits for it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence

from datalad_slurm.jobs.errors import InvalidRequestError, SubmissionError
from datalad_slurm.jobs.names import JobName
from datalad_slurm.jobs.sbatch_options import split_words
from datalad_slurm.slurm.own_job import submit_script
from datalad_slurm.workflow.context import Context, Outcome

__all__ = ["finished_later"]

#: what the program `datalad` does, wherever that is
_DATALAD = "from datalad.cli.main import main; main()"
_ACTION = "slurm-schedule [then-finish]"
#: Seconds for which the job waits until the accounting knows the end, and for those before it.
_PATIENCE = 1800
#: Seconds for which it waits for others that finish jobs.
_TURN = 3600


def finished_later(
    context: Context, scheduling: Iterable[Outcome], sibling: str = ""
) -> Iterator[Outcome]:
    """Submit, for each job that is scheduled, one that finishes it when it has ended.

    Parameters
    ----------
    context : Context
        The dataset.
    scheduling : iterable of Outcome
        What schedules jobs; not begun yet.
    sibling : str
        Where the commit is pushed to in the end; empty for not at all.

    Raises
    ------
    InvalidRequestError
        When there is no such sibling; nothing was scheduled.
    """
    if sibling and context.repo.ask("config", "--get", f"remote.{sibling}.url") is None:
        raise InvalidRequestError(
            f"the dataset has no sibling '{sibling}' to push to; `datalad siblings` shows those "
            "there are"
        )
    for outcome in scheduling:
        yield outcome
        if outcome.action == "slurm-schedule" and outcome.status == "ok":
            cluster = outcome.details["cluster"]
            jobs = [JobName(job_id, cluster) for job_id in outcome.details["slurm_job_ids"]]
            yield from _submit_finish_job(context, jobs, sibling)


def _submit_finish_job(
    context: Context, jobs: Sequence[JobName], sibling: str
) -> Iterator[Outcome]:
    """Submit a job that finishes others, which it does not claim to be one of.

    That it cannot be submitted changes nothing about the others.
    """
    name = jobs[0]
    log = context.repo.state_file("finish-jobs") / f"{name.job_id}.log"
    log.parent.mkdir(exist_ok=True)
    options = [
        f"--dependency=afterany:{':'.join(str(job.job_id) for job in jobs)}",
        f"--job-name=finish-{name.job_id}",
        f"--output={str(log).replace('%', '%%')}",
        f"--chdir={context.repo.root}",
        "--export=ALL",
        *([f"--clusters={name.cluster}"] if name.cluster else []),
        *split_words(context.settings.finish_job_options),
    ]
    details = {"slurm_job_id": name.job_id, "finish_log": str(log)}
    try:
        made = submit_script(
            _script(context, name, sibling),
            options,
            context.repo.root,
            context.settings.query_timeout,
        )
    except SubmissionError as exc:
        finish_it = f"datalad slurm-finish {context.dataset_option}{shlex.quote(str(name))}"
        said = (
            f"job {name} is submitted and tracked, but not the job that was to finish it: {exc}; "
            f"finish it yourself: {finish_it}"
        )
        yield Outcome(_ACTION, "error", said, details=details)
        return
    pushes = f" and pushed to {sibling}" if sibling else ""
    said = f"job {name} will be finished{pushes} by job {made.job_id}, whose log is {log}"
    yield Outcome(_ACTION, "ok", said, details={**details, "finish_job_id": made.job_id})


def _script(context: Context, name: JobName, sibling: str) -> str:
    datalad = shlex.join([sys.executable, "-c", _DATALAD])
    root = shlex.quote(str(context.repo.root))
    finish = (
        f"{datalad} -c datalad.slurm.finish-timeout={_TURN} slurm-finish -d {root} --wait "
        f"--timeout {_PATIENCE} --slurm-job-id {shlex.quote(str(name))}"
    )
    push = f" &&\n{datalad} push -d {root} --to {shlex.quote(sibling)}" if sibling else ""
    path = shlex.quote(os.environ.get("PATH", os.defpath))
    return f"#!/bin/sh\nPATH={path}\nexport PATH\n{finish}{push}\n"
