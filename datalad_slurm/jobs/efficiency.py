"""How well a job has used what it was given, as ``seff`` and ``reportseff`` tell it."""

from __future__ import annotations

import re

from datalad_slurm.jobs.quantities import parse_size

__all__ = ["asked_memory", "count_nodes", "format_memory", "format_share", "share"]

_UNITS = (("T", 2**40), ("G", 2**30), ("M", 2**20), ("K", 2**10))
_RANGES = re.compile(r"\[([^\]]*)\]")


def share(used: float | None, given: float | None) -> float | None:
    """Return what part of something was used; None when either is not known, or none was given."""
    return used / given if used is not None and given else None


def count_nodes(nodes: str) -> int:
    """Return how many nodes a list such as ``n[1-3,7],m2`` names; 0 for an empty one."""
    count = 0
    # commas in brackets do not part names
    for name in filter(None, _RANGES.sub(lambda m: m[0].replace(",", ";"), nodes).split(",")):
        named = 1
        for ranges in _RANGES.findall(name):
            named *= sum(map(_length, ranges.split(";")))
        count += named
    return count


def _length(text: str) -> int:
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit()):
        return 1
    return max(1, int(last) - int(first) + 1)


def asked_memory(text: str, cpus: int | None, nodes: int) -> int | None:
    """Return the memory that a job has asked for, in bytes, or None when that is not told.

    Parameters
    ----------
    text : str
        ``ReqMem`` of sacct. Before Slurm 21.08 it ends in ``c`` where it is for each CPU,
        and in ``n`` where it is for each node; since then it is for the whole job.
    cpus : int, optional
        How many CPUs the job had.
    nodes : int
        How many nodes it had.
    """
    size = parse_size(text)
    if not size:  # "0" stands for all that a node has
        return None
    if text.endswith("c"):
        return size * cpus if cpus else None
    return size * max(nodes, 1) if text.endswith("n") else size


def format_memory(size: int | None) -> str:
    """Return an amount of memory in few characters, with Slurm's units: ``3.9G``, ``812K``."""
    if size is None:
        return "-"
    for unit, factor in _UNITS:
        if size >= factor:
            amount = size / factor
            return f"{amount:.1f}{unit}" if amount < 10 else f"{amount:.0f}{unit}"
    return f"{size}B"


def format_share(value: float | None) -> str:
    """Return a share in percent: ``87%``, and ``-`` when it is not known."""
    return "-" if value is None else f"{value:.0%}"
