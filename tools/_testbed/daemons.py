"""The daemons: how each is started, recognised, waited for, and stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from _testbed.layout import TestbedError, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _testbed.layout import Layout, Settings

START_LIMIT = 60.0
_STOP_LIMIT = 30.0
_KILL_LIMIT = 10.0
_TAIL_LINES = 20


@dataclass
class Daemon:
    """One daemon of one testbed."""

    layout: Layout
    name: str
    program: str
    arguments: list[str]
    # What tells it from its siblings with the same program.
    mark: tuple[str, ...] = ()
    port: int | None = None
    socket_path: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def _file_name(self) -> str:
        return self.name.replace(":", "-")

    @property
    def link(self) -> Path:
        """The program, by a path in the state directory.

        Every daemon is started by this path, which then begins its command
        line: whose process it is can be read from /proc even for slurmdbd,
        which takes no argument that would tell.
        """
        return self.layout.sbin / self.program

    @property
    def log_file(self) -> Path:
        return self.layout.log / f"{self._file_name}.log"

    @property
    def pid_file(self) -> Path:
        return self.layout.run / f"{self._file_name}.pid"

    @property
    def address(self) -> str:
        return str(self.socket_path) if self.port is None else f"127.0.0.1:{self.port}"

    def is_process(self, pid: int) -> bool:
        """Tell whether a process is this daemon; a pid may be anyone's by now."""
        words = command_line(pid)
        return bool(words) and words[0] == str(self.link) and set(self.mark) <= set(words)

    def pid(self) -> int | None:
        try:
            pid = int(self.pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if self.is_process(pid) else None

    def start(self, programs: dict[str, str]) -> None:
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(programs[self.program])
        environment = clean_environment(self.layout)
        # In the foreground, so that the pid is known from the first moment on,
        # and everything it says goes to the one log.
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.link), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.layout.log,
                env=environment,
                start_new_session=True,
                umask=0o022,
            )
        self.pid_file.write_text(f"{self.process.pid}\n")

    def answers(self) -> bool:
        family = socket.AF_UNIX if self.port is None else socket.AF_INET
        with socket.socket(family) as probe:
            probe.settimeout(2)
            try:
                probe.connect(
                    str(self.socket_path) if self.port is None else ("127.0.0.1", self.port)
                )
            except OSError:
                return False
        return True

    def wait(self, deadline: float) -> None:
        """Wait until it listens; raise with the end of its log if it will not."""
        while not self.answers():
            if self.process is not None and self.process.poll() is not None:
                self.fail(f"{self.name} ended with status {self.process.returncode}")
            if time.monotonic() > deadline:
                self.fail(f"{self.name} does not answer at {self.address}")
            time.sleep(0.02)

    def fail(self, what: str) -> None:
        lines = tail(self.log_file)
        msg = f"{what}. The end of {self.log_file}:\n{lines}"
        raise TestbedError(msg)


def daemons(layout: Layout, settings: Settings) -> list[Daemon]:
    """List the daemons of a testbed, in the order in which they are started."""
    found = [
        Daemon(
            layout,
            "munged",
            "munged",
            # --force: the directory is ours alone, which munged dislikes.
            [
                "--foreground",
                "--force",
                f"--socket={layout.munge_socket}",
                f"--key-file={layout.etc}/munge.key",
                f"--pid-file={layout.run}/munged.own.pid",
                f"--log-file={layout.log}/munged.own.log",
                f"--seed-file={layout.state}/munge.seed",
            ],
            socket_path=layout.munge_socket,
        ),
        Daemon(
            layout,
            "mariadbd",
            "mariadbd",
            [f"--defaults-file={layout.etc}/mariadb.cnf", "--basedir=/usr"],
            port=settings.database_port,
        ),
        Daemon(layout, "slurmdbd", "slurmdbd", ["-D"], port=settings.slurmdbd_port),
        Daemon(
            layout,
            "slurmctld",
            "slurmctld",
            ["-D", "-f", str(layout.slurm_conf)],
            mark=("-D",),
            port=settings.slurmctld_port,
        ),
    ]
    if settings.no_accounting:
        found = [daemon for daemon in found if daemon.name not in ("mariadbd", "slurmdbd")]
    found += [
        Daemon(
            layout,
            f"slurmd:{node}",
            "slurmd",
            ["-D", "-f", str(layout.slurm_conf), "-N", node],
            mark=("-N", node),
            port=settings.slurmd_port(node),
        )
        for node in settings.node_names
    ]
    return found


def stop(stopping: Iterable[Daemon], *, kill: bool = False) -> None:
    """End daemons, all at once: SIGTERM, and SIGKILL for those that stay."""
    left = {daemon.name: daemon for daemon in stopping}
    for number, limit in ((signal.SIGTERM, _STOP_LIMIT), (signal.SIGKILL, _KILL_LIMIT)):
        if kill and number == signal.SIGTERM:
            continue
        for daemon in left.values():
            pid = daemon.pid()
            if pid is not None:
                send_signal(pid, number)
        deadline = time.monotonic() + limit
        while left and time.monotonic() < deadline:
            for name, daemon in list(left.items()):
                if daemon.process is not None:
                    daemon.process.poll()
                if daemon.pid() is None:
                    daemon.pid_file.unlink(missing_ok=True)
                    del left[name]
            if left:
                time.sleep(0.02)
    if left:
        msg = f"cannot be ended: {', '.join(left)}"
        raise TestbedError(msg)


def command_line(pid: int) -> list[str]:
    """Read the words of a process's command line; none if it has ended."""
    try:
        data = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(word) for word in data.rstrip(b"\0").split(b"\0")] if data else []


def send_signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def tail(path: Path) -> str:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        return f"({error})"
    return "\n".join(lines[-_TAIL_LINES:]) or "(it is empty)"
