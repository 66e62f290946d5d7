"""The table of what jobs cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from datalad_slurm.jobs.efficiency import format_memory, format_share
from datalad_slurm.jobs.quantities import format_duration
from datalad_slurm.jobs.script import as_line

__all__ = ["report_table", "totals_line"]

_HEADINGS = (
    *("job", "name", "state", "attempts", "waited", "ran", "cpu", "memory"),
    *("commit", "outputs"),
)
#: columns of numbers, which are aligned at their right
_NUMBERS = frozenset({"attempts", "waited", "ran", "cpu"})
_LONGEST_NAME = 30
_OUTPUTS_SHOWN = 3


def report_table(entries: Iterable[Mapping[str, Any]]) -> str:
    """Return jobs as text: one a line, its id first."""
    rows = [_HEADINGS, *map(_row, entries)]
    # the last column is not filled up: it may be long
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.rjust(width) if heading in _NUMBERS else cell.ljust(width)
        for heading, cell, width in zip(_HEADINGS, row, widths, strict=False)
    ]
    return "  ".join([*cells, row[-1]]).rstrip()


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    outputs = entry["outputs"]
    shown = " ".join(map(as_line, outputs[:_OUTPUTS_SHOWN]))
    more = f" and {len(outputs) - _OUTPUTS_SHOWN} more" if len(outputs) > _OUTPUTS_SHOWN else ""
    name = as_line(entry["name"])
    return (
        as_line(entry["label"]),
        name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}...",
        as_line(entry["slurm_state"]),
        str(entry["attempts"]),
        _duration(entry["waited"]),
        _duration(entry["ran"]),
        format_share(entry["cpu_efficiency"]),
        _memory(entry),
        (entry["commit"] or "-")[:10],
        shown + more,
    )


def _duration(seconds: int | None) -> str:
    return "-" if seconds is None else format_duration(seconds)


def _memory(entry: Mapping[str, Any]) -> str:
    used, asked = entry["memory_used"], entry["memory_asked"]
    if used is None and asked is None:
        return "-"
    told = f"{format_memory(used)} of {format_memory(asked)}"
    share = entry["memory_efficiency"]
    return told if share is None else f"{told} ({format_share(share)})"


def totals_line(totals: Mapping[str, Any]) -> str:
    """Return in one line what jobs cost together."""
    counts = sorted(totals["jobs_by_state"].items(), key=lambda item: -item[1])
    states = ", ".join(f"{count} {as_line(state)}" for state, count in counts)
    jobs = f"{totals['jobs']} job" + ("" if totals["jobs"] == 1 else "s")
    parts = [f"{jobs}: {states}" if states else "no jobs"]
    if totals["cpu_seconds_allocated"]:
        parts.append(
            f"CPU time {_duration(round(totals['cpu_seconds']))} used of "
            f"{_duration(round(totals['cpu_seconds_allocated']))} allocated "
            f"({format_share(totals['cpu_efficiency'])})"
        )
    if totals["cpu_seconds_in_vain"]:
        parts.append(
            f"{_duration(round(totals['cpu_seconds_in_vain']))} of it to attempts that did not "
            "complete"
        )
    if totals["jobs_unknown"]:
        parts.append(f"not known in full of {totals['jobs_unknown']}")
    return "; ".join(parts)
