"""Names of the things Slurm runs: jobs, array tasks, components; and lists of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = [
    "TaskId",
    "expand_index_list",
    "expand_tasks",
    "fold_tasks",
    "format_index_list",
    "name_tasks",
    "shortened",
]

#: Stands for no tasks at all, where an empty list stands for a plain job.
_NONE_LEFT = "none"
_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?", re.ASCII)
#: Longer lists of indices are cut in messages.
_LONGEST_LIST = 60
#: sanity bound; slurm.conf(5) allows MaxArraySize up to 4,000,001
_MOST_INDICES = 4_000_001


class TaskId(NamedTuple):
    """One thing Slurm runs: a job, a task of an array, or a component of a het job."""

    job_id: int
    #: index in the job array, -1 for none; hides the method of tuples, which nobody misses here
    index: int = -1  # type: ignore[assignment]
    #: offset in the heterogeneous job, -1 for none
    component: int = -1

    def __str__(self) -> str:
        """Return the id as Slurm writes it: ``12``, ``12_3`` or ``12+1``."""
        if self.index >= 0:
            return f"{self.job_id}_{self.index}"
        if self.component >= 0:
            return f"{self.job_id}+{self.component}"
        return str(self.job_id)


def format_index_list(indices: list[int]) -> str:
    """Return array indices as Slurm writes them: ``0-4,7``."""
    parts: list[str] = []
    ordered = sorted(indices)
    start = 0
    for position, index in enumerate(ordered):
        if position + 1 < len(ordered) and ordered[position + 1] == index + 1:
            continue
        first = ordered[start]
        parts.append(str(first) if first == index else f"{first}-{index}")
        start = position + 1
    return ",".join(parts)


def shortened(indices: str) -> str:
    """Return a list of indices that fits a line, cut as Slurm cuts it."""
    if len(indices) <= _LONGEST_LIST:
        return indices
    return indices[: indices.rindex(",", 0, _LONGEST_LIST)] + ",..."


def name_tasks(job_id: int, tasks: Iterable[TaskId]) -> str:
    """Return a short name of some tasks of an array; of a plain job, or without any, its id."""
    indices = sorted({task.index for task in tasks if task.index >= 0})
    listed = shortened(format_index_list(indices))
    if len(indices) < 2:
        return f"{job_id}_{listed}" if indices else str(job_id)
    return f"{job_id}_[{listed}]"


def expand_index_list(text: str) -> Iterator[int]:
    """Yield the indices of an array specification such as ``1-7:2,9%4``.

    Raises
    ------
    ValueError
        When `text` is none, or cut off as in ``1,3,5,...``.
    """
    for part in text.partition("%")[0].split(","):
        match = _RANGE.fullmatch(part.strip())
        if not match:
            raise ValueError(f"{text!r} is no list of array indices")
        first = int(match[1])
        last = int(match[2] or match[1])
        step = int(match[3] or 1)
        if step < 1 or last - first > _MOST_INDICES:
            raise ValueError(f"{text!r} is no list of array indices")
        yield from range(first, last + 1, step)


def expand_tasks(job_id: int, parts: Iterable[str]) -> tuple[TaskId, ...]:
    """Return the tasks that `fold_tasks` folded."""
    tasks: list[TaskId] = []
    parts = list(parts)
    if parts == [_NONE_LEFT]:
        return ()
    for part in parts:
        if part.startswith("+"):
            tasks.append(TaskId(job_id, component=int(part)))
        else:
            tasks += (TaskId(job_id, index) for index in expand_index_list(part))
    return tuple(tasks) or (TaskId(job_id),)


def fold_tasks(tasks: Iterable[TaskId]) -> list[str]:
    """Return tasks of one job in short: ``["1-10"]``, ``["+0", "+1"]``, ``[]`` for a plain job."""
    tasks = list(tasks)
    if not tasks:
        return [_NONE_LEFT]
    components = [f"+{task.component}" for task in tasks if task.component >= 0]
    indices = [task.index for task in tasks if task.index >= 0]
    return components + ([format_index_list(indices)] if indices else [])
