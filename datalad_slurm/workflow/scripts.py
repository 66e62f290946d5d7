"""Look into job scripts."""

from __future__ import annotations

from pathlib import Path

__all__ = ["script_text"]

#: Larger files are no job scripts (bytes); sbatch itself refuses them above 4 MiB.
_LARGEST_SCRIPT = 4 * 2**20


def script_text(path: Path) -> str:
    """Return what a file holds that may be a job script, or nothing when it cannot be one."""
    try:
        if path.is_file() and path.stat().st_size < _LARGEST_SCRIPT:
            return path.read_text(errors="replace")
    except (OSError, ValueError):
        pass  # a word of a command need not be a name that a file can have
    return ""
