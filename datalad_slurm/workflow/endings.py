"""Have jobs note how they end, where Slurm forgets it, and learn from their notes."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.quantities import parse_duration
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.slurm import scontrol
from datalad_slurm.workflow.context import Context, default_cluster, lgr

if TYPE_CHECKING:
    from datalad_slurm.jobs.endings import Ending
    from datalad_slurm.node.runner import NodePlan

__all__ = [
    "drop_notes_of_endings",
    "has_notes",
    "have_endings_noted",
    "noted_endings",
    "tidy_endings",
]

_NO_ACCOUNTING = ("accounting_storage/none", "(null)", "")
#: Slurm's clock for a job starts so much before its script, at most (seconds).
_START_LAG = 10


def _root(context: Context) -> Path:
    return context.repo.state_dir / "endings"


def _tokens(context: Context) -> set[str]:
    """Return the commands of which there are notes, or may be."""
    try:
        return {path.name for path in _root(context).iterdir()}
    except FileNotFoundError:
        return set()


def has_notes(context: Context, token: str) -> bool:
    """Return whether there are notes of a command that is not tracked any more."""
    return token in _tokens(context) and token not in context.tracker.tokens()


def have_endings_noted(
    context: Context, token: str, notes: Path, plan: NodePlan | None = None
) -> None:
    """Have what a command submits note how it ends, if that is wanted.

    Parameters
    ----------
    context : Context
        The dataset.
    token : str
        That of the command's claim.
    notes : Path
        Where our sbatch will look for what it is to do.
    plan : NodePlan, optional
        What more is to be done around the job's script: that needs a runner in any case.
    """
    if plan is not None or _is_wanted(context):
        from datalad_slurm.node.wrap import place

        endings = _root(context) / token
        endings.mkdir(parents=True, exist_ok=True)
        notes.mkdir(parents=True, exist_ok=True)
        place(notes, endings, plan)


def _is_wanted(context: Context) -> bool:
    setting = context.settings.exit_marker
    if setting == "never":
        return False
    try:
        configuration = scontrol.configuration(context.settings.query_timeout)
    except QueryFailedError as exc:
        lgr.info("it is not known whether this Slurm has accounting: %s", exc)
        return setting == "always"
    if configuration.get("ProctrackType") == "proctrack/pgid":
        # Slurm would lose sight of a script in a process group of its own
        lgr.info("jobs do not note how they end: this Slurm tracks them by process group")
        return False
    return setting == "always" or configuration.get("AccountingStorageType") in _NO_ACCOUNTING


def noted_endings(
    context: Context, jobs: Iterable[TrackedJob], held: Collection[TaskId]
) -> dict[int, dict[TaskId, Ending]]:
    """Return what jobs have noted, by the ids of the Slurm jobs.

    Parameters
    ----------
    context : Context
        The dataset.
    jobs : iterable of TrackedJob
        Jobs whose notes are of interest.
    held : collection of TaskId
        Tasks of which slurmctld tells enough; where it tells all, nothing is read.
    """
    from datalad_slurm.node.endings import read_endings

    tokens = _tokens(context)
    found: dict[int, dict[TaskId, Ending]] = {}
    own_cluster = None
    for job in jobs:
        if job.token not in tokens:
            continue
        wanted = [
            slurm_job
            for slurm_job in job.slurm_jobs
            if slurm_job.tasks is None or not all(task in held for task in slurm_job.tasks)
        ]
        endings = read_endings(_root(context) / job.token) if wanted else {}
        if endings and own_cluster is None:
            own_cluster = default_cluster(context)
        for slurm_job in wanted:
            found[slurm_job.job_id] = {
                task: _with_limit(slurm_job, ending)
                for task, ending in endings.items()
                # of a job on another cluster, this slurmctld knows nothing anyway
                if task.job_id == slurm_job.job_id
                and ending.cluster == (slurm_job.cluster or own_cluster)
            }
    return found


def _with_limit(job: SlurmJob, ending: Ending) -> Ending:
    """Add when the time limit was due, where the job was not told: before Slurm 23.02."""
    seconds = parse_duration(job.facts.get("TimeLimit", ""))
    if ending.limit is not None or seconds is None:
        return ending
    return replace(ending, limit=ending.started + int(seconds) - _START_LAG)


def drop_notes_of_endings(context: Context, token: str) -> None:
    """Remove what jobs of a command have noted."""
    shutil.rmtree(_root(context) / token, ignore_errors=True)


def tidy_endings(context: Context) -> None:
    """Remove the notes of jobs that are not tracked any more."""
    # What is listed first was claimed before: its claim is found, unless it is gone.
    tokens = _tokens(context)
    if tokens:
        for token in tokens - context.tracker.tokens():
            drop_notes_of_endings(context, token)
