"""slurm-schedule --table, beside a loop of sbatch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _bench.datasets import directory
from _bench.measure import BARE, HERE, Row
from _bench.processes import BenchError

if TYPE_CHECKING:
    from _bench.scenarios import Bench

_JOBS = 1000
_REPEAT = 5
_LOOP = 'while read -r out n; do sbatch --hold job.sh "$out" "$n" 0 0 || exit 1; done'


def table(bench: Bench) -> list[Row]:
    """Time one `slurm-schedule --table` over held jobs, and a loop of sbatch for the same."""
    world, datasets, wishes = bench.world, bench.datasets, bench.wishes
    tool = next((tool for tool in bench.tools if tool.name == HERE), None)
    if tool is None:
        return []
    jobs = wishes.jobs or _JOBS
    row = Row("table", f"a table of {jobs} jobs", {"jobs": jobs, **datasets.shape.as_dict()})
    rows = [(directory(n), str(n)) for n in range(jobs)]
    content = "".join(f"{out}\t{n}\n" for out, n in rows)
    repeat = wishes.repeat or _REPEAT
    for turn in range(repeat + 1):
        world.say(f"table: {turn + 1} of {repeat + 1}")
        path = datasets.new("table")
        argv = [
            tool.datalad, "slurm-schedule", "--table", "-", "-o", "{out}",
            "sbatch", "--hold", "job.sh", "{out}", "{n}", "0", "0",
        ]  # fmt: skip
        measured = {}
        for name in (HERE, BARE) if turn % 2 else (BARE, HERE):
            if name == HERE:
                measured[name] = world.run_tool(tool, argv, path, stdin=f"out\tn\n{content}")
            else:
                measured[name] = world.run(["sh", "-c", _LOOP], path, stdin=content)
            if measured[name].output.count("ubmitted") < jobs:
                raise BenchError(f"{name}: not all {jobs} jobs were submitted")
            world.cancel_all()
        datasets.discard(path)
        if turn > 0:
            for name, run in measured.items():
                row.of(name).add(run)
    memory = max(run["memory_kb"] for run in row.of(HERE).runs)
    row.notes.append(f"bare: {jobs} calls of sbatch; here: {memory / 1024:.0f} MB at most")
    return [row]
