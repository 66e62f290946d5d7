"""slurm-finish -l over open jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _bench.measure import BARE, HERE, PEER, Row, alternated
from _bench.processes import BenchError
from _bench.scenarios import note_sample

if TYPE_CHECKING:
    from pathlib import Path

    from _bench.datasets import Datasets
    from _bench.scenarios import Bench

_JOBS, _QUICK_JOBS = (1000, 10_000), (200,)
#: it calls sacct for each
_PEER_JOBS, _QUICK_PEER_JOBS = 30, 20
_REPEAT, _QUICK_REPEAT = 5, 2
#: longest list of ids for one sacct
_ONE_ARGUMENT = 128 * 1024


def list_jobs(bench: Bench) -> list[Row]:
    """Time `datalad slurm-finish -l` over held jobs, and one sacct over the same."""
    wishes = bench.wishes
    datasets = bench.datasets(wishes.shape())
    paths = {tool.name: datasets.new(f"list-{tool.name}") for tool in bench.tools}
    ids: dict[str, list[int]] = {tool.name: [] for tool in bench.tools}
    rows = []
    for jobs in wishes.all_jobs(_JOBS, _QUICK_JOBS):
        counts = bench.counts(jobs, wishes.sample(jobs, _PEER_JOBS, _QUICK_PEER_JOBS))
        _schedule(bench, datasets, paths, ids, counts)
        rows.append(_size(bench, datasets, paths, ids, jobs))
        note_sample(rows[-1], counts)
    bench.world.cancel_all()
    for path in paths.values():
        datasets.discard(path)
    return rows


def _schedule(
    bench: Bench,
    datasets: Datasets,
    paths: dict[str, Path],
    ids: dict[str, list[int]],
    counts: dict[str, int],
) -> None:
    """Schedule more held jobs, until there are as many as wanted."""
    for tool in bench.tools:
        known = ids[tool.name]
        numbers = range(len(known), counts[tool.name])
        if numbers:
            bench.world.say(f"list: scheduling {len(numbers)} held jobs with {tool.name}")
            known += datasets.schedule(tool, paths[tool.name], numbers, "--hold")[0]
        # The peer gives up at a job that the accounting has not heard of yet.
        bench.world.wait_until_known(known)


def _size(
    bench: Bench,
    datasets: Datasets,
    paths: dict[str, Path],
    ids: dict[str, list[int]],
    jobs: int,
) -> Row:
    world, wishes = bench.world, bench.wishes
    asked = ",".join(map(str, ids.get(HERE) or ids[PEER]))
    if len(asked) >= _ONE_ARGUMENT:
        raise BenchError(f"{jobs} ids do not fit one sacct's command line")
    row = Row("list", f"list {jobs} open jobs", {"jobs": jobs, **datasets.shape.as_dict()})
    repeat = wishes.repeats(_REPEAT, _QUICK_REPEAT)
    for turn, tools in enumerate(alternated(bench.tools, repeat + 1)):
        world.say(f"list: {jobs} jobs, {turn + 1} of {repeat + 1}")
        bare = world.run(["sacct", "-n", "-X", "-j", asked])
        if turn > 0:
            row.of(BARE).add(bare, bare.wall / (asked.count(",") + 1) * jobs)
        for tool in tools:
            path, known = paths[tool.name], ids[tool.name]
            run = world.run_tool(tool, [tool.datalad, "slurm-finish", "-l"], path)
            listed = {line.split()[0] for line in run.output.splitlines() if line.strip()}
            if not {str(job) for job in known} <= listed:
                raise BenchError(f"{tool.name} does not list all {len(known)} jobs")
            if turn > 0:
                row.of(tool.name).add(run, run.wall / len(known) * jobs)
    row.notes.append("bare: one sacct over the same jobs")
    return row
