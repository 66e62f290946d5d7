"""Say of a job that stays open, or is closed, why, and what can be done."""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from datalad_slurm.jobs.commands import with_options
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.model import JobStatus, TaskStatus, TrackedJob
from datalad_slurm.jobs.names import names_of
from datalad_slurm.jobs.notes import needs_runner
from datalad_slurm.jobs.plan import Action
from datalad_slurm.jobs.reasons import Reason, helpful_options, reasons
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.log_ends import log_ends

__all__ = ["explain"]


def explain(
    context: Context,
    job: TrackedJob,
    status: JobStatus,
    action: Action,
    *,
    log_lines: int = 0,
    in_vain: str = "",
) -> Outcome:
    """Return the outcome of a job that is not committed.

    Parameters
    ----------
    context : Context
        The dataset.
    job : TrackedJob
        The job.
    status : JobStatus
        How it is.
    action : Action
        What is done with it.
    log_lines : int
        Of a job that has failed, how many of the last lines of its log to tell.
    in_vain : str
        For which jobs it waits in vain, in words.
    """
    details: dict[str, Any] = {"slurm_job_id": job.job_id, "slurm_state": status.word}
    states = f"Statuses: {status.describe()}"
    found = reasons(job, status, _user_name)
    if found:
        details["reasons"] = [_reason_details(reason) for reason in found]
    if action is Action.CLOSE and in_vain:
        said = f"Cancelled and closed a job that would never have started. {states}"
        return Outcome("finish", "ok", said, details=details)
    if action is Action.CLOSE:
        kind = "a job that Slurm does not know" if status.is_unknown else "failed / cancelled jobs"
        said = f"Closing {kind}. {states}{_stays(job)}"
        return Outcome("finish", "ok", said, details=details)
    message = f"Slurm job(s) for job {job.label} are not complete. {states}"
    message += "".join(map(_unexplained, status.tasks))
    names = [shlex.quote(str(name)) for name in names_of(job, status.tasks)]
    here = context.dataset_option
    finish_it = f"datalad slurm-finish {here}{' '.join(names)}"
    if in_vain:
        message += (
            f"{in_vain}; to run this one again when what it waits for is done: "
            f"{_retry_command(job, names, (), here)}; to cancel and drop it: {finish_it} "
            "--close-failed-jobs"
        )
    elif action is Action.REFUSE:
        retry_it = _retry_command(job, names, found, here)
        details["retry"] = retry_it
        if log_lines:
            details["logs"] = log_ends(job, found, log_lines)
        brought = ""
        if needs_runner(job):
            from datalad_slurm.workflow.left_by_runner import told_of_failed

            brought = told_of_failed(context, job, status)
        message += (
            f"; {_told(status, found)}{brought}. "
            f"To run it again: {retry_it}; to commit what it left: "
            f"{finish_it} --accept-failed-jobs; to drop it: {finish_it} --close-failed-jobs"
        )
    elif action is Action.ASK_AGAIN:
        why = f" ({status.failure})" if status.failure else ""
        message += f". Whether it has ended is not known{why}; try again later"
        if status.is_unknown:
            message += (
                f", or, if Slurm has lost the job for good, drop it: {finish_it} "
                "--close-unknown-jobs"
            )
    return Outcome("finish", "impossible", message, details=details)


def _told(status: JobStatus, found: list[Reason]) -> str:
    if len(status.tasks) == 1:
        return found[0].text
    bad = sum(len(reason.tasks) for reason in found)
    each = "; ".join(f"{reason.ids}: {reason.text}" for reason in found)
    return f"{bad} of {len(status.tasks)} tasks failed: {each}"


def _reason_details(reason: Reason) -> dict[str, Any]:
    codes = {task.facts.exit_code for task in reason.tasks if task.facts and task.facts.exit_code}
    details = {
        "tasks": reason.ids,
        "count": len(reason.tasks),
        "state": reason.state,
        "reason": reason.text,
    }
    return details | ({"exit_code": codes.pop()} if len(codes) == 1 else {})


def _retry_command(
    job: TrackedJob, names: Sequence[str], found: Sequence[Reason], here: str
) -> str:
    options = helpful_options(job, found)
    try:
        with_options(job.cmd, options)
    except InvalidRequestError:
        options = []  # whoever wrote the command knows where they belong
    words = [f"--retry {name}" for name in names]
    words += [f"--retry-with={shlex.quote(' '.join(options))}"] if options else []
    return f"datalad slurm-reschedule {here}{' '.join(words)}"


def _user_name(uid: int) -> str:
    if uid == os.getuid():
        return "you"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _unexplained(task: TaskStatus) -> str:
    """Return what is known of a task that is over without anybody knowing how."""
    if not task.is_unexplained or task.facts is None:
        return ""
    begun = datetime.fromtimestamp(task.facts.started or 0).astimezone()
    return (
        f"; {task.task} began on {task.facts.nodes} at {begun:%Y-%m-%d %H:%M:%S} and noted no "
        "ending, as when it is killed by kill -9, for its memory, or with its node"
    )


def _stays(job: TrackedJob) -> str:
    return f"; what it has in {job.alt_dir} stays there" if job.alt_dir else ""
