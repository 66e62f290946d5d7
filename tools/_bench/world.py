"""Where the benchmark happens: its own directory, Slurm, home and git identity."""

from __future__ import annotations

import fcntl
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _bench.environments import CHECKOUT
from _bench.processes import BenchError, Run, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from _bench.environments import Tool

_TESTBED = CHECKOUT / "tools" / "testbed"
_PREFIX = "dls-bench."
_LOCK = "lock"
_PATIENCE = 120.0
#: seconds more for slurmctld to cancel ten thousand jobs
_CANCEL_PATIENCE = 300.0
#: ids on one command line
_IDS = 5000


class World:
    """A directory and a Slurm of the benchmark's own; both are gone when it is left.

    Parameters
    ----------
    directory : Path
        Below it, datasets are made: its file system is what is measured.
    say : callable
        Tells the user what happens.
    keep : bool
        Whether the directory stays.
    """

    def __init__(self, directory: Path, say: Callable[[str], None], *, keep: bool = False) -> None:
        self._parent = directory.resolve()
        self._keep = keep
        self.say = say
        self.root = Path()
        self.env: dict[str, str] = {}

    def __enter__(self) -> World:
        clear_up(self._parent, self.say)
        self._parent.mkdir(parents=True, exist_ok=True)
        self.root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._parent))
        # Held as long as we live; a later run clears up after us if we are killed.
        self._lock = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            # Its sockets need a short path, and their daemons a quick file system.
            self.testbed = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}slurm.", dir="/tmp"))
            (self.root / "testbed").write_text(str(self.testbed))
            _testbed("up", self.testbed)
            self.env = self._environment()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        _clear(self.root, keep=self._keep)
        os.close(self._lock)
        if self._keep:
            self.say(f"kept: {self.root}")

    def _environment(self) -> dict[str, str]:
        """Build the environment of everything that is measured, from nothing."""
        home = self.root / "home"
        home.mkdir()
        env = {name: os.environ[name] for name in ("PATH", "TZ") if name in os.environ}
        for line in _testbed("env", self.testbed).splitlines():
            words = shlex.split(line)
            if words[0] == "export":
                name, _, value = words[1].partition("=")
                env[name] = value
        env.pop("DATALAD_SLURM_TESTBED", None)
        who = {"NAME": "Benchmark", "EMAIL": "benchmark@example.com"}
        return env | {
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{role}_{key}": who[key] for role in ("AUTHOR", "COMMITTER") for key in who},
        }

    def run(self, argv: Sequence[str | Path], cwd: Path | None = None, **more: Any) -> Run:
        """Run a program that belongs to no tool."""
        return run(argv, env=self.env, cwd=cwd or self.root, **more)

    def run_tool(self, tool: Tool, argv: Sequence[str | Path], cwd: Path, **more: Any) -> Run:
        """Run a program of a tool, or with a tool on its PATH."""
        return run(argv, env=tool.environment(self.env), cwd=cwd, **more)

    # -- Slurm -----------------------------------------------------------------

    def wait_until_idle(self, expected: float = 0.0) -> None:
        """Wait until no job is in the queue; `expected` seconds are nothing unusual."""
        deadline = time.monotonic() + _PATIENCE + expected
        while left := self.run(["squeue", "--noheader", "--format=%A"]).output.split():
            if time.monotonic() > deadline:
                raise BenchError(f"{len(left)} jobs do not end")
            # A long queue takes slurmctld long to tell.
            time.sleep(min(0.2 + len(left) / 200, 5.0))

    def wait_until_completed(self, ids: Sequence[int]) -> None:
        """Wait until jobs have ended, well, and the accounting knows it."""
        self.wait_until_idle(expected=len(ids))
        self.wait_until_known(ids, {"COMPLETED"})

    def wait_until_known(self, ids: Sequence[int], among: set[str] | None = None) -> None:
        """Wait until the accounting knows jobs, and has them in one of some states."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            states = self.states(ids)
            if len(states) == len(ids) and set(states) <= (among or set(states)):
                return
            if time.monotonic() > deadline:
                counts = {state: states.count(state) for state in sorted(set(states))}
                raise BenchError(f"of {len(ids)} jobs the accounting says {counts}")
            time.sleep(0.5)

    def states(self, ids: Sequence[int]) -> list[str]:
        """Return the accounting's states of jobs."""
        found: list[str] = []
        for start in range(0, len(ids), _IDS):
            joined = ",".join(map(str, ids[start : start + _IDS]))
            argv = ["sacct", "-n", "-X", "-P", "-j", joined, "-o", "State"]
            found += self.run(argv).output.split()
        return found

    def cancel_all(self) -> None:
        """Cancel every job of this Slurm."""
        self.run(["scancel", "--state=PENDING"])
        self.run(["scancel", "--state=RUNNING"])
        self.wait_until_idle(expected=_CANCEL_PATIENCE)


def clear_up(parent: Path, say: Callable[[str], None]) -> None:
    """Remove what runs that were killed have left below a directory."""
    for root in parent.glob(f"{_PREFIX}*"):
        try:
            if root.stat().st_uid != os.getuid():
                continue
            lock = os.open(root / _LOCK, os.O_RDWR)
        except OSError:
            continue  # not a run's, or one that was kept
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            say(f"clearing up after a run that was killed: {root}")
            _clear(root, keep=False)
        except BlockingIOError:
            pass  # somebody else's, and running
        finally:
            os.close(lock)


def _clear(root: Path, *, keep: bool) -> None:
    noted = root / "testbed"
    if noted.exists():
        _testbed("down", Path(noted.read_text()), "--wipe")
        noted.unlink()
    if keep:
        (root / _LOCK).unlink(missing_ok=True)
    else:
        remove(root)


def remove(path: Path) -> None:
    """Remove a directory tree; git-annex takes away the right to write from its directories."""
    if not path.exists():
        return
    subprocess.run(["chmod", "-R", "u+w", "--", path], check=False)
    # Python takes minutes where there are very many files
    subprocess.run(["rm", "-rf", "--", path], check=False)


def _testbed(command: str, directory: Path, *options: str) -> str:
    # In its own session: Ctrl-C is ours, and `down` is to come to its end.
    done = subprocess.run(
        [sys.executable, "-B", _TESTBED, command, "--dir", directory, *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    if done.returncode != 0:
        raise BenchError(f"testbed {command}: {done.stderr.strip()}")
    return done.stdout
