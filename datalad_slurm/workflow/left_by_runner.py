"""Say what a job that has failed has left behind: outputs, checkpoints."""

from __future__ import annotations

import time
from pathlib import Path

from datalad_slurm.jobs.model import JobStatus, TrackedJob
from datalad_slurm.jobs.notes import has_checkpoints
from datalad_slurm.jobs.states import JobState
from datalad_slurm.node.deliveries import TaskRuns, read_runs
from datalad_slurm.node.states import read_kept
from datalad_slurm.workflow.context import Context
from datalad_slurm.workflow.stores import store_of

__all__ = ["told_of_failed"]


def told_of_failed(context: Context, job: TrackedJob, status: JobStatus) -> str:
    """Return what is to be said of a job that has failed, beside why."""
    store = store_of(context, job)
    if job.is_node_local:
        said = _brought(store, status)
    elif all(task.state is JobState.TIMEOUT for task in status.tasks):
        said = "; its outputs are as it left them at its time limit, partial"
    else:
        said = ""
    return said + (_checkpoints(store, status) if has_checkpoints(job) else "")


def _checkpoints(store: Path, status: JobStatus) -> str:
    """Return of when the checkpoints are with which another attempt would begin."""
    indices = {task.task.index for task in status.tasks}
    kept = [each for each in read_kept(store) if each.is_whole and each.index in indices]
    if len(indices) > 1:
        count = len({each.index for each in kept})
        return f"; of {count} of its {len(indices)} tasks there is a checkpoint"
    if not kept:
        return "; no checkpoint of it was kept"
    moment = time.localtime(kept[-1].path.stat().st_mtime)
    return f"; its last checkpoint is of {time.strftime('%Y-%m-%d %H:%M:%S', moment)}"


def _brought(store: Path, status: JobStatus) -> str:
    runs = read_runs(store)
    found = [runs.get(task.task, TaskRuns()) for task in status.tasks]
    here = [each.delivery for each in found if each.delivery is not None]
    if len(found) > 1:
        return f"; of {len(here)} of its {len(found)} tasks, what they had at their outputs is here"
    if here:
        when = {
            "limit": "as they were before the time limit, partial",
            "signal": "as they were when it was told to end, partial",
        }
        lacking = "" if here[0].is_whole else ", and not all of them could be brought back"
        return f"; its outputs are here, {when.get(here[0].cut, 'as it left them')}{lacking}"
    (run,) = found or [TaskRuns()]
    if run.half:
        why = "it was killed while it packed them, and what there is of that is no use"
    elif run.begun:
        why = "it was killed, or lost with its node, before it could bring them back"
    else:
        why = "its work was never begun"
    return f"; its outputs are not here: {why}"
