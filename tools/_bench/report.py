"""The tables."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from _bench.measure import BARE, HERE, PEER, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _bench.goals import Verdict

_COLUMNS = (HERE, PEER, BARE)
Table = list[list[str]]


def measurements(rows: Sequence[Row]) -> Table:
    """Return a line a row."""
    head = ["what", *_COLUMNS, "peer/here", "notes"]
    body = [
        [row.what, *(_cell(row, name) for name in _COLUMNS), _ratio(row), "; ".join(row.notes)]
        for row in rows
    ]
    return [head, *body]


def goals(verdicts: Sequence[Verdict], rows: Sequence[Row]) -> Table:
    """Return a line a goal, with what its row has."""
    by_what = {row.what: row for row in rows}
    table = [["", "work", "goal", *_COLUMNS, "peer/here", "found", "reached"]]
    for verdict in verdicts:
        row = by_what.get(verdict.what)
        cells = [*(_cell(row, name) for name in _COLUMNS), _ratio(row)] if row else ["-"] * 4
        about = [str(verdict.number), verdict.work, verdict.goal]
        table.append([*about, *cells, verdict.found, verdict.reached])
    return table


def prices(rows: Sequence[Row], milliseconds: float, jobs: int) -> Table:
    """Return what a file system would charge that takes so long for each call.

    A price, not a measurement: calls x price, as if none overlapped.
    """
    table = [["what", "calls, here", "peer", f"{jobs:,} jobs, here", "peer"]]
    for row in rows:
        if row.scenario != "syscalls":
            continue
        cells = [_cell(row, name) for name in (HERE, PEER)]
        for name in (HERE, PEER):
            known = row.series.get(name)
            cells.append(_duration(known.median * jobs * milliseconds / 1000) if known else "-")
        table.append([row.what, *cells])
    return table


def plain(table: Table, below: Sequence[str] = ()) -> str:
    """Return a table for the terminal, with what is in some columns below each line."""
    lower = [column for column, name in enumerate(table[0]) if name in below]
    upper = [column for column in range(len(table[0])) if column not in lower]
    widths = {column: max(len(line[column]) for line in table) for column in upper}
    lines = []
    for number, line in enumerate(table):
        padded = "  ".join(line[column].ljust(widths[column]) for column in upper)
        lines.append(padded.rstrip())
        if number:
            lines += [f"      {table[0][c]}: {line[c]}" for c in lower if line[c]]
    return "\n".join(lines)


def markdown(table: Table) -> str:
    """Return a table for a document."""
    lines = [table[0], ["---"] * len(table[0]), *table[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def noise(rows: Sequence[Row]) -> str:
    """Say how busy the machine was with other things."""
    shares = [
        run["others"] for row in rows for series in row.series.values() for run in series.runs
    ]
    if not shares:
        return ""
    return (
        f"CPU used by others meanwhile (Slurm included): {statistics.median(shares):.0%} of all "
        f"cores in the median run, {max(shares):.0%} at most."
    )


def machine(known: dict[str, Any]) -> Table:
    """Return what the results depend on."""
    disk = (
        f"{known['file_system']}; a small file is written, renamed and removed in "
        f"{known['file_ms']:.2f} ms, one is synced in {known['sync_ms']:.1f} ms"
    )
    names = ("system", "kernel", "python", "git", "git-annex", "slurm", "strace")
    table = [
        ["", ""],
        ["processor", f"{known['cores']} cores, {known['processor']}"],
        ["memory", f"{known['memory_mb'] / 1024:.0f} GB"],
        ["disk", disk],
        *([name, known[name]] for name in names),
    ]
    for name, versions in known["installed"].items():
        table.append([name, ", ".join(f"{what} {number}" for what, number in versions.items())])
    return table


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
        return f"{value:,.0f}"
    if value < 0.01:
        return f"{value * 1000:.1f} ms"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return "-"
    text = f"{row.ratio:.3g}"
    if len(row.ratios) > 1:
        text += f" ({min(row.ratios):.3g}-{max(row.ratios):.3g})"
    return text


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
