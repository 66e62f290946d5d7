"""The command line of tools/bench."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from _bench import report
from _bench.datasets import Datasets, Shape
from _bench.environments import default_cache, prepare
from _bench.goals import judge
from _bench.machine import describe
from _bench.measure import HERE, PEER, Row
from _bench.processes import BenchError
from _bench.run_finish import finish
from _bench.run_list import list_jobs
from _bench.run_schedule import schedule
from _bench.run_syscalls import syscalls
from _bench.run_table import table
from _bench.scenarios import Bench, Scenario, Wishes
from _bench.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _bench.environments import Tool

_DESCRIPTION = """\
Measure this checkout beside its peer, datalad-slurm 0.2.8, each installed in an
environment of its own, on a Slurm and datasets made for it, in turns.

    tools/bench                      all scenarios
    tools/bench finish list          some
    tools/bench finish --jobs 1000 --outputs 4 --git-share 0.5 --files 20000
    tools/bench --check finish list  fails when a goal is missed

schedule   one `datalad slurm-schedule` call, as a whole process
table      `datalad slurm-schedule --table`, beside a loop of sbatch
finish     `datalad slurm-finish` over ended jobs, per job
list       `datalad slurm-finish -l` over open jobs, beside one sacct
syscalls   file system calls on the dataset, per job, counted by strace
"""
_SCENARIOS: dict[str, Scenario] = {
    "schedule": schedule,
    "table": table,
    "finish": finish,
    "list": list_jobs,
    "syscalls": syscalls,
}
_OUTPUTS = 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="default: all")
    parser.add_argument("--jobs", type=_count, help="number of jobs (default: the scenario's)")
    parser.add_argument(
        "--peer-jobs", type=_count, help="fewer jobs for the peer; its time is told per job"
    )
    parser.add_argument(
        "--outputs", type=_count, default=_OUTPUTS, help=f"outputs a job (default {_OUTPUTS})"
    )
    parser.add_argument("--repeat", type=_count, help="repetitions (default: the scenario's)")
    parser.add_argument(
        "--files", type=int, default=0, help="files the dataset already holds (default 0)"
    )
    parser.add_argument(
        "--git-share",
        type=_share,
        default=0,
        metavar="SHARE",
        help="share of outputs, and of those files, that go into git (default 0: all annexed)",
    )
    parser.add_argument(
        "--declare",
        choices=("directory", "files"),
        default="directory",
        help="declare a job's output directory (default), or each file in it",
    )
    parser.add_argument(
        "--only", choices=(HERE, PEER), help="measure one of the two: for a profile"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    parser.add_argument("--check", action="store_true", help="fail when a goal is missed")
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="make datasets below it: its file system is measured (default: %(default)s)",
    )
    parser.add_argument("--keep", action="store_true", help="keep the datasets that are left")
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), help="keep installations here"
    )
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _share(text: str) -> int:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be between 0 and 1")
    return round(value * 100)


def _say(text: str) -> None:
    if text:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _measure(options: argparse.Namespace, tools: list[Tool]) -> tuple[list[Row], dict[str, Any]]:
    shape = Shape(
        outputs=options.outputs,
        files=options.files,
        git_percent=options.git_share,
        declare_files=options.declare == "files",
    )
    wishes = Wishes(shape, options.jobs, options.peer_jobs, options.repeat)
    rows: list[Row] = []
    with World(options.dir, _say, keep=options.keep) as world:
        machine = describe(world, tools)
        bench = Bench(world, tools, wishes, Datasets(world, tools[0], shape))
        for name in options.scenarios:
            rows += _SCENARIOS[name](bench)
    machine["load_at_end"] = list(os.getloadavg())
    return rows, machine


def _run(options: argparse.Namespace) -> int:
    unknown = set(options.scenarios) - set(_SCENARIOS)
    if unknown:
        raise BenchError(f"unknown: {', '.join(unknown)}; there are {', '.join(_SCENARIOS)}")
    options.scenarios = list(dict.fromkeys(options.scenarios)) or list(_SCENARIOS)
    cache = options.cache.absolute()
    names = [options.only] if options.only else [HERE, PEER]
    tools = prepare(cache, names, _say)
    rows, machine = _measure(options, tools)
    verdicts = judge(rows, options.scenarios)
    print(report.table(rows))
    print(report.noise(rows), flush=True)
    if options.check:
        for goal, reached, found in verdicts:
            print(f"{'reached' if reached else 'MISSED '}  {goal.text}: {found}")
    if options.json:
        kept = {k: v for k, v in vars(options).items() if k not in ("cache", "dir", "json")}
        known = report.as_json(machine, kept, rows, verdicts)
        options.json.write_text(json.dumps(known, indent=1) + "\n")
    return 1 if options.check and not all(reached for _, reached, _ in verdicts) else 0


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
