"""Run programs: nothing of them is left when the benchmark is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TICKS = os.sysconf("SC_CLK_TCK")
_CORES = os.cpu_count() or 1


class BenchError(Exception):
    """Something the user is told in one message, without a traceback."""


@dataclass(frozen=True)
class Run:
    """What one run of a program took."""

    #: seconds from its start to its end
    wall: float
    #: seconds of CPU, of the children it waited for as well
    cpu: float
    #: kB at most resident, of the largest process
    memory: int
    #: share of the machine's CPUs that everything else used meanwhile
    others: float
    status: int
    #: what it printed on stdout
    output: str


def run(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stdin: str | bytes = b"",
    ok: Sequence[int] = (0,),
) -> Run:
    """Run a program to its end and return what it took.

    It has a session of its own: whatever stops the benchmark stops all of it.

    Raises
    ------
    BenchError
        When its exit status is not one of `ok`.
    """
    words = [os.fspath(word) for word in argv]
    # Files: programs write faster there than into a pipe that is read.
    with (
        tempfile.TemporaryFile() as source,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):
        source.write(stdin.encode() if isinstance(stdin, str) else stdin)
        source.seek(0)
        busy = _busy_seconds()
        begun = time.perf_counter()
        child = subprocess.Popen(
            words,
            cwd=cwd,
            env={**env, "PWD": os.fspath(cwd)},
            stdin=source,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            _end(child)
            raise
        wall = time.perf_counter() - begun
        busy = _busy_seconds() - busy
        child.returncode = os.waitstatus_to_exitcode(status)
        cpu = usage.ru_utime + usage.ru_stime
        text, said = (_content(stream) for stream in (output, errors))
    if child.returncode not in ok:
        tail = "\n".join([*text.splitlines()[-15:], *said.splitlines()[-15:]])
        msg = f"{' '.join(words)[:300]}\nin {cwd} ended with status {child.returncode}:\n{tail}"
        raise BenchError(msg)
    others = max(0.0, busy - cpu) / (max(wall, 0.01) * _CORES)
    return Run(wall, cpu, usage.ru_maxrss, min(others, 1.0), child.returncode, text)


def _content(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child and all that is in its session's process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(5 if number == signal.SIGTERM else None)
        except subprocess.TimeoutExpired:
            continue
        time.sleep(0.2)  # for those it had started
    child.poll()


def _busy_seconds() -> float:
    """Return the CPU seconds that all processes of the machine have used since its start."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / _TICKS
