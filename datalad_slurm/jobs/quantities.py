"""Durations and amounts of memory, as Slurm writes them."""

from __future__ import annotations

import re

__all__ = ["format_duration", "format_size", "parse_duration", "parse_size"]

_DURATION = re.compile(r"(?:(\d{1,9})-)?(?:(\d{1,9}):)?(\d{1,9}):(\d{1,9}(?:\.\d+)?)", re.ASCII)
_SIZE = re.compile(r"(\d{1,18}(?:\.\d+)?)([KMGTP]?)(?:[nc])?", re.ASCII)
_FACTORS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}


def parse_duration(text: str) -> float | None:
    """Return ``[DD-[HH:]]MM:SS[.mmm]`` in seconds, or None when it is no duration."""
    match = _DURATION.fullmatch(text)
    if not match:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def format_duration(seconds: int) -> str:
    """Return a duration as ``HH:MM:SS`` or ``D-HH:MM:SS``, which sbatch's ``--time`` takes."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days}-" if days else "") + f"{hours:02}:{minutes:02}:{seconds:02}"


def parse_size(text: str) -> int | None:
    """Return an amount of memory such as ``3216K`` in bytes, or None when there is none."""
    match = _SIZE.fullmatch(text)
    return int(float(match[1]) * _FACTORS[match[2]]) if match else None


def format_size(size: int) -> str:
    """Return an amount of memory for a person: ``3.9 GiB``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        factor = _FACTORS[unit[0]]
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
