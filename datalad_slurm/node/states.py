"""Read which checkpoints runners have kept in a store.

They are named after the index of the task, the attempt, the run of that, their number in the
run, and their checksum: ``state_3.0001.0000.00000002.<sha256>.tar``; one that is being
written has another name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Kept", "drop_kept", "read_kept"]

_NAME = re.compile(
    r"state(?:_(?P<index>\d+))?\.(?P<attempt>\d{4})\.(?P<restart>\d{4})"
    r"\.(?:\d{8}\.[0-9a-f]{64}\.tar|part)",
    re.ASCII,
)


@dataclass(frozen=True)
class Kept:
    """A checkpoint of a task."""

    path: Path
    #: of the task; -1 where there is no array
    index: int
    attempt: int
    restart: int
    #: whether it is not being written, or was left half written
    is_whole: bool


def read_kept(store: Path) -> list[Kept]:
    """Return the checkpoints in a store, of each task the oldest first."""
    return sorted(_found(store), key=lambda kept: (kept.index, kept.path.name))


def _found(store: Path) -> Iterator[Kept]:
    try:
        paths = list(store.iterdir())
    except OSError:
        return
    for path in paths:
        match = _NAME.fullmatch(path.name)
        if match:
            index, is_whole = int(match["index"] or -1), path.suffix == ".tar"
            yield Kept(path, index, int(match["attempt"]), int(match["restart"]), is_whole)


def drop_kept(store: Path, indices: Collection[int]) -> None:
    """Remove the checkpoints of some tasks."""
    for kept in read_kept(store):
        if kept.index in indices:
            kept.path.unlink(missing_ok=True)
