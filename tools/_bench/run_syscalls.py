"""File system calls on the dataset: what a parallel file system charges for."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from _bench.measure import Row, Series
from _bench.processes import BenchError
from _bench.strace import TRACED, count

if TYPE_CHECKING:
    from pathlib import Path

    from _bench.datasets import Datasets
    from _bench.environments import Tool
    from _bench.scenarios import Bench

_JOBS = 20
#: calls of slurm-schedule that are traced; the other jobs are scheduled untraced
_TRACED_CALLS = 5


def syscalls(bench: Bench) -> list[Row]:
    """Count file system calls of slurm-schedule and slurm-finish, per job."""
    if shutil.which("strace") is None:
        raise BenchError("strace is not installed")
    datasets = bench.datasets
    if (bench.wishes.jobs or _JOBS) < 3:
        raise BenchError("syscalls needs at least 3 jobs")
    jobs = {tool.name: bench.wishes.jobs_of(tool, _JOBS) for tool in bench.tools}
    size: dict[str, Any] = {"jobs": max(jobs.values()), **datasets.shape.as_dict()}
    of = f"{size['jobs']} jobs x {datasets.shape.outputs} outputs"
    rows = {
        part: Row("syscalls", f"file calls per job, {of}: {part}", size, unit="calls")
        for part in ("schedule", "finish", "both")
    }
    for tool in bench.tools:
        bench.world.say(f"syscalls: {tool.name}")
        scheduled, finished = _trace_tool(bench, datasets, tool, jobs[tool.name])
        rows["schedule"].series[tool.name] = Series(scheduled)
        rows["finish"].series[tool.name] = Series([finished])
        each = sum(scheduled) / len(scheduled)
        rows["both"].series[tool.name] = Series([each + finished])
    rows["schedule"].notes.append("calls on paths in the dataset, .git included; whole process")
    return list(rows.values())


def _trace_tool(
    bench: Bench, datasets: Datasets, tool: Tool, jobs: int
) -> tuple[list[float], float]:
    world = bench.world
    path = datasets.new(f"syscalls-{tool.name}")
    before = datasets.head(path)
    # The first call makes the database, which no other does.
    datasets.schedule(tool, path, [0])
    traced = range(1, min(jobs - 1, 1 + _TRACED_CALLS))
    untraced = range(1 + len(traced), jobs)
    scheduled: list[float] = []
    for number in traced:
        options = [word for output in datasets.outputs(number) for word in ("-o", output)]
        argv = [tool.datalad, "slurm-schedule", *options, *datasets.command(number)]
        scheduled.append(_traced(bench, tool, argv, path))
    # When these have ended in the accounting's view, so have those before them.
    ids, _ = datasets.schedule(tool, path, untraced)
    world.wait_until_completed(ids)
    finished = _traced(bench, tool, [tool.datalad, "slurm-finish"], path) / jobs
    datasets.check_finished(path, before, jobs)
    datasets.discard(path)
    return scheduled, finished


def _traced(bench: Bench, tool: Tool, argv: list[Any], path: Path) -> int:
    log = bench.world.root / "strace.log"
    trace = ["strace", "-f", "-y", "-qq", "--seccomp-bpf", "-e", TRACED, "-o", log, "--"]
    bench.world.run_tool(tool, [*trace, *argv], path)
    with log.open(errors="replace") as lines:
        counted = count(lines, path, start=path)
    log.unlink()
    return sum(counted.values())
