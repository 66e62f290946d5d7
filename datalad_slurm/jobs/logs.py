"""Where Slurm puts a job's log files."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from datalad_slurm.jobs.tasks import TaskId

__all__ = ["NO_INDEX", "PATTERN", "LogName", "candidates", "names_by_task", "padded"]

#: What slurmctld shows for %a as long as a task is part of the array's common record (NO_VAL),
#: and what sbatch puts in its place where there is no array.
NO_INDEX = "4294967294"
#: A pattern of sbatch(1), with its width; any other percent sign stands for itself.
PATTERN = re.compile(r"%(\d*)([AJNabjnstux]|(?<=%)%)", re.ASCII)
#: Ways to read one name are tried up to this many places that hold the job's id.
_MOST_PLACES = 4


class LogName(NamedTuple):
    """A log file's absolute path as ``scontrol show job`` gives it.

    slurmctld has filled in most patterns of sbatch(1), but leaves the node's
    name and all that have a width (``%4a``) to the node.
    """

    pattern: str
    #: index of the one array task it is for, or -1
    index: int = -1  # type: ignore[assignment]


def names_by_task(logs: Iterable[LogName]) -> Callable[[TaskId], list[LogName]]:
    """Return a function that gives a task's logs: its own, where slurmctld gave them, or all's."""
    by_index: defaultdict[int, list[LogName]] = defaultdict(list)
    for log in logs:
        by_index[max(log.index, -1)].append(log)
    common = by_index[-1]
    return lambda task: by_index.get(task.index) or common


def padded(value: str, width: str) -> str:
    """Return a number with the zeros that the width in its pattern asks for (sbatch(1))."""
    return value.zfill(min(int(width[:5]), 10)) if width else value


def candidates(log: LogName, task: TaskId, raw_id: int | None, node: str) -> list[str]:
    """Return the paths a log may have, the likeliest first.

    slurmctld shows an array's ``%j`` as the id of the array, though each task
    fills in its own. Where the task's own id is known, every reading of the
    places in question is a candidate.

    Parameters
    ----------
    log : LogName
        Name as slurmctld gave it.
    task : TaskId
        The task that wrote it.
    raw_id : int, optional
        The task's own job id (sacct's JobIDRaw).
    node : str
        Name of the node on which the batch script ran.
    """
    own_id = raw_id or task.job_id
    if "\\" in log.pattern:  # switches patterns off, and goes (sbatch(1))
        return [re.sub(r"\\(.)", r"\1", log.pattern)]
    is_common = task.index >= 0 and (log.index < 0 or NO_INDEX in log.pattern)
    values = {
        "%": "%",
        "A": str(task.job_id),
        "J": str(own_id),
        "N": node.partition(".")[0],
        "a": str(task.index) if task.index >= 0 else NO_INDEX,
        "b": str((task.index if task.index >= 0 else int(NO_INDEX)) % 10),
        "j": str(own_id),
        "n": "0",
        "s": "batch",
        "t": "0",
    }

    def fill(match: re.Match[str]) -> str:
        width, letter = match.groups()
        value = values.get(letter, match[0])
        return value if letter in "%Nsux" else padded(value, width)

    readings = [PATTERN.sub(fill, log.pattern), log.pattern]
    if is_common:
        readings = [own for text in readings for own in _own_ids(text, task.job_id, own_id)]
        index = str(task.index)
        readings = [
            text.replace(NO_INDEX, index.zfill(width))
            for text in readings
            for width in range(1, 11)
        ]
    return list(dict.fromkeys(readings))


def _own_ids(text: str, job_id: int, own_id: int) -> list[str]:
    """Return readings of a name in which ids of the array may be the task's own."""
    places = list(re.finditer(rf"(?<!\d)0*{job_id}(?!\d)", text))
    if job_id == own_id or not 0 < len(places) <= _MOST_PLACES:
        return [text]
    found = []
    for choice in itertools.product((own_id, job_id), repeat=len(places)):
        filled, end = "", 0
        for place, chosen in zip(places, choice, strict=True):
            filled += text[end : place.start()] + str(chosen).zfill(len(place[0]))
            end = place.end()
        found.append(filled + text[end:])
    return found
