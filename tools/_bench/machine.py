"""Describe the machine, for results that are kept."""

from __future__ import annotations

import os
import platform
import re
import shutil
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _bench.environments import Tool
    from _bench.world import World

_TRIALS = 50
_LIBRARIES = ("datalad-slurm", "datalad", "datalad-next", "git-annex")


def describe(world: World, tools: Sequence[Tool]) -> dict[str, Any]:
    """Return what the results depend on; nothing that names the machine or its user."""

    def version(*argv: str) -> str:
        lines = world.run(argv).output.splitlines() if shutil.which(argv[0]) else []
        return re.sub(r"^\D*", "", lines[0]) if lines else ""

    return {
        "cores": os.cpu_count(),
        "processor": _first(r"model name\s*:\s*(.+)", "/proc/cpuinfo"),
        "memory_mb": int(_first(r"MemTotal:\s*(\d+)", "/proc/meminfo") or 0) // 1024,
        "kernel": platform.release(),
        "system": _first(r'PRETTY_NAME="?([^"\n]+)', "/etc/os-release"),
        "file_system": file_system(world.root),
        "file_ms": _milliseconds(world.root, sync=False),
        "sync_ms": _milliseconds(world.root, sync=True),
        "git": version("git", "--version"),
        "git-annex": version("git-annex", "version", "--raw"),
        "slurm": version("sbatch", "--version"),
        "strace": version("strace", "-V"),
        "python": platform.python_version(),
        "load": list(os.getloadavg()),
        "installed": {
            tool.name: {name: tool.versions[name] for name in _LIBRARIES if name in tool.versions}
            for tool in tools
        },
    }


def file_system(directory: Path) -> str:
    """Return the type of the file system that a directory is on."""
    best, kind = "", ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        mount = left.split()[4]
        is_above = directory == Path(mount) or Path(mount) in directory.parents
        if is_above and len(mount) >= len(best):
            best, kind = mount, right.split()[0]
    return kind


def _milliseconds(directory: Path, *, sync: bool) -> float:
    """Return what it takes to write, rename and remove a small file; or to sync one."""
    taken = []
    for number in range(_TRIALS):
        path = directory / f"trial{number}"
        begun = time.perf_counter()
        with path.open("wb") as file:
            file.write(b"x" * 3000)
            if sync:
                os.fsync(file.fileno())
        path.rename(path.with_suffix(".renamed")).unlink()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1000


def _first(pattern: str, path: str) -> str:
    try:
        match = re.search(pattern, Path(path).read_text())
    except OSError:
        return ""
    return match[1].strip() if match else ""
