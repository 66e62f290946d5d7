"""A directory of a commit that grows entry by entry, and is written after each step.

git's own tools write a directory anew, at the cost of all its entries, and then look
for what it shares with the version before. Here the difference is known: a directory
of 10,000 entries that gets one more costs its checksum, and a few bytes.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import ge

from datalad_slurm.dataset.objects import DIRECTORY_MODE, entry_pattern, is_directory_mode
from datalad_slurm.dataset.packfile import Packfile, copied, inserted, sizes
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["Directory"]

#: Names that git refuses (its verify_path).
_NO_NAMES = frozenset({b"", b".", b"..", b".git"})
#: A block of more entries is divided.
_LARGEST_BLOCK = 128
#: So many versions are kept as differences before a whole one (git-config(1), "pack.depth").
_DEPTH = 50
#: A directory of fewer bytes is written whole the first time.
_SMALL = 4000
#: Names in a path; Python calls itself for each.
_DEEPEST = 500


@dataclass(slots=True)
class _Block:
    """Some entries, one behind the other."""

    #: their names, as git sorts them: those of directories end in "/"
    keys: list[bytes] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)
    #: the entries in the version that was written last
    written: bytes = b""
    #: how many entries at the beginning are as in that version; None when all are
    same_first: int | None = None
    #: how many at the end are
    same_last: int = 0

    def changing(self, position: int, behind: int) -> None:
        """Note that the entries from a position are to change, but for some at the end."""
        if self.same_first is None:
            self.same_first, self.same_last = position, behind
        else:
            self.same_first = min(self.same_first, position)
            self.same_last = min(self.same_last, behind)

    def copy(self) -> _Block:
        return replace(self, keys=self.keys.copy(), entries=self.entries.copy())


class Directory:
    """One directory, and those below it that are changed.

    Parameters
    ----------
    load : callable
        Returns a directory of the repository, by its id, to be changed.
    id_size : int
        Bytes of an id.
    content : bytes
        The directory as git has it.
    """

    def __init__(
        self, load: Callable[[str], Directory], id_size: int, content: bytes = b""
    ) -> None:
        self._load = load
        self._id_size = id_size
        #: those that were looked into, by name
        self._children: dict[bytes, Directory] = {}
        self._changed: set[bytes] = set()
        #: id and size of the version that was written last, in the same pack
        self._written: tuple[bytes, int] | None = None
        self._blocks = [_Block()]
        #: the least key that may be in each block
        self._bounds = [b""]
        self._parse(content)

    def _parse(self, content: bytes) -> None:
        block, end = self._blocks[0], 0
        for match in entry_pattern(self._id_size).finditer(content):
            if match.start() != end:
                break
            end = match.end()
            block.keys.append(match[2] + b"/" if is_directory_mode(match[1]) else match[2])
            block.entries.append(match[0])
        if end != len(content) or any(map(ge, block.keys, block.keys[1:])):
            raise DatasetError(
                "git has a directory that cannot be read, or is not in order; `git fsck` tells more"
            )
        block.written = content
        self._divide()

    def copy(self) -> Directory:
        """Return the same directory, to be changed apart from this one."""
        other = object.__new__(Directory)
        other.__dict__.update(self.__dict__)
        other._children = {name: child.copy() for name, child in self._children.items()}
        other._changed = self._changed.copy()
        other._blocks = [block.copy() for block in self._blocks]
        other._bounds = self._bounds.copy()
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
            self._remove(name)
            self._child(name).put(path[1:], mode, oid)
            self._changed.add(name)
        else:
            self._drop(name)
            self._set(name, _entry(mode, name, oid))

    def remove(self, path: Sequence[bytes]) -> None:
        """Hold nothing at a path, and no directory that has become empty by that."""
        name = path[0]
        if len(path) == 1:
            self._drop(name)
            self._remove(name)
        elif name in self._children or self._find(name + b"/"):
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
            return bool(self._find(name))
        is_below = name in self._children or bool(self._find(name + b"/"))
        return is_below and self._child(name).holds(path[1:])

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in it."""
        return not self._changed and not any(block.keys for block in self._blocks)

    def _child(self, name: bytes) -> Directory:
        if name not in self._children:
            found = self._find(name + b"/")
            self._children[name] = (
                self._load(found[-self._id_size :].hex())
                if found
                else Directory(self._load, self._id_size)
            )
        return self._children[name]

    def _drop(self, name: bytes) -> None:
        """Hold no directory of this name."""
        self._children.pop(name, None)
        self._changed.discard(name)
        self._remove(name + b"/")

    def _place(self, key: bytes) -> tuple[_Block, int, bool]:
        """Return block and position of a key, and whether it is there."""
        block = self._blocks[bisect_right(self._bounds, key) - 1]
        position = bisect_left(block.keys, key)
        return block, position, block.keys[position : position + 1] == [key]

    def _find(self, key: bytes) -> bytes:
        block, position, is_there = self._place(key)
        return block.entries[position] if is_there else b""

    def _set(self, key: bytes, entry: bytes) -> None:
        block, position, is_there = self._place(key)
        if not is_there:
            block.changing(position, len(block.keys) - position)
            block.keys.insert(position, key)
            block.entries.insert(position, entry)
        elif block.entries[position] != entry:
            block.changing(position, len(block.keys) - position - 1)
            block.entries[position] = entry

    def _remove(self, key: bytes) -> None:
        block, position, is_there = self._place(key)
        if is_there:
            block.changing(position, len(block.keys) - position - 1)
            del block.keys[position], block.entries[position]

    # -- writing -------------------------------------------------------------------

    def write(self, pack: Packfile) -> bytes:
        """Write what has changed since it was written last, from below, and return its id."""
        for name in sorted(self._changed):
            key, child = name + b"/", self._children[name]
            self._set(key, _entry(DIRECTORY_MODE.encode(), name, child.write(pack)))
        self._changed.clear()
        pieces = [
            block.written if block.same_first is None else b"".join(block.entries)
            for block in self._blocks
        ]
        oid = pack.identify("tree", pieces)
        if self._written is None or oid != self._written[0]:
            self._write_version(pack, oid, pieces)
        for block, piece in zip(self._blocks, pieces, strict=True):
            block.written, block.same_first = piece, None
        self._divide()
        return oid

    def _write_version(self, pack: Packfile, oid: bytes, pieces: Sequence[bytes]) -> None:
        size = sum(map(len, pieces))
        if not pack.has(oid):
            if self._written is None:
                self._write_as_loaded(pack)
            if self._written is not None and pack.depth(self._written[0]) < _DEPTH:
                base, before = self._written
                delta = sizes(before, size) + b"".join(self._differences())
                if len(delta) < size // 2:
                    pack.write_delta(oid, base, delta)
        if not pack.has(oid):
            pack.write("tree", oid, b"".join(pieces))
        self._written = (oid, size)

    def _write_as_loaded(self, pack: Packfile) -> None:
        """Write it as it was, once: all that grows from it is then kept as what has changed."""
        loaded = [block.written for block in self._blocks]
        size = sum(map(len, loaded))
        if size > _SMALL:
            base = pack.identify("tree", loaded)
            pack.write("tree", base, b"".join(loaded))
            self._written = (base, size)

    def _differences(self) -> Iterator[bytes]:
        """Yield the instructions that make this version of the one that was written last."""
        start = end = 0  # what is to be copied
        for block in self._blocks:
            if block.same_first is None:
                end += len(block.written)
                continue
            last = len(block.entries) - block.same_last
            behind = sum(map(len, block.entries[last:]))
            block_end = end + len(block.written)
            end += sum(map(len, block.entries[: block.same_first]))
            yield from copied(start, end - start)
            yield from inserted(b"".join(block.entries[block.same_first : last]))
            start, end = block_end - behind, block_end
        yield from copied(start, end - start)

    def _divide(self) -> None:
        """Divide blocks that have become large; only when all are as they were written."""
        if all(len(block.keys) <= _LARGEST_BLOCK for block in self._blocks):
            return
        blocks, bounds = [], []
        for bound, block in zip(self._bounds, self._blocks, strict=True):
            half = _LARGEST_BLOCK // 2
            step = half if len(block.keys) > _LARGEST_BLOCK else len(block.keys) or 1
            for first in range(0, len(block.keys) or 1, step):
                entries = block.entries[first : first + step]
                keys = block.keys[first : first + step]
                blocks.append(_Block(keys, entries, b"".join(entries)))
                bounds.append(keys[0] if first else bound)
        self._blocks, self._bounds = blocks, bounds


def _entry(mode: bytes, name: bytes, oid: bytes) -> bytes:
    return b"%s %s\0%s" % (mode, name, oid)
