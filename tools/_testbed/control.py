"""What the commands do: bring a testbed up and down, and tell how it is."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _testbed.config import CLUSTER, is_loopback, write_config
from _testbed.daemons import START_LIMIT, Daemon, daemons, stop
from _testbed.layout import (
    SLURM_PREFIXES,
    Layout,
    Settings,
    TestbedError,
    clean_environment,
    find_programs,
    user_name,
)
from _testbed.processes import daemon_processes, end_processes, job_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_COMMAND_LIMIT = 60.0
# KillWait is 12 seconds: by then every cancelled job has been killed.
_CANCEL_LIMIT = 25.0


class Testbed:
    """One testbed: its directory, its settings, the programs of this machine."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.settings = layout.load_settings()

    def daemons(self) -> list[Daemon]:
        return [] if self.settings is None else daemons(self.layout, self.settings)

    def running(self) -> list[Daemon]:
        return [daemon for daemon in self.daemons() if daemon.pid() is not None]

    # -- up ------------------------------------------------------------------

    def up(self, options: dict[str, Any], *, fresh: bool) -> str:
        """Start what does not run; return what to tell the user."""
        begun = time.monotonic()
        programs = find_programs()
        if fresh:
            self.down()
            self.layout.wipe()
            self.settings = None
        running = {daemon.name for daemon in self.running()}
        if running:
            self._refuse_other_settings(options)
        else:
            self._configure(options, programs)
        missing = [daemon for daemon in self.daemons() if daemon.name not in running]
        if not missing:
            self._wait_ready(time.monotonic() + START_LIMIT)
            return f"testbed is already up in {self.layout.dir}"
        try:
            self._start(missing, programs, from_nothing=not running)
        except BaseException:
            print("testbed: stopping what was started", file=sys.stderr)
            if running:
                stop(reversed(missing))
            else:
                self.down()
            raise
        took = time.monotonic() - begun
        if running:
            names = ", ".join(daemon.name for daemon in missing)
            return f"testbed in {self.layout.dir}: started {names} again ({took:.1f} s)"
        return f"testbed is up in {self.layout.dir} ({took:.1f} s)"

    def _refuse_other_settings(self, options: dict[str, Any]) -> None:
        for name, value in options.items():
            if getattr(self.settings, name) != value:
                msg = f"is up with another {name}: `tools/testbed down` first"
                raise TestbedError(msg)

    def _configure(self, options: dict[str, Any], programs: dict[str, str]) -> None:
        # Daemons whose pid file is lost would fight with the new ones.
        left = end_processes(self.layout, with_daemons=True)
        if left:
            msg = f"processes of an earlier run cannot be ended: {sorted(left)}"
            raise TestbedError(msg)
        ports = self.settings.first_port if self.settings else 0
        self.settings = replace(Settings(**options), first_port=ports)
        self.settings.choose_ports()
        self.layout.create_parts()
        for log in self.layout.log.glob("*.log"):
            log.replace(log.with_suffix(".log.1"))
        write_config(self.layout, self.settings, programs)
        self.layout.save_settings(self.settings)
        if not is_loopback():
            print(
                "testbed: the name of this machine does not lead to 127.0.0.1 (see /etc/hosts):"
                " Slurm's daemons listen at all its addresses, guarded by munge's key",
                file=sys.stderr,
            )

    def _start(
        self, missing: list[Daemon], programs: dict[str, str], *, from_nothing: bool
    ) -> None:
        groups: list[Callable[[Daemon], bool]] = [
            lambda daemon: daemon.name in ("munged", "mariadbd"),
            lambda daemon: daemon.name == "slurmdbd",
            lambda daemon: daemon.name == "slurmctld",
            lambda daemon: daemon.program == "slurmd",
        ]
        if self._lacks_database():
            self._create_database(programs)
        # Each group needs the one before it: slurmctld ends when it finds no
        # slurmdbd on its first start, slurmdbd when it finds no database.
        for belongs in groups:
            group = [daemon for daemon in missing if belongs(daemon)]
            if group and group[0].name == "slurmctld":
                self._keep_job_ids_unique()
            for daemon in group:
                daemon.start(programs)
            deadline = time.monotonic() + START_LIMIT
            for daemon in group:
                daemon.wait(deadline)
            if not group:
                continue
            if group[0].name == "slurmdbd":
                self._add_accounts(group[0])
            if group[0].name == "slurmctld" and from_nothing:
                # What an earlier run, ended by force, left in the queue.
                self._cancel_jobs(wait=False)
        self._wait_ready(time.monotonic() + START_LIMIT)

    def _lacks_database(self) -> bool:
        no_accounting = self.settings is not None and self.settings.no_accounting
        return not (no_accounting or self.layout.database.exists())

    def _create_database(self, programs: dict[str, str]) -> None:
        new = self.layout.tmp / "db"
        log = self.layout.log / "mariadb-install-db.log"
        subprocess.run(["rm", "-rf", "--", str(new)], check=True)
        with log.open("wb") as stream:
            result = subprocess.run(
                [
                    programs["mariadb-install-db"],
                    f"--defaults-file={self.layout.etc}/mariadb.cnf",
                    f"--datadir={new}",
                    "--basedir=/usr",
                    "--auth-root-authentication-method=socket",
                    "--skip-test-db",
                    "--skip-name-resolve",
                    f"--user={user_name(os.getuid())}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=self.layout.tmp,
                env=clean_environment(self.layout),
                check=False,
                start_new_session=True,
            )
        if result.returncode != 0:
            Daemon(self.layout, "mariadb-install-db", "", []).fail(
                f"mariadb-install-db ended with status {result.returncode}"
            )
        new.replace(self.layout.database)

    def _add_accounts(self, slurmdbd: Daemon) -> None:
        """Tell a new database of the cluster, an account, and the user."""
        done = self.layout.state / "accounts-added"
        if done.exists():
            return
        user = user_name(os.getuid())
        commands = [
            ["add", "cluster", CLUSTER],
            ["add", "account", "testbed", f"Cluster={CLUSTER}"],
            ["add", "user", user, "Account=testbed", "DefaultAccount=testbed"],
        ]
        for command in commands:
            result = self.command("sacctmgr", "--immediate", *command)
            # An interrupted `up` may have added some of them.
            if result.returncode != 0 and "Nothing new added" not in result.stdout:
                slurmdbd.fail(f"sacctmgr {' '.join(command)}: {result.stdout}{result.stderr}")
        done.touch()

    def _keep_job_ids_unique(self) -> None:
        """Go on above the ids in the database after an end by force.

        slurmctld saves its state every few seconds. Killed before that, it
        gives the last ids once more.
        """
        clean = self.layout.state / "clean-end"
        if (self.layout.state / "slurmctld").exists() and not clean.exists():
            jobs = self.command(
                "sacct", "-a", "-X", "-n", "-P", "--starttime=2000-01-01", "--format=JobIDRaw"
            )
            ids = [int(line) for line in jobs.stdout.split() if line.isdigit()]
            # Some may not have come as far as the database.
            with self.layout.slurm_conf.open("a") as stream:
                stream.write(f"FirstJobId={max(ids, default=0) + 100}\n")
        clean.unlink(missing_ok=True)

    def _wait_ready(self, deadline: float) -> None:
        """Wait until every node can take jobs, and sacct answers."""
        while True:
            nodes = self.node_states()
            if len(nodes) == len(self._node_names()) and all(map(_can_run, nodes.values())):
                break
            if time.monotonic() > deadline:
                self._fail_nodes(nodes)
            time.sleep(0.05)
        if self.settings is not None and self.settings.no_accounting:
            return
        while True:
            result = self.command("sacct", "-X", "-n")
            if result.returncode == 0:
                return
            if time.monotonic() > deadline:
                msg = f"sacct does not answer: {result.stderr}"
                raise TestbedError(msg)
            time.sleep(0.1)

    def _node_names(self) -> list[str]:
        return [] if self.settings is None else self.settings.node_names

    def _fail_nodes(self, nodes: dict[str, str]) -> None:
        by_name = {daemon.name: daemon for daemon in self.daemons()}
        for node in self._node_names():
            if not _can_run(nodes.get(node, "unknown")):
                state = nodes.get(node, "unknown")
                by_name[f"slurmd:{node}"].fail(f"node {node} is not idle but {state}")

    # -- down ----------------------------------------------------------------

    def down(self) -> str:
        """Cancel all jobs, stop all daemons, and see that nothing is left."""
        running = self.running()
        if any(daemon.name == "slurmctld" for daemon in running):
            self._cancel_jobs(wait=True)
        # Their slurmd is still there to report the ends.
        end_processes(self.layout, with_daemons=False)
        for group in (
            [daemon for daemon in running if daemon.program in ("slurmd", "slurmctld")],
            [daemon for daemon in running if daemon.name == "slurmdbd"],
            [daemon for daemon in running if daemon.name in ("mariadbd", "munged")],
        ):
            stop(group)
        if any(daemon.name == "slurmctld" for daemon in running):
            (self.layout.state / "clean-end").touch()
        left = end_processes(self.layout, with_daemons=True)
        if left:
            msg = f"processes cannot be ended: {sorted(left)}"
            raise TestbedError(msg)
        for daemon in self.daemons():
            daemon.pid_file.unlink(missing_ok=True)
        if not running:
            return f"testbed is down in {self.layout.dir}"
        return f"testbed in {self.layout.dir}: stopped"

    def _cancel_jobs(self, *, wait: bool) -> None:
        # Pending ones first, so that none starts where another was cancelled.
        for state in ("PENDING", "RUNNING", "SUSPENDED"):
            result = self.command("scancel", f"--state={state}")
            if result.returncode != 0:
                print(f"testbed: scancel: {result.stderr.strip()}", file=sys.stderr)
                return
        deadline = time.monotonic() + _CANCEL_LIMIT
        while wait and time.monotonic() < deadline:
            if not self.command("squeue", "--noheader", "--format=%A").stdout.strip():
                return
            time.sleep(0.1)

    # -- single daemons ------------------------------------------------------

    def chosen(self, name: str) -> list[Daemon]:
        """Find daemons by name; `slurmd` stands for those of all nodes."""
        if self.settings is None:
            msg = f"there is no testbed in {self.layout.dir}: `tools/testbed up` first"
            raise TestbedError(msg)
        known = self.daemons()
        found = [daemon for daemon in known if name in (daemon.name, daemon.program)]
        if not found:
            msg = f"{name}: no such daemon, but {', '.join(daemon.name for daemon in known)}"
            raise TestbedError(msg)
        return found

    def stop_daemons(self, name: str, *, kill: bool) -> str:
        found = [daemon for daemon in self.chosen(name) if daemon.pid() is not None]
        stop(found, kill=kill)
        return f"stopped {_names(found)}" if found else f"{name} does not run"

    def start_daemons(self, name: str) -> str:
        programs = find_programs()
        found = [daemon for daemon in self.chosen(name) if daemon.pid() is None]
        if self._lacks_database():
            msg = "was never up: `tools/testbed up` first"
            raise TestbedError(msg)
        deadline = time.monotonic() + START_LIMIT
        try:
            for daemon in found:
                daemon.start(programs)
            for daemon in found:
                daemon.wait(deadline)
        except BaseException:
            stop(found)
            raise
        return f"started {_names(found)}" if found else f"{name} runs already"

    # -- telling -------------------------------------------------------------

    def status(self) -> tuple[str, bool]:
        """Describe the testbed, and tell whether all of it is up."""
        known = self.daemons()
        pids = {daemon.name: daemon.pid() for daemon in known}
        count = sum(pid is not None for pid in pids.values())
        word = "down" if count == 0 else "up" if count == len(known) else "partly up"
        lines = [f"testbed in {self.layout.dir}: {word}"]
        for daemon in known:
            pid = pids[daemon.name]
            state = "down" if pid is None else f"up    pid {pid:<8} {daemon.address}"
            lines.append(f"  {daemon.name:<12} {state}")
        if pids.get("slurmctld") is not None and pids.get("munged") is not None:
            nodes = self.node_states(limit=10)
            states = ", ".join(f"{node} {state}" for node, state in sorted(nodes.items()))
            lines.append(f"  nodes: {states or 'slurmctld does not answer'}")
        if count == 0:
            stray = daemon_processes(self.layout) | job_processes(self.layout)
            if stray:
                lines.append(f"  processes left over: {sorted(stray)}")
        return "\n".join(lines), word == "up"

    def environment(self) -> str:
        """Give the shell commands that lead Slurm's commands to this testbed."""
        running = self.running()
        if not running:
            msg = f"is not up in {self.layout.dir}: `tools/testbed up` first"
            raise TestbedError(msg)
        down = [daemon for daemon in self.daemons() if daemon.pid() is None]
        if down:
            # Perhaps on purpose, by `stop`.
            print(f"testbed: not running: {_names(down)}", file=sys.stderr)
        lines = [f"unset {name}" for name in sorted(os.environ) if name.startswith(SLURM_PREFIXES)]
        lines.append(f"export SLURM_CONF={shlex.quote(str(self.layout.slurm_conf))}")
        lines.append(f"export DATALAD_SLURM_TESTBED={shlex.quote(str(self.layout.dir))}")
        here = os.environ.get("PATH", "").split(":")
        extra = {str(Path(path).parent) for path in find_commands()} - set(here)
        if extra:
            lines.append(f"export PATH={shlex.quote(':'.join([*here, *sorted(extra)]))}")
        return "\n".join(lines)

    def node_states(self, limit: float = _COMMAND_LIMIT) -> dict[str, str]:
        result = self.command("sinfo", "--noheader", "--Node", "--format=%N %T", limit=limit)
        pairs = (line.split() for line in result.stdout.splitlines())
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def command(
        self, program: str, *arguments: str, limit: float = _COMMAND_LIMIT
    ) -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's commands; one that hangs is a failed one."""
        path = find_programs()[program]
        try:
            return subprocess.run(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env=clean_environment(self.layout),
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(
                [path, *arguments], 124, "", f"{program} did not end within {limit:.0f} s"
            )


def find_commands() -> list[str]:
    programs = find_programs()
    return [programs[name] for name in ("sbatch", "squeue", "sacct", "scancel", "sinfo")]


def _can_run(state: str) -> bool:
    # A star means that the node does not answer. A drained node is somebody's
    # wish, and up to them.
    return not state.endswith("*") and state.startswith(
        ("idle", "mixed", "allocated", "completing", "drain", "reserved")
    )


def _names(found: Iterable[Daemon]) -> str:
    return ", ".join(daemon.name for daemon in found)
