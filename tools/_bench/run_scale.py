"""slurm-finish over 10,000 jobs in one call, and over a thousand before and after them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from _bench.finishing import Finishing
from _bench.measure import HERE, Row
from _bench.scenarios import note_sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from _bench.environments import Tool
    from _bench.scenarios import Bench

_JOBS, _QUICK_JOBS = 10_000, 500
_OUTPUTS = 12
_PEER_JOBS, _QUICK_PEER_JOBS = 30, 10
#: how many jobs are finished before all the others, and after them
_SHARE = 10
#: of how many jobs outputs and logs are in one directory, the second time
_TOGETHER = 100


def scale(bench: Bench) -> list[Row]:
    """Time `datalad slurm-finish` of very many jobs, and whether their number makes it slower.

    In one dataset, a tenth of the jobs is finished, then all jobs in one call,
    then another tenth. Outputs and logs of all are in one directory each, then
    those of a hundred jobs.
    """
    return _grown(bench, bench.tools, 0) + _grown(
        bench, [tool for tool in bench.tools if tool.name == HERE], _TOGETHER
    )


def _grown(bench: Bench, all_tools: Sequence[Tool], together: int) -> list[Row]:
    wishes = bench.wishes
    shape = replace(wishes.shape(outputs=_OUTPUTS), together=together)
    jobs = wishes.most_jobs(_JOBS, _QUICK_JOBS)
    tenth = max(1, jobs // _SHARE)
    finishing = Finishing(bench, bench.datasets(shape))
    rows: list[Row] = []
    for part, count, when in (
        ("first", tenth, ", before all others"),
        ("all", jobs, ""),
        ("last", tenth, ", after all others"),
    ):
        tools = [tool for tool in all_tools if part == "all" or tool.name == HERE]
        if not tools:
            continue
        bench.world.say(f"scale: {part}, {count} jobs")
        size = {"jobs": jobs, **shape.as_dict()}
        where = f", {together} in a directory" if together else ""
        what = f"finish {count} jobs x {shape.outputs} outputs{where}{when}, per job"
        row = Row("scale", what, size, f"{part}, spread" if together else part)
        sample = wishes.sample(count, _PEER_JOBS, _QUICK_PEER_JOBS)
        counts = bench.counts(count, sample)
        for name, took in finishing.round(tools, counts).items():
            row.of(name).add(took.finish, took.per_job(count))
        if part == "all" and len(tools) > 1:
            note_sample(row, counts)
        rows.append(row)
    if HERE in finishing.paths:
        rows[-1].notes.append(f"then, {_content(bench, finishing.paths[HERE])}")
    finishing.discard()
    return rows


def _content(bench: Bench, path: Path) -> str:
    """Say what a dataset has come to."""

    def ask(*argv: str) -> str:
        return bench.world.run(argv, path).output

    facts = dict(line.split(": ") for line in ask("git", "count-objects", "-v").splitlines())
    commits = ask("git", "rev-list", "--count", "HEAD").strip()
    megabytes = (int(facts["size"]) + int(facts["size-pack"])) / 1024
    inodes = ask("du", "--inodes", "--summarize", ".").split()[0]
    return (
        f"{commits} commits, {megabytes:.0f} MB of git objects in {facts['packs']} packs "
        f"and {facts['count']} loose ones, {inodes} inodes"
    )
