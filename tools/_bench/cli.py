"""The command line of tools/bench."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from _bench import report
from _bench.document import PRICED_JOBS, RESULTS, write_document
from _bench.environments import default_cache, prepare
from _bench.goals import judged
from _bench.machine import describe
from _bench.measure import HERE, PEER, Row
from _bench.processes import BenchError
from _bench.results import Results
from _bench.run_finish import finish
from _bench.run_list import list_jobs
from _bench.run_scale import scale
from _bench.run_schedule import schedule
from _bench.run_syscalls import syscalls
from _bench.run_table import table
from _bench.scenarios import Bench, Scenario, Wishes
from _bench.templates import Templates
from _bench.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _bench.environments import Tool

_DESCRIPTION = """\
Measure this checkout beside its peer, datalad-slurm 0.2.8, each installed in an
environment of its own, on a Slurm and datasets made for it, in turns.

    tools/bench                      all scenarios, at the sizes of the goals
    tools/bench --quick              the same, small, in a few minutes
    tools/bench finish list          some
    tools/bench finish --jobs 100,1000 --files 0,20000 --outputs 4
    tools/bench --check list table   fails when a goal is missed
    tools/bench --document           also fills docs/performance.md
    tools/bench report               fills it again from docs/performance.json

schedule   one `datalad slurm-schedule` call, as a whole process
list       `datalad slurm-finish -l` over open jobs, beside one sacct
finish     `datalad slurm-finish` over ended jobs, per job
table      `datalad slurm-schedule --table`, beside a loop of sbatch
scale      `datalad slurm-finish` over 10,000 jobs with 12 outputs each
syscalls   file system calls on the dataset, per job, counted by strace
"""
_SCENARIOS: dict[str, Scenario] = {
    "schedule": schedule,
    "table": table,
    "list": list_jobs,
    "finish": finish,
    "scale": scale,
    "syscalls": syscalls,
}
_REPORT = "report"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("scenarios", nargs="*", metavar="SCENARIO", help="default: all")
    add("--quick", action="store_true", help="small sizes, few repetitions")
    add("--jobs", type=_counts, default=(), metavar="N[,N...]", help="numbers of jobs")
    add("--files", type=_counts_from_0, default=(), metavar="N[,N...]",
        help="finish: how many files the dataset already holds")  # fmt: skip
    add("--peer-jobs", type=_count, metavar="N",
        help="at most so many jobs for the peer; its time is told per job")  # fmt: skip
    add("--outputs", type=_count, metavar="N", help="outputs a job")
    add("--git-share", type=_share, metavar="SHARE",
        help="share of outputs that go into git (default 0.5)")  # fmt: skip
    add("--declare", choices=("directory", "files"), default="directory",
        help="declare a job's output directory (default), or each file in it")  # fmt: skip
    add("--repeat", type=_count, metavar="N", help="repetitions")
    add("--only", choices=(HERE, PEER), help="measure one of the two: for a profile")
    add("--price", type=float, default=1.0, metavar="MS",
        help="milliseconds that a slow file system takes a call (default 1)")  # fmt: skip
    add("--json", type=Path, metavar="FILE",
        help="keep what was measured; rows of other scenarios that are in it stay")  # fmt: skip
    add("--document", action="store_true",
        help="keep it in docs/performance.json, and fill docs/performance.md")  # fmt: skip
    add("--check", action="store_true", help="fail when a goal is missed")
    add("--dir", type=Path, default=Path(tempfile.gettempdir()),
        help="make datasets below it: its file system is measured (default: %(default)s)",
        )  # fmt: skip
    add("--keep", action="store_true", help="keep the datasets that are left")
    add("--cache", type=Path, default=default_cache(),
        help="keep installations and datasets with many files here")  # fmt: skip
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(word) for word in text.split(","))


def _counts_from_0(text: str) -> tuple[int, ...]:
    return tuple(_count(word) if int(word) else 0 for word in text.split(","))


def _share(text: str) -> int:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be between 0 and 1")
    return round(value * 100)


def _say(text: str) -> None:
    if text:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _measure(
    options: argparse.Namespace, tools: list[Tool], results: Results, kept: Path | None
) -> list[Row]:
    """Measure scenarios, and keep the results of each when it is through."""
    wishes = Wishes(
        jobs=options.jobs,
        files=options.files,
        outputs=options.outputs,
        git_percent=options.git_share,
        declare_files=options.declare == "files",
        peer_jobs=options.peer_jobs,
        repeat=options.repeat,
        quick=options.quick,
    )
    rows: list[Row] = []
    with World(options.dir, _say, keep=options.keep) as world:
        results.machine = describe(world, tools)
        templates = Templates(world, tools[0], options.cache / "datasets")
        bench = Bench(world, tools, wishes, templates)
        for name in options.scenarios:
            begun = time.monotonic()
            measured = _SCENARIOS[name](bench)
            _say(f"{name}: measured in {(time.monotonic() - begun) / 60:.1f} minutes")
            rows += measured
            results.replace(measured, _SCENARIOS)
            if kept:
                results.write(kept)
    return rows


def _run(options: argparse.Namespace) -> int:
    options.cache = options.cache.absolute()
    if options.scenarios == [_REPORT]:
        write_document(Results.read(options.json or RESULTS), options.cache, _say)
        return 0
    unknown = set(options.scenarios) - set(_SCENARIOS)
    if unknown:
        raise BenchError(f"unknown: {', '.join(unknown)}; there are {', '.join(_SCENARIOS)}")
    chosen = set(options.scenarios) or set(_SCENARIOS)
    options.scenarios = [name for name in _SCENARIOS if name in chosen]
    kept = options.json or (RESULTS if options.document else None)
    results = Results.read(kept) if kept and kept.exists() else Results()
    names = [options.only] if options.only else [HERE, PEER]
    rows = _measure(options, prepare(options.cache, names, _say), results, kept)
    is_reached = _print(rows, options)
    if options.document:
        write_document(results, options.cache, _say)
    return 1 if options.check and not is_reached else 0


def _print(rows: list[Row], options: argparse.Namespace) -> bool:
    """Print all tables; return whether all goals of what was measured are reached."""
    print(report.plain(report.measurements(rows), below=["notes"]))
    print("median (least-most of the repetitions);", report.noise(rows), end="\n\n")
    if "syscalls" in options.scenarios:
        print(f"a file system that takes {options.price} ms a call (a price, not measured):")
        print(report.plain(report.prices(rows, options.price, PRICED_JOBS)), end="\n\n")
    verdicts = [verdict for verdict in judged(rows) if verdict.scenario in options.scenarios]
    print(report.plain(report.goals(verdicts, rows), below=["goal", "found"]), flush=True)
    return all(verdict.is_reached for verdict in verdicts)


def _terminated(number: int, _frame: object) -> NoReturn:
    # As for Ctrl-C: what was started is stopped on the way out.
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGHUP, _terminated)
    try:
        return _run(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
