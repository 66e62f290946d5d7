"""One round: jobs are scheduled, they run and end, and are finished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from _bench.measure import HERE, PEER
from _bench.processes import BenchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from _bench.datasets import Datasets
    from _bench.environments import Tool
    from _bench.processes import Run
    from _bench.scenarios import Bench


@dataclass(frozen=True)
class Finished:
    """What a round took one tool."""

    jobs: int
    schedule: Run
    finish: Run
    #: seconds of a slurm-finish that has nothing to do
    idle: float

    def per_job(self, wanted: int) -> float:
        """Return the seconds a job, of so many, with the start-up spread over all.

        Its share is not larger for a tool that was given fewer jobs.
        """
        return (self.finish.wall - self.idle) / self.jobs + self.idle / wanted


class Finishing:
    """Rounds in a dataset for each tool.

    Parameters
    ----------
    bench : Bench
        The world and the tools.
    datasets : Datasets
        Makes the datasets, at the first round.
    """

    def __init__(self, bench: Bench, datasets: Datasets) -> None:
        self._bench = bench
        self._datasets = datasets
        #: the dataset of each tool
        self.paths: dict[str, Path] = {}
        self._first = 0

    def round(self, tools: Sequence[Tool], counts: Mapping[str, int]) -> dict[str, Finished]:
        """Go through one round; the jobs are others than in rounds before.

        Both tools' jobs have ended before either tool is measured.
        """
        world, datasets = self._bench.world, self._datasets
        submitted: list[int] = []
        scheduled: dict[str, Run] = {}
        for tool in tools:
            path = self._path(tool)
            jobs = counts[tool.name]
            world.say(f"scheduling {jobs} jobs with {tool.name}")
            numbers = range(self._first, self._first + jobs)
            ids, scheduled[tool.name] = datasets.schedule(tool, path, numbers)
            submitted += ids
        self._first += max(counts.values())
        world.say("waiting for the jobs")
        world.wait_until_completed(submitted)
        found: dict[str, Finished] = {}
        hashes = set()
        for tool in tools:
            path, jobs = self._path(tool), counts[tool.name]
            before = datasets.head(path)
            datasets.settle(path)
            run = world.run_tool(tool, [tool.datalad, "slurm-finish"], path)
            world.say(f"slurm-finish of {tool.name} took {run.wall:.1f} s for {jobs} jobs")
            hashes.add(datasets.check_finished(path, before, jobs))
            datasets.settle(path)
            idle = world.run_tool(tool, [tool.datalad, "slurm-finish"], path, ok=(0, 1)).wall
            found[tool.name] = Finished(jobs, scheduled[tool.name], run, min(idle, run.wall))
        if counts.get(HERE) == counts.get(PEER) and len(tools) > 1 and len(hashes) > 1:
            raise BenchError(f"the tools committed different outputs: {self.paths}")
        return found

    def _path(self, tool: Tool) -> Path:
        if tool.name not in self.paths:
            self.paths[tool.name] = self._datasets.new(f"finish-{tool.name}")
        return self.paths[tool.name]

    def discard(self) -> None:
        """Remove the datasets; the next round is in new ones."""
        for path in self.paths.values():
            self._datasets.discard(path)
        self.paths = {}
