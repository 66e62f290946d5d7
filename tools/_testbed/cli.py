"""The command line of tools/testbed."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from _testbed.control import Testbed
from _testbed.layout import MAX_DIR_LENGTH, Layout, Settings, TestbedError

if TYPE_CHECKING:
    from collections.abc import Sequence

_DESCRIPTION = """\
A real Slurm on this machine, for tests: munge, MariaDB, slurmdbd, slurmctld
and several slurmd, as root or as an ordinary user, on loopback only.

    tools/testbed up
    eval "$(tools/testbed env)"
    sbatch --wrap hostname; squeue; sacct
    tools/testbed down
"""
_DOWN = 3


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--dir",
        metavar="DIR",
        help="state directory (default: $DATALAD_SLURM_TESTBED, or "
        f"/tmp/datalad-slurm-testbed-UID); at most {MAX_DIR_LENGTH} characters",
    )
    parser = argparse.ArgumentParser(
        prog="testbed",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    default = Settings()

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[shared], help=text, description=text)

    up = add("up", "Start it, or what of it does not run. Jobs and accounting are kept.")
    up.add_argument("--fresh", action="store_true", help="forget all jobs first")
    up.add_argument(
        "--nodes", type=_number(1, 64), help=f"number of nodes (default {default.nodes})"
    )
    up.add_argument(
        "--cpus", type=_number(1, 1024), help=f"CPUs of each node (default {default.cpus})"
    )
    up.add_argument(
        "--memory",
        type=_number(1, 10**7),
        help=f"megabytes of each node (default {default.memory})",
    )
    up.add_argument(
        "--min-job-age",
        type=_number(2, 10**6),
        help="seconds after which slurmctld may forget an ended job "
        f"(default {default.min_job_age})",
    )
    up.add_argument(
        "--requeue-delay",
        type=_number(1, 1000),
        help=f"seconds until a requeued job may start again (default {default.requeue_delay})",
    )
    up.add_argument(
        "--no-accounting",
        action="store_true",
        default=None,
        help="without slurmdbd and MariaDB: sacct says that accounting is disabled",
    )
    up.add_argument(
        "--conf",
        action="append",
        metavar="NAME=VALUE",
        help="set anything in slurm.conf; may be repeated",
    )
    down = add("down", "Cancel all jobs and stop everything.")
    how = down.add_mutually_exclusive_group()
    how.add_argument("--keep", action="store_true", help="keep the state directory (the default)")
    how.add_argument("--wipe", action="store_true", help="remove the state directory")
    add("status", f"Tell what runs; status 0 if everything does, else {_DOWN}.")
    add("env", 'Print what `eval "$(tools/testbed env)"` needs to use it.')
    names = "munged, mariadbd, slurmdbd, slurmctld, slurmd:nK, or slurmd for all nodes"
    stop = add("stop", "Stop one daemon.")
    stop.add_argument("--kill", action="store_true", help="by SIGKILL")
    stop.add_argument("daemon", help=names)
    start = add("start", "Start one daemon again.")
    start.add_argument("daemon", help=names)
    return parser


class _number:  # noqa: N801 - reads as a type in add_argument, and in its messages
    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def __call__(self, text: str) -> int:
        value = int(text)
        if not self.least <= value <= self.most:
            msg = f"{value} is not between {self.least} and {self.most}"
            raise argparse.ArgumentTypeError(msg)
        return value

    def __repr__(self) -> str:
        return "number"


def _given_settings(options: argparse.Namespace) -> dict[str, Any]:
    names = ("nodes", "cpus", "memory", "min_job_age", "requeue_delay", "no_accounting")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.conf:
        for line in options.conf:
            if "=" not in line or "\n" in line:
                msg = f"--conf {line}: not of the form NAME=VALUE"
                raise TestbedError(msg)
        given["conf"] = dict(line.split("=", 1) for line in options.conf)
    return given


def _run(options: argparse.Namespace) -> int:
    layout = Layout(options.dir)
    layout.check()
    if options.command == "status":
        text, is_up = Testbed(layout).status()
        print(text)
        return 0 if is_up else _DOWN
    if options.command == "env":
        print(Testbed(layout).environment())
        return 0
    if options.command == "down" and not layout.exists():
        print(f"testbed is down in {layout.dir}")
        return 0
    with layout.locked():
        bed = Testbed(layout)
        if options.command == "up":
            print(bed.up(_given_settings(options), fresh=options.fresh))
        elif options.command == "down":
            print(bed.down())
            if options.wipe:
                layout.wipe()
                layout.remove_directory()
        elif options.command == "stop":
            print(bed.stop_daemons(options.daemon, kill=options.kill))
        else:
            print(bed.start_daemons(options.daemon))
    return 0


def _terminated(number: int, _frame: object) -> NoReturn:
    # As for Ctrl-C: what was started is stopped on the way out.
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGHUP, _terminated)
    try:
        return _run(options)
    except TestbedError as error:
        print(f"testbed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
