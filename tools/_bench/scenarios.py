"""What the scenarios have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from _bench.datasets import Datasets, Shape
from _bench.measure import HERE, PEER, Row

if TYPE_CHECKING:
    from _bench.environments import Tool
    from _bench.templates import Templates
    from _bench.world import World


@dataclass(frozen=True)
class Wishes:
    """What the user chose; what is empty or None is left to the scenario."""

    jobs: tuple[int, ...] = ()
    files: tuple[int, ...] = ()
    outputs: int | None = None
    #: percent of a job's outputs that go into git
    git_percent: int | None = None
    declare_files: bool = False
    peer_jobs: int | None = None
    repeat: int | None = None
    #: whether the scenario's small sizes are taken
    quick: bool = False

    def shape(self, outputs: int = 4, git_percent: int = 50, files: int = 0) -> Shape:
        """Return the shape to measure, with the scenario's own where nothing was chosen."""
        return Shape(
            outputs=self.outputs or outputs,
            files=files,
            git_percent=git_percent if self.git_percent is None else self.git_percent,
            declare_files=self.declare_files,
        )

    def all_jobs(self, full: tuple[int, ...], quick: tuple[int, ...]) -> tuple[int, ...]:
        """Return the numbers of jobs to measure, least first."""
        return tuple(sorted(self.jobs or (quick if self.quick else full)))

    def most_jobs(self, full: int, quick: int) -> int:
        """Return the number of jobs for a scenario that has only one."""
        return max(self.all_jobs((full,), (quick,)))

    def sample(self, jobs: int, full: int, quick: int) -> int:
        """Return how many jobs the peer is given where this package is given `jobs`."""
        return min(jobs, self.peer_jobs or (quick if self.quick else full))

    def repeats(self, full: int, quick: int) -> int:
        return self.repeat or (quick if self.quick else full)


@dataclass(frozen=True)
class Bench:
    """All that a scenario needs."""

    world: World
    tools: list[Tool]
    wishes: Wishes
    templates: Templates
    _datasets: dict[Shape, Datasets] = field(default_factory=dict)

    def datasets(self, shape: Shape) -> Datasets:
        """Return what makes datasets of a shape: by the same tool for both, and not measured."""
        if shape not in self._datasets:
            self._datasets[shape] = Datasets(self.world, self.templates, shape)
        return self._datasets[shape]

    def counts(self, jobs: int, sample: int) -> dict[str, int]:
        """Return how many jobs each tool is given."""
        return {tool.name: sample if tool.name == PEER else jobs for tool in self.tools}


def note_sample(row: Row, counts: dict[str, int]) -> None:
    """Say in a row that the tools had different numbers of jobs."""
    if HERE in counts and PEER in counts and counts[HERE] != counts[PEER]:
        row.notes.append(f"the peer was measured with {counts[PEER]} jobs, and scaled")


Scenario = Callable[[Bench], list[Row]]
