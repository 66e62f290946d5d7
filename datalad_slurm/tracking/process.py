"""Who is at work: identity of processes, across hosts, reboots and reused pids."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from datalad_slurm.jobs.process import Process

__all__ = ["current_process", "is_running", "process_from_row", "process_to_row"]

_PROC = Path("/proc")


def current_process() -> Process:
    """Return the identity of this process."""
    pid = os.getpid()
    return Process(socket.gethostname(), _boot_id(), pid, _start_ticks(pid) or 0)


def is_running(process: Process) -> bool | None:
    """Return whether a process runs; None when it is on a host we cannot look into."""
    if process.host != socket.gethostname():
        return None
    if process.boot_id != _boot_id():
        # many machines go by this name
        return None if process.host.partition(".")[0] == "localhost" else False
    return _start_ticks(process.pid) == process.start_ticks


def process_to_row(process: Process) -> dict[str, Any]:
    """Return a process as it is kept in the database."""
    return {
        "host": process.host,
        "boot_id": process.boot_id,
        "pid": process.pid,
        "start_ticks": process.start_ticks,
    }


def process_from_row(row: dict[str, Any]) -> Process:
    """Return a process from what the database keeps."""
    return Process(row["host"], row["boot_id"], row["pid"], row["start_ticks"])


def _boot_id() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _start_ticks(pid: int) -> int | None:
    """Return field 22 of ``/proc/PID/stat`` (proc(5)), or None without such a process."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # the program's name, field 2, may hold spaces and brackets
    return int(stat.rpartition(")")[2].split()[19])
