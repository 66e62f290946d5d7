"""Which declared outputs collide.

A claim is a path relative to the dataset's root, in one spelling: components
joined by single slashes, no ``.`` or ``..``, no slash at either end; the root
itself is the empty string. It stands for the path and all that is below it.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["ancestors", "collide", "is_below", "subtree_bounds"]


def is_below(path: str, top: str) -> bool:
    """Return whether `path` is `top` or lies below it."""
    return not top or path == top or path.startswith(top + "/")


def collide(one: str, other: str) -> bool:
    """Return whether two claims share a path."""
    return is_below(one, other) or is_below(other, one)


def ancestors(path: str) -> Iterator[str]:
    """Yield every claim that covers `path`: itself, its parents, and the root."""
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield ""


def subtree_bounds(path: str) -> tuple[str, str] | None:
    """Return the half-open range that holds exactly what is strictly below `path`.

    To be compared byte by byte, as a database compares blobs. None stands for
    everything (`path` is the root).
    """
    return (path + "/", path + "0") if path else None  # '0' is the byte after '/'
