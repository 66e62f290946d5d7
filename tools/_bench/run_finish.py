"""slurm-finish over jobs that have ended, in datasets of several sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _bench.finishing import Finishing
from _bench.measure import Row, alternated
from _bench.scenarios import note_sample

if TYPE_CHECKING:
    from _bench.scenarios import Bench

_JOBS, _QUICK_JOBS = (10, 100, 1000), (10, 100)
_FILES, _QUICK_FILES = (0, 100_000, 250_000), (0, 20_000)
#: each job takes the peer seconds in datasets with files
_PEER_JOBS, _QUICK_PEER_JOBS = 30, 10
_PEER_JOBS_WITH_FILES, _QUICK_PEER_JOBS_WITH_FILES = 10, 3
_REPEAT, _QUICK_REPEAT = 3, 1
_WARM_UP_JOBS = 3


def finish(bench: Bench) -> list[Row]:
    """Time `datalad slurm-finish` over ended jobs whose outputs are all there.

    Several numbers of jobs in the smallest dataset, and the largest number in
    the others.
    """
    wishes = bench.wishes
    all_jobs = wishes.all_jobs(_JOBS, _QUICK_JOBS)
    all_files = sorted(wishes.files or (_QUICK_FILES if wishes.quick else _FILES))
    warm_up = Finishing(bench, bench.datasets(wishes.shape()))
    warm_up.round(bench.tools, bench.counts(_WARM_UP_JOBS, _WARM_UP_JOBS))
    warm_up.discard()
    rows = [_size(bench, jobs, all_files[0]) for jobs in all_jobs]
    rows += [_size(bench, all_jobs[-1], files) for files in all_files[1:]]
    return [row for pair in rows for row in pair]


def _size(bench: Bench, jobs: int, files: int) -> tuple[Row, Row]:
    wishes = bench.wishes
    shape = wishes.shape(files=files)
    samples = (_PEER_JOBS, _QUICK_PEER_JOBS)
    if files:
        samples = (_PEER_JOBS_WITH_FILES, _QUICK_PEER_JOBS_WITH_FILES)
    counts = bench.counts(jobs, wishes.sample(jobs, *samples))
    size = {"jobs": jobs, **shape.as_dict()}
    what = f"{jobs} jobs x {shape.outputs} outputs"
    if files:
        what += f" among {files:,} files"
    row = Row("finish", f"finish {what}, per job", size)
    before = Row("finish", f"schedule {what}, per job", size, part="schedule")
    finishing = Finishing(bench, bench.datasets(shape))
    repeat = wishes.repeats(_REPEAT, _QUICK_REPEAT)
    for turn, tools in enumerate(alternated(bench.tools, repeat)):
        bench.world.say(f"finish: {what}, {turn + 1} of {repeat}")
        for name, took in finishing.round(tools, counts).items():
            row.of(name).add(took.finish, took.per_job(jobs))
            before.of(name).add(took.schedule, took.schedule.wall / took.jobs)
        if not files:
            finishing.discard()
    finishing.discard()
    note_sample(row, counts)
    return row, before
