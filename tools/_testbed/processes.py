"""Find every process of a testbed, also those that no pid file names."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from _testbed.daemons import command_line, send_signal

if TYPE_CHECKING:
    from _testbed.layout import Layout

_TERM_LIMIT = 1.0
_KILL_LIMIT = 10.0


def daemon_processes(layout: Layout) -> set[int]:
    """Find daemons by the path they were started by, and what they forked."""
    found = set()
    for pid in _all_pids():
        words = command_line(pid)
        by_path = bool(words) and words[0].startswith(f"{layout.sbin}/")
        # slurmctld's helper process has a command line of its own.
        if by_path or (_is_slurm(pid, "slurmctld") and _holds_files_in(pid, layout)):
            found.add(pid)
    return found


def job_processes(layout: Layout) -> set[int]:
    """Find the steps of this testbed's jobs and all that runs in them."""
    steps = set()
    found = set()
    parents = {}
    for pid in _all_pids():
        parents[pid] = _parent(pid)
        if _is_slurm(pid, "slurmstepd") and _holds_files_in(pid, layout):
            steps.add(pid)
        elif _is_of_job(pid, layout):
            # Also when it left its step's process tree.
            found.add(pid)
    found |= steps
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in found} - found
        found |= children
        grown = bool(children)
    # Whoever calls this may itself run in such a job.
    return found - _ancestors(os.getpid(), parents)


def end_processes(layout: Layout, *, with_daemons: bool) -> set[int]:
    """End what is left, and return what could not be ended."""
    start = time.monotonic()
    while True:
        left = job_processes(layout)
        if with_daemons:
            left |= daemon_processes(layout)
        waited = time.monotonic() - start
        if not left or waited > _TERM_LIMIT + _KILL_LIMIT:
            return left
        number = signal.SIGTERM if waited < _TERM_LIMIT else signal.SIGKILL
        for pid in left:
            send_signal(pid, number)
        time.sleep(0.1)


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int:
    try:
        # The name, in brackets, may hold anything.
        after_name = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2]
        return int(after_name.split()[1])
    except (OSError, IndexError):
        return 0


def _ancestors(pid: int, parents: dict[int, int]) -> set[int]:
    found = set()
    while pid and pid not in found:
        found.add(pid)
        pid = parents.get(pid, 0)
    return found


def _is_slurm(pid: int, program: str) -> bool:
    try:
        # Debian's is slurmctld-wlm behind alternatives.
        return Path(f"/proc/{pid}/exe").readlink().name.startswith(program)
    except OSError:
        return False


def _holds_files_in(pid: int, layout: Layout) -> bool:
    # setproctitle leaves nothing to read in a step's command line and
    # environment; its log, and where it works, tell whose it is.
    below = f"{layout.dir}/"
    try:
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    for link in (Path(f"/proc/{pid}/cwd"), *links):
        try:
            if str(link.readlink()).startswith(below):
                return True
        except OSError:
            continue
    return False


def _is_of_job(pid: int, layout: Layout) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    # SLURMD_NODENAME is set in steps only: the user's shell, or one of salloc,
    # has SLURM_CONF and perhaps SLURM_JOB_ID.
    return os.fsencode(f"SLURM_CONF={layout.slurm_conf}") in environment and any(
        entry.startswith(b"SLURMD_NODENAME=") for entry in environment
    )
