"""slurm-schedule --table, beside a bare loop of sbatch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _bench.datasets import directory
from _bench.measure import BARE, Row, alternated
from _bench.processes import BenchError
from _bench.scenarios import note_sample

if TYPE_CHECKING:
    from pathlib import Path

    from _bench.datasets import Datasets
    from _bench.environments import Tool
    from _bench.processes import Run
    from _bench.scenarios import Bench

_JOBS, _QUICK_JOBS = 1000, 100
_PEER_JOBS, _QUICK_PEER_JOBS = 40, 10
_REPEAT, _QUICK_REPEAT = 3, 1
_WARM_UP_JOBS = 3
_LOOP = 'while read -r out n; do sbatch --hold job.sh "$out" "$n" 0 0 || exit; done'


def table(bench: Bench) -> list[Row]:
    """Time the submission of held jobs: through a table, by a bare loop, and by the peer.

    They are held so that none runs while others are submitted.
    """
    world, wishes = bench.world, bench.wishes
    datasets = bench.datasets(wishes.shape())
    jobs = wishes.most_jobs(_JOBS, _QUICK_JOBS)
    counts = bench.counts(jobs, wishes.sample(jobs, _PEER_JOBS, _QUICK_PEER_JOBS))
    row = Row("table", f"schedule {jobs} jobs", {"jobs": jobs, **datasets.shape.as_dict()})
    repeat = wishes.repeats(_REPEAT, _QUICK_REPEAT)
    for turn, tools in enumerate(alternated([None, *bench.tools], repeat + 1)):
        world.say(f"table: {turn + 1} of {repeat + 1}")
        for tool in tools:
            name = tool.name if tool else BARE
            count = counts.get(name, jobs) if turn else _WARM_UP_JOBS
            path = datasets.new(f"table-{name}")
            run = _submit(datasets, tool, path, count) if tool else _loop(bench, path, count)
            if turn:
                row.of(name).add(run, run.wall / count * jobs)
            world.cancel_all()
            datasets.discard(path)
    row.notes.append("bare: a loop of sbatch over the same jobs")
    note_sample(row, counts)
    return [row]


def _submit(datasets: Datasets, tool: Tool, path: Path, count: int) -> Run:
    ids, run = datasets.schedule(tool, path, range(count), "--hold")
    if len(set(ids)) != count:
        raise BenchError(f"{tool.name} scheduled {len(set(ids))} of {count} jobs")
    return run


def _loop(bench: Bench, path: Path, count: int) -> Run:
    lines = "".join(f"{directory(number)} {number}\n" for number in range(count))
    run = bench.world.run(["bash", "-c", _LOOP], path, stdin=lines)
    if run.output.count("Submitted") != count:
        raise BenchError(f"the bare loop submitted {run.output.count('Submitted')} jobs")
    return run
