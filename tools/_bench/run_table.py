"""slurm-schedule --table, beside a bare loop of sbatch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _bench.measure import BARE, Row
from _bench.processes import BenchError
from _bench.scenarios import note_sample

if TYPE_CHECKING:
    from pathlib import Path

    from _bench.datasets import Datasets
    from _bench.processes import Run
    from _bench.scenarios import Bench

_JOBS, _QUICK_JOBS = 1000, 100
_PEER_JOBS, _QUICK_PEER_JOBS = 40, 10
_REPEAT, _QUICK_REPEAT = 3, 1
_WARM_UP_JOBS = 3
_LOOP = "while read -r -a words; do sbatch --hold job.sh ${words[@]} || exit; done"


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
    paths = {tool.name: datasets.new(f"table-{tool.name}") for tool in bench.tools}
    first = 0
    for turn in range(repeat + 1):
        world.say(f"table: {turn + 1} of {repeat + 1}")
        sizes = counts if turn else dict.fromkeys(counts, _WARM_UP_JOBS)
        most = max(sizes.values())
        alone = _loop(bench, datasets, paths[bench.tools[0].name], range(first, first + most))
        if turn:
            row.of(BARE).add(alone, alone.wall / most * jobs)
        for tool in bench.tools:
            numbers = range(first, first + sizes[tool.name])
            ids, run = datasets.schedule(tool, paths[tool.name], numbers, "--hold")
            if len(set(ids)) != len(numbers):
                raise BenchError(f"{tool.name} scheduled {len(set(ids))} of {len(numbers)} jobs")
            if turn:
                row.of(tool.name).add(run, run.wall / len(numbers) * jobs)
        first += most
        world.cancel_all()
    row.notes.append("bare: a loop of sbatch over the same jobs")
    note_sample(row, counts)
    for path in paths.values():
        datasets.discard(path)
    return [row]


def _loop(bench: Bench, datasets: Datasets, path: Path, numbers: range) -> Run:
    lines = (" ".join(datasets.command(number)[2:]) for number in numbers)
    run = bench.world.run(["bash", "-c", _LOOP], path, stdin="".join(f"{x}\n" for x in lines))
    if run.output.count("Submitted") != len(numbers):
        raise BenchError(f"the bare loop submitted {run.output.count('Submitted')} jobs")
    return run
