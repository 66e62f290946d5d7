"""The table of open jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

__all__ = ["open_jobs_table"]

_HEADINGS = (
    "slurm-job-id",
    "slurm-job-status",
    "name",
    "array",
    "elapsed",
    "submitted",
    "outputs",
)
_OUTPUTS_SHOWN = 3


def open_jobs_table(entries: Iterable[Mapping[str, Any]]) -> str:
    """Return the open jobs as text: one job a line, its id first."""
    rows = [_HEADINGS, *(_row(entry) for entry in entries)]
    # the last column is not filled up: it may be long
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADINGS) - 1)]
    lines = [_line(row, widths) for row in rows]
    return "\n".join(["The following jobs are open:", "", *lines])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
    return "   ".join([*cells, row[-1]]).rstrip()


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    status = entry["slurm_job_status"]
    reason = f" ({entry['reason']})" if entry["reason"] and status == "PENDING" else ""
    outputs = entry["outputs"]
    shown = " ".join(map(_printable, outputs[:_OUTPUTS_SHOWN]))
    more = f" and {len(outputs) - _OUTPUTS_SHOWN} more" if len(outputs) > _OUTPUTS_SHOWN else ""
    submitted = datetime.fromisoformat(entry["submitted"]).astimezone()
    return (
        str(entry["slurm_job_id"]),
        status + reason,
        _printable(entry["name"]),
        entry["progress"],
        entry["elapsed"],
        submitted.strftime("%Y-%m-%d %H:%M:%S"),
        shown + more,
    )


def _printable(text: str) -> str:
    """Return a name without what would break the line or command the terminal."""
    return text if text.isprintable() else ascii(text)
