"""Kill a command at each of its external calls, deterministically.

Stand-ins for the external programs come first on PATH. They count the calls
that the command itself makes; at the one that is chosen they kill it with
SIGKILL (or interrupt it), before or after the real program has run.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("git", "sbatch", "sacct", "scontrol", "squeue")
_STAND_IN = """\
#!/bin/bash
# calls of children are not the command's own, but sbatch is always called through one
[ "$PPID" = "$(cat {dir}/pid)" ] || [ {name} = sbatch ] || exec {real} "$@"
number=$(( $(cat {dir}/count) + 1 ))
echo $number > {dir}/count
echo {name} "${{@:1:6}}" >> {dir}/calls
[ $number != "$(cat {dir}/at)" ] && exec {real} "$@"
printf '%s ' {name} "$@" > {dir}/hit
[ "$(cat {dir}/when)" = after ] && {{ {real} "$@"; status=$?; }}
kill -$(cat {dir}/signal) "$(cat {dir}/pid)"
exit ${{status:-137}}
"""


@dataclass
class Crasher:
    """Runs functions that crash at chosen external calls."""

    directory: Path

    @classmethod
    def make(cls, directory: Path) -> Crasher:
        """Put the stand-ins into a directory."""
        (directory / "bin").mkdir(parents=True)
        for name in PROGRAMS:
            real = shutil.which(name)
            assert real, name
            stand_in = directory / "bin" / name
            stand_in.write_text(_STAND_IN.format(dir=directory, name=name, real=real))
            stand_in.chmod(0o755)
        return cls(directory)

    def run(
        self, function: Callable[[], object], at: int, when: str, sig: int = signal.SIGKILL
    ) -> tuple[int, int]:
        """Run a function in a child process that crashes at external call number `at`.

        Returns
        -------
        tuple of int
            The child's wait status, and the number of calls it made.
        """
        for name, content in {"count": 0, "at": at, "when": when, "signal": int(sig)}.items():
            (self.directory / name).write_text(f"{content}\n")
        for left in ("hit", "calls"):
            (self.directory / left).unlink(missing_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                (self.directory / "pid").write_text(f"{os.getpid()}\n")
                os.environ["PATH"] = f"{self.directory / 'bin'}:{os.environ['PATH']}"
                silence = os.open(self.directory / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(silence, 1)
                os.dup2(silence, 2)
                function()
                code = 0
            except KeyboardInterrupt:
                code = 130
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        return status, int((self.directory / "count").read_text())

    @property
    def hit(self) -> str:
        """The call at which it crashed."""
        path = self.directory / "hit"
        return path.read_text() if path.exists() else ""
