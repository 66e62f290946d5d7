"""Read what the runners of a command's jobs have noted."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from datalad_slurm.jobs.endings import Ending
from datalad_slurm.jobs.tasks import TaskId

__all__ = ["read_endings"]

_NAME = re.compile(r"(?P<job>\d+)(?:_(?P<index>\d+))?\.(?P<restart>\d+)\.(?P<kind>began|ended)")


@dataclass(frozen=True, order=True)
class _Note:
    """A file of notes. Of two about a task the greater one counts."""

    restart: int
    #: "began" comes before "ended"
    kind: str
    path: Path


def read_endings(directory: Path) -> dict[TaskId, Ending]:
    """Return what is noted of the latest run of each task, and of those before it.

    Parameters
    ----------
    directory : Path
        The one that was given to the runners; need not be there any more.
    """
    notes: dict[TaskId, dict[int, _Note]] = {}
    try:
        paths = list(directory.iterdir())
    except OSError:
        return {}
    for path in paths:
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        task = TaskId(int(match["job"]), int(match["index"] or -1))
        note = _Note(int(match["restart"]), match["kind"], path)
        runs = notes.setdefault(task, {})
        runs[note.restart] = max(note, runs.get(note.restart, note))
    found: dict[TaskId, Ending] = {}
    for task, runs in notes.items():
        *before, latest = (_read(task, runs[restart]) for restart in sorted(runs))
        if latest is not None:
            found[task] = replace(latest, earlier=tuple(filter(None, before)))
    return found


def _read(task: TaskId, note: _Note) -> Ending | None:
    try:
        text = note.path.read_text(errors="replace")
    except OSError:
        return None
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    started = _number(values.get("start"))
    if started is None:
        return None
    return Ending(
        task=task,
        raw_id=_number(values.get("job")),
        node=values.get("node", ""),
        cluster=values.get("cluster", ""),
        started=started,
        ended=_number(values.get("end")),
        exit_code=values.get("exit_code", ""),
        limit=_number(values.get("limit")),
        was_terminated=" TERM:" in f" {values.get('received', '')}",
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None
