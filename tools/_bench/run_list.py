"""slurm-finish -l over open jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _bench.measure import BARE, HERE, Row, alternated
from _bench.processes import BenchError

if TYPE_CHECKING:
    from pathlib import Path

    from _bench.scenarios import Bench

_JOBS = 1000
#: it calls sacct for each
_PEER_JOBS = 100
_REPEAT = 5
#: longest list of ids for one sacct
_ONE_ARGUMENT = 128 * 1024


def list_jobs(bench: Bench) -> list[Row]:
    """Time `datalad slurm-finish -l` over held jobs, and one sacct over the same."""
    world, datasets, wishes = bench.world, bench.datasets, bench.wishes
    jobs = {tool.name: wishes.jobs_of(tool, _JOBS, _PEER_JOBS) for tool in bench.tools}
    paths: dict[str, Path] = {}
    ids: dict[str, list[int]] = {}
    for tool in bench.tools:
        paths[tool.name] = datasets.new(f"list-{tool.name}")
        world.say(f"list: scheduling {jobs[tool.name]} held jobs with {tool.name}")
        numbers = range(jobs[tool.name])
        ids[tool.name], _ = datasets.schedule(tool, paths[tool.name], numbers, "--hold")
        # The peer gives up at a job that the accounting has not heard of yet.
        world.wait_until_known(ids[tool.name])
    most = max(ids, key=lambda name: len(ids[name]))
    asked = ",".join(map(str, ids[most]))
    if len(asked) >= _ONE_ARGUMENT:
        raise BenchError(f"{len(ids[most])} ids do not fit one sacct's command line")
    size = {"jobs": len(ids[most]), **datasets.shape.as_dict()}
    row = Row("list", f"list {len(ids[most])} open jobs", size)
    repeat = wishes.repeat or _REPEAT
    for turn, tools in enumerate(alternated(bench.tools, repeat + 1)):
        world.say(f"list: {turn + 1} of {repeat + 1}")
        bare = world.run(["sacct", "-n", "-X", "-j", asked])
        if turn > 0:
            row.of(BARE).add(bare)
        for tool in tools:
            path, known = paths[tool.name], ids[tool.name]
            run = world.run_tool(tool, [tool.datalad, "slurm-finish", "-l"], path)
            listed = {line.split()[0] for line in run.output.splitlines() if line.strip()}
            if not {str(job) for job in known} <= listed:
                raise BenchError(f"{tool.name} does not list all {len(known)} jobs")
            if turn > 0:
                row.of(tool.name).add(run, len(known) / len(ids[most]))
    row.notes.append("bare: one sacct over the same jobs")
    if HERE in row.series:
        row.notes.append(f"here: {row.excess:+.2f} s beside that sacct (median of pairs)")
    bench.note_counts(row, _JOBS, _PEER_JOBS)
    world.cancel_all()
    for path in paths.values():
        datasets.discard(path)
    return [row]
