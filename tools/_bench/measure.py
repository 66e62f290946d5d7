"""What is measured, and what is told of it: median and spread."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from _bench.processes import Run

_T = TypeVar("_T")
HERE, PEER, BARE = "here", "peer", "bare"


@dataclass
class Series:
    """Repetitions of one measurement, in the row's unit."""

    values: list[float] = field(default_factory=list)
    #: what else is known of each repetition
    runs: list[dict[str, float]] = field(default_factory=list)

    def add(self, run: Run, value: float | None = None) -> None:
        """Add a run; its value is its wall time when none is given."""
        self.values.append(run.wall if value is None else value)
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
    #: which of a scenario's measurements it is, where there are several
    part: str = ""
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

    def excess_over(self, factor: float) -> float | None:
        """Return the median of how much more than `factor` times bare Slurm it took."""
        if HERE not in self.series or BARE not in self.series:
            return None
        pairs = zip(self.series[HERE].values, self.series[BARE].values, strict=True)
        return statistics.median(ours - factor * bare for ours, bare in pairs)

    def as_dict(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario,
            "what": self.what,
            "part": self.part,
            "size": self.size,
            "unit": self.unit,
            "ratio": self.ratio,
            "ratios": self.ratios,
            "notes": self.notes,
            **{name: series.as_dict() for name, series in self.series.items()},
        }

    @classmethod
    def from_dict(cls, known: dict[str, Any]) -> Row:
        """Return what `as_dict` was made of."""
        names = ("scenario", "what", "part", "size", "unit", "notes")
        row = cls(**{name: known[name] for name in names})
        for name in (HERE, PEER, BARE):
            if name in known:
                row.series[name] = Series(known[name]["values"], known[name]["runs"])
        return row


def alternated(tools: Sequence[_T], repeat: int) -> Iterator[list[_T]]:
    """Yield tools as often as they are to be measured, each time the other way round."""
    for repetition in range(repeat):
        yield list(tools) if repetition % 2 == 0 else list(reversed(tools))
