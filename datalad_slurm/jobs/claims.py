"""Which declared outputs collide.

A claim is a path relative to the dataset's root, in one spelling: components
joined by single slashes, no ``.`` or ``..``, no slash at either end; the root
itself is the empty string. It stands for the path and all that is below it.

A claim may be a glob (see `datalad_slurm.jobs.globs`), and then stands for all
paths that it could match and all below them; only a glob may end with a slash.
So a claim of a path in which there is a ``*``, ``?`` or ``[`` has these escaped,
as `glob.escape` does it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence

from datalad_slurm.jobs.globs import parse_glob

__all__ = [
    "ancestors",
    "beginning",
    "bounds_of_prefix",
    "collide",
    "common_beginning",
    "covers",
    "first_collision",
    "is_below",
    "is_glob",
    "top_of",
]

_WILDCARD = re.compile(r"[*?[]")


def is_below(path: str, top: str) -> bool:
    """Return whether `path` is `top` or lies below it."""
    return not top or path == top or path.startswith(top + "/")


def collide(one: str, other: str) -> bool:
    """Return whether two claims share a path, or would if each path existed."""
    patterned = [claim for claim in (one, other) if _WILDCARD.search(claim)]
    if not patterned:
        return is_below(one, other) or is_below(other, one)
    start, other_start = beginning(one), beginning(other)
    if not (start.startswith(other_start) or other_start.startswith(start)):
        return False
    if len(patterned) == 1:
        path = other if patterned[0] is one else one
        if not parse_glob(patterned[0]).reaches(path):
            return False  # as is most often the case, and quickly found
    return parse_glob(one).shares_path_with(parse_glob(other))


def first_collision(claims: Sequence[str], owners: Sequence[int]) -> tuple[int, int] | None:
    """Return the positions of two claims that collide, or None when none do.

    Parameters
    ----------
    claims : sequence of str
        Of several jobs.
    owners : sequence of int
        Whose they are; claims of one owner may collide.
    """
    starts = [os.fsencode(beginning(claim)) for claim in claims]
    # sorted, each comes right behind those with which it begins
    begun: list[int] = []
    for current in sorted(range(len(claims)), key=starts.__getitem__):
        while begun and not starts[current].startswith(starts[begun[-1]]):
            begun.pop()
        for other in begun:
            if owners[current] != owners[other] and collide(claims[current], claims[other]):
                return min(current, other), max(current, other)
        begun.append(current)
    return None


def covers(claim: str, path: str) -> bool:
    """Return whether a path is, or lies below, what is claimed."""
    if _WILDCARD.search(claim) is None:
        return is_below(path, claim)
    pattern = parse_glob(claim)
    return any(pattern.matches(above, is_directory=above != path) for above in ancestors(path))


def beginning(claim: str) -> str:
    """Return characters with which every path strictly below what is claimed begins.

    Of two claims that collide, one's beginning is a beginning of the other's.
    """
    wildcard = _WILDCARD.search(claim)
    if wildcard is not None:
        return claim[: wildcard.start()]
    return claim + "/" if claim else ""


def is_glob(claim: str) -> bool:
    """Return whether a claim can stand for several paths that are not below one of them."""
    return _WILDCARD.search(claim) is not None and not parse_glob(claim).is_plain


def top_of(claim: str) -> str:
    """Return the path at and below which all that is claimed lies.

    For a claim that is no glob this is the path it claims, without escapes.
    """
    return claim if _WILDCARD.search(claim) is None else parse_glob(claim).top


def ancestors(path: str) -> Iterator[str]:
    """Yield every claim that covers `path`: itself, its parents, and the root."""
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield ""


def prefixes(text: str) -> list[str]:
    """Return everything with which a text begins, from nothing to the text itself."""
    return [text[:length] for length in range(len(text) + 1)]


def common_beginning(claims: Iterable[str]) -> str:
    """Return characters with which the beginnings of all claims begin."""
    starts = [beginning(claim) for claim in claims]
    first, last = min(starts), max(starts)
    pairs = enumerate(zip(first, last, strict=False))
    return first[: next((number for number, (a, b) in pairs if a != b), len(first))]


def bounds_of_prefix(text: str) -> tuple[str, str] | None:
    """Return a half-open range that holds exactly what begins with a text.

    To be compared byte by byte, as a database compares blobs. None stands for
    a range without an upper end.
    """
    raw = os.fsencode(text).rstrip(b"\xff")
    return (text, os.fsdecode(raw[:-1] + bytes([raw[-1] + 1]))) if raw else None
