"""One call of slurm-schedule, as a whole process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _bench.datasets import directory
from _bench.measure import BARE, Row, alternated
from _bench.processes import BenchError

if TYPE_CHECKING:
    from _bench.scenarios import Bench

_REPEAT, _QUICK_REPEAT = 15, 5
_WARM_UP = 2


def schedule(bench: Bench) -> list[Row]:
    """Time `datalad slurm-schedule -o out/N sbatch job.sh`, and sbatch alone."""
    world, datasets = bench.world, bench.datasets(bench.wishes.shape())
    repeat = bench.wishes.repeats(_REPEAT, _QUICK_REPEAT)
    paths = {tool.name: datasets.new(f"schedule-{tool.name}") for tool in bench.tools}
    row = Row("schedule", "one slurm-schedule call", datasets.shape.as_dict())
    for turn, tools in enumerate(alternated(bench.tools, repeat + _WARM_UP)):
        world.say(f"schedule: {turn + 1} of {repeat + _WARM_UP}")
        for tool in tools:
            options = [word for path in datasets.outputs(turn) for word in ("-o", path)]
            argv = [tool.datalad, "slurm-schedule", *options, *datasets.command(turn)]
            run = world.run_tool(tool, argv, paths[tool.name])
            world.wait_until_idle()  # a job that runs would be in the next one's way
            if turn >= _WARM_UP:
                row.of(tool.name).add(run)
        alone = world.run(
            ["sbatch", "--output=/dev/null", "job.sh", directory(10**4 + turn), "0", "0", "0"],
            paths[bench.tools[0].name],
        )
        if "Submitted" not in alone.output:
            raise BenchError(f"sbatch said {alone.output!r}")
        world.wait_until_idle()
        if turn >= _WARM_UP:
            row.of(BARE).add(alone)
    row.notes.append("bare: sbatch alone")
    for path in paths.values():
        datasets.discard(path)
    return [row]
