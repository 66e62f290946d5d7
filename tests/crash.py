"""Stop a command at each step of its work, deterministically.

A function runs in a forked child, which counts its steps: before and after each
program that it starts, before and after what each transaction of a tracking
database changes, and before each change of a file below a directory. At the step
that is chosen it is killed or interrupted, or something else happens.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datalad.support.exceptions import IncompleteResultsError

#: What can happen at a step: text for a shell, in which $pid is the process; `stop` keeps
#: sbatch, which the process does not start itself, from going on.
KILL = "kill -KILL $pid; stop=yes"
INTERRUPT = "kill -INT $pid; stop=yes"

#: From step to step: what a kill leaves undone, an interrupt leaves undone as well.
STRIDES = {KILL: 8, INTERRUPT: 16}
_TRY_ALL = os.environ.get("DATALAD_SLURM_ALL_FAULTS") == "1"

_SBATCH = """\
#!/bin/bash
pid=$(< {dir}/pid)
step() {{
    echo "$1 sbatch" >> {dir}/steps
    case "$(< {dir}/at)" in
    "$(wc -l < {dir}/steps)" | "$1 sbatch") eval "$(< {dir}/action)" ;;
    esac
}}
step before
[ -z "$stop" ] || exit 130
{real} "$@"
status=$?
step after
exit $status
"""
#: audit events of functions that change files, and which of their arguments are paths
_CHANGES = {
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.mkdir": (0,),
    "os.symlink": (1,),
    "os.link": (1,),
    "os.truncate": (0,),
    "os.chmod": (0,),
}


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    #: exit status, or the negative number of a signal
    code: int
    steps: tuple[str, ...]
    output: str

    @property
    def calls(self) -> list[str]:
        """The programs that were started, with their arguments."""
        return [step.removeprefix("before ") for step in self.steps if step.startswith("before ")]


def thinned(stride: int) -> int:
    """Return a stride over faults of which there are many, or 1 where all are to be tried."""
    return 1 if _TRY_ALL else stride


class Crasher:
    """Runs functions that are stopped at chosen steps.

    Parameters
    ----------
    directory : Path
        For files of its own; made.
    root : Path
        Changes of files below it are steps.
    """

    def __init__(self, directory: Path, root: Path) -> None:
        self._directory = directory
        self.root = root
        bin_dir = directory / "bin"
        bin_dir.mkdir(parents=True)
        real = shutil.which("sbatch")
        assert real
        (bin_dir / "sbatch").write_text(_SBATCH.format(dir=directory, real=real))
        (bin_dir / "sbatch").chmod(0o755)

    def sweep_some(
        self,
        prepare: Callable[[], Callable[[], object]],
        check: Callable[[str], None],
        action: str,
        telling: str,
        most: int = 30,
    ) -> int:
        """Let `action` happen at some steps of a function; return their number.

        Parameters
        ----------
        prepare, check, action
            As for `sweep`.
        telling : str
            Regular expression; steps in which it is found, and those right behind them, are
            taken before others.
        most : int
            Number of steps, spread evenly over those that are telling and over the others.
        """
        steps = self.run(prepare()).steps  # nothing happens to it
        check("not stopped")
        reached = 0
        for at in _chosen(steps, telling, most):
            ended = self.run(prepare(), at, action)
            is_reached = len(ended.steps) >= at  # how often Slurm is asked may differ
            reached += is_reached
            step = ended.steps[at - 1] if is_reached else "never reached"
            check(f"{action.partition(';')[0]} at step {at}, {step}")
        return reached

    def sweep(
        self,
        prepare: Callable[[], Callable[[], object]],
        check: Callable[[str], None],
        action: str,
        stride: int = 1,
    ) -> int:
        """Let `action` happen at the first, second, ... step of a function; return their number.

        Parameters
        ----------
        prepare : callable
            Makes everything as it was at first, and returns the function.
        check : callable
            Told the step in words, asserts that all is well. Called a last time
            after a run to which nothing has happened.
        action : str
            What happens.
        stride : int
            From one step to the next, unless all faults are to be tried.
        """
        for count, at in enumerate(itertools.count(1, thinned(stride))):
            ended = self.run(prepare(), at, action)
            if len(ended.steps) < at:
                check("not stopped")
                return count
            check(f"{action.partition(';')[0]} at step {at}, {ended.steps[at - 1]}")
        raise AssertionError("the steps never end")

    def run(self, function: Callable[[], object], at: int | str = 0, action: str = KILL) -> Ended:
        """Run a function in a child process to which `action` happens at a step.

        Parameters
        ----------
        function : callable
            What is run.
        at : int or str
            Number of the step, or its name in `Ended.steps`.
        action : str
            What happens.
        """
        steps, output = self._directory / "steps", self._directory / "output"
        for name, content in {"steps": "", "at": f"{at}\n", "action": action}.items():
            (self._directory / name).write_text(content)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._in_child(function, at, action)
        _, status = os.waitpid(pid, 0)
        return Ended(
            os.waitstatus_to_exitcode(status),
            tuple(steps.read_text().splitlines()),
            output.read_text(errors="replace"),
        )

    def _in_child(self, function: Callable[[], object], at: int | str, action: str) -> None:
        code = 1
        try:
            silence = os.open(self._directory / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            # a shell has what it runs in the background ignore it
            signal.signal(signal.SIGINT, signal.default_int_handler)
            (self._directory / "pid").write_text(f"{os.getpid()}\n")
            os.environ["PATH"] = f"{self._directory / 'bin'}:{os.environ['PATH']}"
            _watch(self.root, _Steps(self._directory / "steps", at, action))
            function()
            code = 0
        except KeyboardInterrupt:
            code = 130
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        except IncompleteResultsError:
            pass  # the results were printed; the command line exits with 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _chosen(steps: Sequence[str], telling: str, most: int) -> list[int]:
    """Return numbers of steps: the telling ones and some others."""
    found = {at for at, step in enumerate(steps, 1) if re.search(telling, step)}
    found |= {at + 1 for at in found if at < len(steps)}
    others = [at for at in range(1, len(steps) + 1) if at not in found]
    first = _spread(sorted(found), most)
    return sorted([*first, *_spread(others, most - len(first))])


def _spread(numbers: Sequence[int], most: int) -> list[int]:
    count = min(most, len(numbers))
    return [numbers[position * len(numbers) // count] for position in range(count)]


class _Steps:
    """Counts steps in a file, which the stand-in for sbatch uses as well."""

    def __init__(self, path: Path, at: int | str, action: str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_APPEND)
        self._at = at
        self._action = f"pid={os.getpid()}\n{action}"

    def reach(self, name: str) -> None:
        step = " ".join(name.split())[:200]
        os.write(self._file, step.encode(errors="replace") + b"\n")
        if self._at in (step, os.pread(self._file, 10**6, 0).count(b"\n")):
            os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", self._action], os.environ), 0)


def _watch(root: Path, steps: _Steps) -> None:
    """Make the steps of this process known; there is no way back."""

    def is_below(path: Any) -> bool:
        # a name without a directory is one that shutil.rmtree removes
        return isinstance(path, str | bytes | os.PathLike) and (
            not os.path.isabs(os.fsdecode(path)) or os.fsdecode(path).startswith(f"{root}{os.sep}")
        )

    def audit(name: str, args: tuple[Any, ...]) -> None:
        if name == "subprocess.Popen":
            words = [args[1]] if isinstance(args[1], str) else args[1]
            steps.reach(f"before {' '.join(map(os.fsdecode, words))}")
        elif name == "os.mkdir" and os.path.lexists(args[0]):
            pass  # it is there already
        elif name in _CHANGES and any(is_below(args[i]) for i in _CHANGES[name]):
            steps.reach(f"{name} {args}")
        elif name == "open" and is_below(args[0]) and args[2] & (os.O_WRONLY | os.O_RDWR):
            steps.reach(f"open {args[0]!r}")

    real_wait = subprocess.Popen.wait

    def wait(self: subprocess.Popen[Any], timeout: float | None = None) -> int:
        is_news = self.returncode is None
        code = real_wait(self, timeout)
        if is_news:
            steps.reach(f"after {self.args}")
        return code

    class Connection(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            if arguments[0] == "COMMIT":
                steps.reach("before commit")
            return super().execute(*arguments)

        def close(self) -> None:
            super().close()
            steps.reach("after commit or rollback")

    subprocess.Popen.wait = wait  # type: ignore[method-assign]
    sqlite3.connect = partial(sqlite3.connect, factory=Connection)
    sys.addaudithook(audit)
