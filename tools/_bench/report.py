"""The table, and the JSON."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from _bench.measure import BARE, HERE, PEER, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _bench.goals import Goal

_COLUMNS = (HERE, PEER, BARE)


def table(rows: Sequence[Row]) -> str:
    """Return the table: a line a row, notes below it."""
    lines = [["what", *_COLUMNS, "peer/here"]]
    notes: list[list[str]] = [[]]
    for row in rows:
        cells = [_cell(row, name) for name in _COLUMNS]
        lines.append([row.what, *cells, _ratio(row)])
        notes.append(row.notes)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = []
    for line, more in zip(lines, notes, strict=True):
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        text.append("  ".join(padded).rstrip())
        text += [f"    {note}" for note in more]
    text.append("median (least-most of the repetitions)")
    return "\n".join(text)


def _cell(row: Row, name: str) -> str:
    if name not in row.series:
        return "-"
    series = row.series[name]
    middle = _number(series.median, row.unit)
    if len(series.values) == 1:
        return middle
    spread = "-".join(_number(edge(series.values), row.unit) for edge in (min, max))
    return f"{middle} ({spread})"


def _number(value: float, unit: str) -> str:
    if unit != "s":
        return f"{value:.0f}"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return "-"
    text = f"{row.ratio:.2f}" if row.ratio < 10 else f"{row.ratio:.1f}"
    if len(row.ratios) > 1:
        text += f" ({min(row.ratios):.2f}-{max(row.ratios):.2f})"
    return text


def noise(rows: Sequence[Row]) -> str:
    """Say how busy the machine was with other things."""
    shares = [
        run["others"] for row in rows for series in row.series.values() for run in series.runs
    ]
    if not shares:
        return ""
    return (
        f"CPU used by others meanwhile (Slurm included): {statistics.median(shares):.0%} of all "
        f"cores in the median run, {max(shares):.0%} at most"
    )


def as_json(
    machine: dict[str, Any],
    options: dict[str, Any],
    rows: Sequence[Row],
    verdicts: Sequence[tuple[Goal, bool, str]],
) -> dict[str, Any]:
    """Return all that is known, for a file."""
    return {
        "machine": machine,
        "options": options,
        "rows": [row.as_dict() for row in rows],
        "goals": [
            {"goal": goal.text, "reached": reached, "found": found}
            for goal, reached, found in verdicts
        ],
    }
