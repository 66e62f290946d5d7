"""slurm-finish over jobs that have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _bench.measure import HERE, PEER, Row, alternated
from _bench.processes import BenchError

if TYPE_CHECKING:
    from pathlib import Path

    from _bench.datasets import Datasets
    from _bench.environments import Tool
    from _bench.scenarios import Bench

_JOBS = 200
_REPEAT = 3
_WARM_UP_JOBS = 3


def finish(bench: Bench) -> list[Row]:
    """Time `datalad slurm-finish` over ended jobs whose outputs are all there."""
    datasets = bench.datasets
    jobs = {tool.name: bench.wishes.jobs_of(tool, _JOBS) for tool in bench.tools}
    size = {"jobs": max(jobs.values()), **datasets.shape.as_dict()}
    shape = datasets.shape
    what = f"finish {size['jobs']} jobs x {shape.outputs} outputs"
    if shape.git_percent:
        what += f", {shape.git_percent}% in git"
    if shape.files:
        what += f", {shape.files} files"
    per_job = Row("finish", f"{what}, per job", size)
    calls = Row("finish", f"{what}, scheduling them in one process, per job", size)
    _once(bench, datasets, bench.tools, dict.fromkeys(jobs, _WARM_UP_JOBS))
    for turn, tools in enumerate(alternated(bench.tools, bench.wishes.repeat or _REPEAT)):
        bench.world.say(f"finish: {turn + 1} of {bench.wishes.repeat or _REPEAT}")
        _once(bench, datasets, tools, jobs, (per_job, calls))
    bench.note_counts(per_job, _JOBS)
    return [per_job, calls]


def _once(
    bench: Bench,
    datasets: Datasets,
    tools: list[Tool],
    jobs: dict[str, int],
    rows: tuple[Row, Row] | None = None,
) -> None:
    world = bench.world
    paths: dict[str, Path] = {}
    heads: dict[str, str] = {}
    submitted: list[int] = []
    for tool in tools:
        path = paths[tool.name] = datasets.new(f"finish-{tool.name}")
        heads[tool.name] = datasets.head(path)
        world.say(f"finish: scheduling {jobs[tool.name]} jobs with {tool.name}")
        ids, seconds = datasets.schedule(tool, path, range(jobs[tool.name]))
        submitted += ids
        if rows:
            rows[1].of(tool.name).values.append(sum(seconds) / len(seconds))
    # Both tools' jobs have ended before either is measured.
    world.wait_until_completed(submitted)
    hashes: dict[str, str] = {}
    for tool in tools:
        run = world.run_tool(tool, [tool.datalad, "slurm-finish"], paths[tool.name])
        world.say(f"finish: {tool.name} took {run.wall:.1f} s")
        if rows:
            rows[0].of(tool.name).add(run, jobs[tool.name])
        hashes[tool.name] = datasets.check_finished(
            paths[tool.name], heads[tool.name], jobs[tool.name]
        )
    if {HERE, PEER} <= set(hashes) and jobs[HERE] == jobs[PEER] and hashes[HERE] != hashes[PEER]:
        raise BenchError(f"the tools committed different outputs: {paths[HERE]}, {paths[PEER]}")
    for path in paths.values():
        datasets.discard(path)
