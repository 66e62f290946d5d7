"""Outputs that each task of an array has for itself."""

from __future__ import annotations

import re

__all__ = ["names_task"]

_PATTERN = re.compile(r"%(?:%|\d*a)")


def names_task(output: str) -> bool:
    """Return whether an output has sbatch's pattern ``%a`` for the index of a task."""
    return any(found != "%%" for found in _PATTERN.findall(output))
