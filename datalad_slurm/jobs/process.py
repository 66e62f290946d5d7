"""Who claims a job's outputs, or finishes jobs: a process, wherever it runs."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Process"]


class Process(NamedTuple):
    """Identity of a process that stays unique across reboots and reused pids."""

    host: str
    boot_id: str
    pid: int
    #: clock ticks between the machine's start and the process's
    start_ticks: int

    def __str__(self) -> str:
        """Return the process as a person would look for it."""
        return f"process {self.pid} on {self.host}"
