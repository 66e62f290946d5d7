"""What the scenarios have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from _bench.measure import HERE, PEER, Row

if TYPE_CHECKING:
    from _bench.datasets import Datasets, Shape
    from _bench.environments import Tool
    from _bench.world import World


@dataclass(frozen=True)
class Wishes:
    """What the user chose; None leaves it to the scenario."""

    shape: Shape
    jobs: int | None = None
    peer_jobs: int | None = None
    repeat: int | None = None

    def jobs_of(self, tool: Tool, default: int, peer_default: int | None = None) -> int:
        """Return how many jobs a tool is given.

        The peer may be given fewer: what it takes for each is told then.
        """
        jobs = self.jobs or default
        if tool.name != PEER:
            return jobs
        return min(jobs, self.peer_jobs or peer_default or jobs)


@dataclass(frozen=True)
class Bench:
    """All that a scenario needs."""

    world: World
    tools: list[Tool]
    wishes: Wishes
    #: made by the same tool for both, and not measured
    datasets: Datasets

    def note_counts(self, row: Row, default: int, peer_default: int | None = None) -> None:
        """Say in a row when the tools had different numbers of jobs."""
        counts = {t.name: self.wishes.jobs_of(t, default, peer_default) for t in self.tools}
        if HERE in counts and PEER in counts and counts[HERE] != counts[PEER]:
            row.notes.append(f"the peer was measured with {counts[PEER]} jobs: per job, scaled")


Scenario = Callable[[Bench], list[Row]]
