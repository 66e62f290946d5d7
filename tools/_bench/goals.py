"""What must be reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from _bench.measure import BARE, HERE, PEER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from _bench.measure import Row

Verdict = tuple[bool, str]


@dataclass(frozen=True)
class Goal:
    """One goal: which row it is about, and whether that row reaches it."""

    scenario: str
    text: str
    #: of the row
    size: Mapping[str, Any]
    reached: Callable[[Row], Verdict]

    def is_about(self, row: Row) -> bool:
        return (
            row.scenario == self.scenario
            and HERE in row.series
            and all(row.size.get(name) == value for name, value in self.size.items())
        )


def _times_faster(times: float) -> Callable[[Row], Verdict]:
    def reached(row: Row) -> Verdict:
        if row.ratio is None or PEER not in row.series:
            return False, "the peer was not measured"
        return row.ratio >= times, f"{row.ratio:.1f} times"

    return reached


def _within(seconds: float, factor: float = 1.0) -> Callable[[Row], Verdict]:
    """Judge by the time that the same query takes without us."""

    def reached(row: Row) -> Verdict:
        if row.excess is None:
            return False, "bare Slurm was not measured"
        excess = row.excess - (factor - 1) * row.series[BARE].median
        return excess <= seconds, f"{row.excess:+.2f} s"

    return reached


def _beside_loop(factor: float, seconds: float, megabytes: float) -> Callable[[Row], Verdict]:
    """Judge by a loop that does the same without us, pair by pair, and by the memory."""

    def reached(row: Row) -> Verdict:
        if BARE not in row.series:
            return False, "bare Slurm was not measured"
        here, bare = row.series[HERE], row.series[BARE]
        pairs = zip(here.values, bare.values, strict=True)
        ratio = statistics.median((ours - seconds) / loop for ours, loop in pairs)
        memory = max(run["memory_kb"] for run in here.runs) / 1024
        said = f"{ratio:.2f} times, without {seconds:g} s, and {memory:.0f} MB"
        return ratio <= factor and memory < megabytes, said

    return reached


GOALS = (
    Goal(
        "finish",
        "finish at least 8 times faster per job than the peer, 200 jobs x 3 outputs",
        {"jobs": 200, "outputs": 3},
        _times_faster(8),
    ),
    Goal(
        "list",
        "list 1000 open jobs in at most one second more than one sacct",
        {"jobs": 1000},
        _within(1.0),
    ),
    Goal(
        "table",
        "submit a table of 1000 jobs in at most 2 times a loop of sbatch and a second, in 200 MB",
        {"jobs": 1000},
        _beside_loop(2, 1.0, 200),
    ),
)


def judge(rows: Sequence[Row], scenarios: Iterable[str]) -> list[tuple[Goal, bool, str]]:
    """Return for each goal of the scenarios whether it is reached, and what was found."""
    verdicts = []
    for goal in GOALS:
        if goal.scenario not in scenarios:
            continue
        row = next((row for row in rows if goal.is_about(row)), None)
        reached, found = goal.reached(row) if row else (False, "not measured at this size")
        verdicts.append((goal, reached, found))
    return verdicts
