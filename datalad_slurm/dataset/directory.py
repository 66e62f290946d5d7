"""A directory of a commit that grows entry by entry, and is written after each step.

git's own tools write a directory anew, at the cost of all its entries, and then look
for what it shares with the version before. Here the difference is known: a directory
of 10,000 entries that gets one more costs its checksum, and a few bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from operator import ge
from typing import NamedTuple

from datalad_slurm.dataset.entry_blocks import EntryBlocks
from datalad_slurm.dataset.objects import DIRECTORY_MODE, entry_pattern, is_directory_mode
from datalad_slurm.dataset.packfile import Packfile, sizes
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["Directory"]

#: Names that git refuses (its verify_path).
_NO_NAMES = frozenset({b"", b".", b"..", b".git"})
#: So many versions are made one of the other, then one of that with which these began: git
#: makes all that lie between to read one.
_STRIDE = 50
#: So many others are on the way to one of which others are made (git-config(1), "pack.depth").
_DEPTH = 100
#: A directory of fewer bytes is written whole the first time.
_SMALL = 4000
#: Names in a path; Python calls itself for each.
_DEEPEST = 500


class _Version(NamedTuple):
    """A version that was written, in the same pack."""

    oid: bytes
    size: int


class Directory:
    """One directory, and those below it that are changed.

    Parameters
    ----------
    load : callable
        Yields directories of the repository, by their ids, to be changed.
    id_size : int
        Bytes of an id.
    content : bytes
        The directory as git has it.
    """

    def __init__(
        self,
        load: Callable[[Sequence[str]], Iterable[Directory]],
        id_size: int,
        content: bytes = b"",
    ) -> None:
        self._load = load
        self._id_size = id_size
        #: those that were looked into, by name
        self._children: dict[bytes, Directory] = {}
        self._changed: set[bytes] = set()
        #: the last one
        self._written: _Version | None = None
        #: the last one of which more than the next was to be made
        self._mark: _Version | None = None
        self._entries = self._parsed(content)

    def _parsed(self, content: bytes) -> EntryBlocks:
        keys, entries, end = [], [], 0
        for match in entry_pattern(self._id_size).finditer(content):
            if match.start() != end:
                break
            end = match.end()
            keys.append(match[2] + b"/" if is_directory_mode(match[1]) else match[2])
            entries.append(match[0])
        if end != len(content) or any(map(ge, keys, keys[1:])):
            raise DatasetError(
                "git has a directory that cannot be read, or is not in order; `git fsck` tells more"
            )
        return EntryBlocks(keys, entries, content)

    def copy(self) -> Directory:
        """Return the same directory, to be changed apart from this one."""
        other = object.__new__(Directory)
        other.__dict__.update(self.__dict__)
        other._children = {name: child.copy() for name, child in self._children.items()}
        other._changed = self._changed.copy()
        other._entries = self._entries.copy()
        return other

    # -- changing ------------------------------------------------------------------

    def put(self, path: Sequence[bytes], mode: bytes, oid: bytes) -> None:
        """Hold something at a path; what was there, or was a file on the way, is gone.

        Raises
        ------
        DatasetError
            When git would not have this path.
        """
        name = path[0]
        if len(path) > _DEEPEST:
            raise DatasetError(
                f"a file lies more than {_DEEPEST} directories deep, below '{os.fsdecode(name)}'"
            )
        if name.lower() in _NO_NAMES:
            raise DatasetError(f"git commits nothing with '{os.fsdecode(name)}' in its path")
        if len(path) > 1:
            self._entries.remove(name)
            self._child(name).put(path[1:], mode, oid)
            self._changed.add(name)
        else:
            self._drop(name)
            self._entries.set(name, _entry(mode, name, oid))

    def remove(self, path: Sequence[bytes]) -> None:
        """Hold nothing at a path, and no directory that has become empty by that."""
        name = path[0]
        if len(path) == 1:
            self._drop(name)
            self._entries.remove(name)
        elif name in self._children or self._entries.find(name + b"/"):
            child = self._child(name)
            child.remove(path[1:])
            if child.is_empty:
                self._drop(name)
            else:
                self._changed.add(name)

    def holds(self, path: Sequence[bytes]) -> bool:
        """Return whether a file is at a path."""
        name = path[0]
        if len(path) == 1:
            return bool(self._entries.find(name))
        is_below = name in self._children or bool(self._entries.find(name + b"/"))
        return is_below and self._child(name).holds(path[1:])

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in it."""
        return not self._changed and self._entries.is_empty

    def _child(self, name: bytes) -> Directory:
        if name not in self._children:
            self.look_into([name])
        if name not in self._children:
            self._children[name] = Directory(self._load, self._id_size)
        return self._children[name]

    def look_into(self, names: Iterable[bytes]) -> None:
        """Read the directories of these names, all at once; else each is when it is needed."""
        wanted = dict.fromkeys(name for name in names if name not in self._children)
        found = {name: entry for name in wanted if (entry := self._entries.find(name + b"/"))}
        loaded = self._load([entry[-self._id_size :].hex() for entry in found.values()])
        self._children.update(zip(found, loaded, strict=True))

    def _drop(self, name: bytes) -> None:
        """Hold no directory of this name."""
        self._children.pop(name, None)
        self._changed.discard(name)
        self._entries.remove(name + b"/")

    # -- writing -------------------------------------------------------------------

    def write(self, pack: Packfile) -> bytes:
        """Write what has changed since it was written last, from below, and return its id."""
        for name in sorted(self._changed):
            key, child = name + b"/", self._children[name]
            self._entries.set(key, _entry(DIRECTORY_MODE.encode(), name, child.write(pack)))
        self._changed.clear()
        pieces = self._entries.pieces()
        oid = pack.identify("tree", pieces)
        is_mark = False
        if self._written is None or oid != self._written.oid:
            version = _Version(oid, sum(map(len, pieces)))
            is_mark = self._write_version(pack, version, pieces)
            self._written = version
            self._mark = version if is_mark else self._mark
        self._entries.note_written(pieces, is_mark=is_mark)
        return oid

    def _write_version(self, pack: Packfile, version: _Version, pieces: Sequence[bytes]) -> bool:
        """Write a version, and return whether more than the next one are to be made of it."""
        if pack.has(version.oid):
            return self._mark is None
        if self._written is None:
            self._write_as_loaded(pack)
        if self._written is not None and self._mark is not None:
            is_mark = pack.depth(self._written.oid) - pack.depth(self._mark.oid) >= _STRIDE
            base = self._mark if is_mark else self._written
            if pack.depth(base.oid) < _DEPTH:
                since = self._entries.since_mark() if is_mark else self._entries.since_last()
                delta = sizes(base.size, version.size) + b"".join(since)
                if len(delta) < version.size // 2:
                    pack.write_delta(version.oid, base.oid, delta)
                    return is_mark
        pack.write("tree", version.oid, b"".join(pieces))
        return True

    def _write_as_loaded(self, pack: Packfile) -> None:
        """Write it as it was, once: all that grows from it is then kept as what has changed."""
        loaded = self._entries.written_last()
        size = sum(map(len, loaded))
        if size > _SMALL:
            base = pack.identify("tree", loaded)
            pack.write("tree", base, b"".join(loaded))
            self._written = self._mark = _Version(base, size)


def _entry(mode: bytes, name: bytes, oid: bytes) -> bytes:
    return b"%s %s\0%s" % (mode, name, oid)
