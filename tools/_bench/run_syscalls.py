"""File system calls on the dataset: what a parallel file system charges for."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from _bench.measure import HERE, Row, Series
from _bench.processes import BenchError
from _bench.scenarios import note_sample
from _bench.strace import TRACED, count

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from _bench.datasets import Datasets
    from _bench.environments import Tool
    from _bench.scenarios import Bench

_JOBS, _QUICK_JOBS = 1000, 50
_PEER_JOBS, _QUICK_PEER_JOBS = 20, 10
#: calls of slurm-schedule that are traced; the other jobs are scheduled untraced
_TRACED_CALLS = 5


def syscalls(bench: Bench) -> list[Row]:
    """Count file system calls of slurm-schedule and slurm-finish, per job."""
    if shutil.which("strace") is None:
        raise BenchError("strace is not installed")
    wishes = bench.wishes
    datasets = bench.datasets(wishes.shape())
    most = wishes.most_jobs(_JOBS, _QUICK_JOBS)
    if most < 3:
        raise BenchError("syscalls needs at least 3 jobs")
    counts = bench.counts(most, wishes.sample(most, _PEER_JOBS, _QUICK_PEER_JOBS))
    size: dict[str, Any] = {"jobs": most, **datasets.shape.as_dict()}
    parts = {
        "schedule": "one slurm-schedule call",
        "finish": "slurm-finish, per job",
        "both": "one slurm-schedule call and slurm-finish, per job",
        "table": "slurm-schedule --table, per job",
        "bulk": "slurm-schedule --table and slurm-finish, per job",
    }
    rows = {
        part: Row("syscalls", f"file calls: {what}", size, part, unit="calls")
        for part, what in parts.items()
    }
    for tool in bench.tools:
        bench.world.say(f"syscalls: {tool.name}")
        counted = _trace_tool(bench, datasets, tool, counts[tool.name])
        for part, values in counted.items():
            rows[part].series[tool.name] = Series(values)
    rows["finish"].notes.append("on paths in the dataset, .git included")
    rows["bulk"].notes.append("the peer: one slurm-schedule call a job")
    note_sample(rows["finish"], counts)
    return [row for row in rows.values() if row.series]


def _trace_tool(bench: Bench, datasets: Datasets, tool: Tool, jobs: int) -> dict[str, list[float]]:
    """Return the calls a job, of each repetition, by what is done."""
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
    each = sum(scheduled) / len(scheduled)
    found = {"schedule": scheduled, "finish": [finished], "both": [each + finished]}
    # without a table, many jobs are many calls
    found["bulk"] = found["both"]
    if tool.name == HERE:
        table = world.root / "traced.jsonl"
        argv = datasets.table_command(tool, table, range(jobs, 2 * jobs), ["--hold"])
        found["table"] = [_traced(bench, tool, argv, path) / jobs]
        found["bulk"] = [found["table"][0] + finished]
        world.cancel_all()
    datasets.discard(path)
    return found


def _traced(bench: Bench, tool: Tool, argv: Sequence[str | Path], path: Path) -> int:
    log = bench.world.root / "strace.log"
    trace = ["strace", "-f", "-y", "-qq", "--seccomp-bpf", "-e", TRACED, "-o", log, "--"]
    bench.world.run_tool(tool, [*trace, *argv], path)
    with log.open(errors="replace") as lines:
        counted = count(lines, path, start=path)
    log.unlink()
    return sum(counted.values())
