"""Read the notations that squeue and sacct have in common."""

from __future__ import annotations

import re
from typing import NamedTuple

from datalad_slurm.jobs.tasks import TaskId, expand_index_list

__all__ = ["NamedTasks", "parse_number", "parse_task_name"]

_TASK_NAME = re.compile(
    r"(?P<job>\d{1,18})"
    r"(?:_(?P<index>\d{1,9})|_\[(?P<indices>[^\]]*)\]|\+(?P<component>\d{1,9}))?"
    r"(?:\.(?P<step>\S+))?",
    re.ASCII,
)


class NamedTasks(NamedTuple):
    """What one id, such as ``12_[3-9%2]`` or ``12_4.batch``, stands for."""

    tasks: tuple[TaskId, ...]
    #: name of the job step, or empty for the job itself
    step: str = ""


def parse_task_name(text: str) -> NamedTasks | None:
    """Return what an id of Slurm's stands for, or None when it is none."""
    match = _TASK_NAME.fullmatch(text)
    if not match:
        return None
    job = int(match["job"])
    step = match["step"] or ""
    if match["indices"] is not None:
        try:
            indices = tuple(expand_index_list(match["indices"]))
        except ValueError:
            return None
        return NamedTasks(tuple(TaskId(job, index) for index in indices), step) if indices else None
    if match["index"] is not None:
        return NamedTasks((TaskId(job, int(match["index"])),), step)
    if match["component"] is not None:
        return NamedTasks((TaskId(job, component=int(match["component"])),), step)
    return NamedTasks((TaskId(job),), step)


def parse_number(text: str) -> int | None:
    """Return a count or a time in seconds, or None for ``Unknown``, ``N/A`` and the like."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
