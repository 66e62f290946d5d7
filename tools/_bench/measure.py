"""What is measured, and what is told of it: median and spread."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from _bench.environments import Tool
    from _bench.processes import Run

HERE, PEER, BARE = "here", "peer", "bare"


@dataclass
class Series:
    """Repetitions of one measurement, in the row's unit."""

    values: list[float] = field(default_factory=list)
    #: what else is known of each repetition
    runs: list[dict[str, float]] = field(default_factory=list)

    def add(self, run: Run, divisor: float = 1.0) -> None:
        self.values.append(run.wall / divisor)
        self.runs.append(
            {"wall": run.wall, "cpu": run.cpu, "memory_kb": run.memory, "others": run.others}
        )

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def as_dict(self) -> dict[str, Any]:
        values = self.values
        return {
            "median": self.median,
            "min": min(values),
            "max": max(values),
            "values": values,
            "runs": self.runs,
        }


@dataclass
class Row:
    """A line of the table."""

    scenario: str
    what: str
    #: how many jobs, outputs and so on: what goals are about
    size: dict[str, Any]
    unit: str = "s"
    series: dict[str, Series] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def of(self, name: str) -> Series:
        """Return the series of a tool; it is made when it is asked for first."""
        return self.series.setdefault(name, Series())

    @property
    def ratio(self) -> float | None:
        """How many times the peer's median is that of this package."""
        if HERE not in self.series or PEER not in self.series or not self.series[HERE].median:
            return None
        return self.series[PEER].median / self.series[HERE].median

    @property
    def ratios(self) -> list[float]:
        """The ratio in each repetition, where there are as many of both."""
        if HERE not in self.series or PEER not in self.series:
            return []
        here, peer = self.series[HERE].values, self.series[PEER].values
        if len(here) != len(peer) or not all(here):
            return []
        return [theirs / ours for ours, theirs in zip(here, peer, strict=True)]

    @property
    def excess(self) -> float | None:
        """Return the median of how much longer than bare Slurm it took, pair by pair."""
        if HERE not in self.series or BARE not in self.series:
            return None
        pairs = zip(self.series[HERE].values, self.series[BARE].values, strict=True)
        return statistics.median(ours - bare for ours, bare in pairs)

    def as_dict(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario,
            "what": self.what,
            "size": self.size,
            "unit": self.unit,
            "ratio": self.ratio,
            "ratios": self.ratios,
            "excess_over_bare": self.excess,
            "notes": self.notes,
            **{name: series.as_dict() for name, series in self.series.items()},
        }


def alternated(tools: Sequence[Tool], repeat: int) -> Iterator[list[Tool]]:
    """Yield the tools as often as they are to be measured, each time the other way round."""
    for repetition in range(repeat):
        yield list(tools) if repetition % 2 == 0 else list(reversed(tools))
