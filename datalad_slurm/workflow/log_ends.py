"""Show how the logs of a job that has failed end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from datalad_slurm.jobs.logs import candidates, names_by_task
from datalad_slurm.jobs.model import TaskStatus, TrackedJob
from datalad_slurm.jobs.reasons import Reason
from datalad_slurm.jobs.script import as_line
from datalad_slurm.workflow.logs import first_node

__all__ = ["log_ends"]

#: How much is read at the end of a log (bytes), and shown of one line (characters).
_MOST_READ = 64 * 1024
_LONGEST_LINE = 500


def log_ends(job: TrackedJob, found: Iterable[Reason], count: int) -> list[dict[str, Any]]:
    """Return the last lines of a log for each reason why a job has failed.

    Of tasks that have failed alike, the first stands for all. The log of stderr
    is preferred, unless there is nothing in it.

    Parameters
    ----------
    job : TrackedJob
        The job.
    found : iterable of Reason
        Why it has failed.
    count : int
        How many lines.
    """
    return [_end(job, reason.tasks[0], count) for reason in found]


def _end(job: TrackedJob, task: TaskStatus, count: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"task": str(task.task), "path": None, "lines": []}
    # slurmctld names stdout before stderr
    readings = list(_readings(job, task))[::-1]
    there = [path for paths in readings for path in paths if Path(path).is_file()]
    if not there:
        entry["path"] = readings[0][0] if readings else None
        return entry | {"missing": "it is not there" if readings else "Slurm named none"}
    try:
        path = next((path for path in there if Path(path).stat().st_size), there[0])
        return entry | {"path": path, "lines": _last_lines(Path(path), count)}
    except OSError as exc:
        return entry | {"path": there[0], "missing": exc.strerror or str(exc)}


def _readings(job: TrackedJob, task: TaskStatus) -> Iterator[list[str]]:
    """Yield the paths that each log of a task may have, the likeliest first."""
    known = task.facts
    raw_id, node = (known.raw_id, first_node(known.nodes)) if known else (None, "")
    for slurm_job in job.slurm_jobs:
        if slurm_job.job_id == task.task.job_id:
            for name in names_by_task(slurm_job.logs)(task.task):
                yield candidates(name, task.task, raw_id, node)


def _last_lines(path: Path, count: int) -> list[str]:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _MOST_READ))
        text = file.read(_MOST_READ).decode(errors="replace")
    # a progress bar writes over its line again and again
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.rstrip("\n").split("\n")]
    return [as_line(line.expandtabs())[:_LONGEST_LINE] for line in lines[-count:] if text.strip()]
