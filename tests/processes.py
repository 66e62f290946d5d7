"""Run functions in processes of their own, all at once, or killed on the way.

They are forked by a server without threads: a fork of a test process that has
some, as under pytest-xdist, may wait for ever for a lock that nobody holds.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.reduction import DupFd
from pathlib import Path

from datalad import cfg
from datalad.cli.main import main

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["pytest", "datalad.api", "datalad.cli.main", "datalad_slurm.workflow.take_over"]
)


def at_once(count: int, function: Callable[..., object], *args: object) -> None:
    """Run a function in several processes that start together; all must end well."""
    barrier = _CONTEXT.Barrier(count)
    workers = [
        _CONTEXT.Process(target=_after, args=(barrier, function, *args)) for _ in range(count)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * count


def _after(barrier, function, *args):
    barrier.wait()
    function(*args)


def datalad(args: Sequence[str | Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run datalad's command line in a process that need not import it first."""
    umask = os.umask(0)
    os.umask(umask)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        streams = (DupFd(out.fileno()), DupFd(err.fileno()))
        how = (args, cwd, dict(os.environ), umask, streams)
        worker = _CONTEXT.Process(target=_datalad, args=how)
        worker.start()
        worker.join()
        printed = []
        for file in (out, err):
            file.seek(0)
            printed.append(file.read())
    return subprocess.CompletedProcess(["datalad", *args], worker.exitcode or 0, *printed)


def _datalad(args, cwd, env, umask, streams):
    os.umask(umask)
    for number, stream in enumerate(streams, 1):
        os.dup2(stream.detach(), number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    # read with another HOME
    cfg.reload(force=True)
    main(["datalad", *map(os.fspath, args)])


def killed_at_each_statement(function: Callable[..., object], *args: object) -> Iterator[int]:
    """Yield after each run of a function that is killed before statement 1, 2, 3 ..."""
    for at in itertools.count(1):
        worker = _CONTEXT.Process(target=_killed_at, args=(at, function, *args))
        worker.start()
        worker.join()
        yield at
        if worker.exitcode == 0:
            assert at > 2
            return
        assert worker.exitcode == -signal.SIGKILL


def _killed_at(at, function, *args):
    countdown = iter(range(at - 1, -1, -1))

    class Connection(sqlite3.Connection):
        def execute(self, *arguments):
            _die_at_zero(countdown)
            return super().execute(*arguments)

        def executemany(self, *arguments):
            _die_at_zero(countdown)
            return super().executemany(*arguments)

    sqlite3.connect = partial(sqlite3.connect, factory=Connection)
    function(*args)


def _die_at_zero(countdown):
    if next(countdown) == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def killed_after(seconds: float, function: Callable[..., object], *args: object) -> bool:
    """Run a function that is killed after a time; return whether it was."""
    worker = _CONTEXT.Process(target=_with_alarm, args=(seconds, function, *args))
    worker.start()
    worker.join()
    assert worker.exitcode in (0, -signal.SIGALRM)
    return worker.exitcode != 0


def _with_alarm(seconds, function, *args):
    signal.setitimer(signal.ITIMER_REAL, seconds)
    function(*args)
