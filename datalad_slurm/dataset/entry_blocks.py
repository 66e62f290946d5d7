"""Entries in order, in blocks that know what has changed in them since a version was written."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from datalad_slurm.dataset.packfile import copied, inserted

__all__ = ["EntryBlocks"]

#: A block of more entries is divided.
_LARGEST_BLOCK = 128


@dataclass(slots=True)
class _Since:
    """What has become of the entries of a block since a version was written."""

    #: the block in that version
    content: bytes = b""
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

    def divided(self, parts: Sequence[Sequence[bytes]]) -> Iterator[_Since]:
        """Yield the same for each part of the block's entries."""
        if self.same_first is None:
            yield from (_Since(b"".join(part)) for part in parts)
            return
        same_last_from = sum(map(len, parts)) - self.same_last
        # what that version has in place of the entries that have changed, for one of the parts
        replaced: bytes | None = self._replaced([entry for part in parts for entry in part])
        first = 0
        for part in parts:
            end = first + len(part)
            same_first = min(max(self.same_first - first, 0), len(part))
            same_last = min(max(end - same_last_from, 0), len(part))
            if (replaced is None and same_last == len(part)) or self.same_first > end:
                yield _Since(b"".join(part))
            else:
                same = (*part[:same_first], replaced or b"", *part[len(part) - same_last :])
                yield _Since(b"".join(same), same_first, same_last)
                replaced = None
            first = end

    def _replaced(self, entries: Sequence[bytes]) -> bytes:
        start = sum(map(len, entries[: self.same_first]))
        behind = sum(map(len, entries[len(entries) - self.same_last :]))
        return self.content[start : len(self.content) - behind]


@dataclass(slots=True)
class _Block:
    """Some entries, one behind the other."""

    keys: list[bytes] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)
    #: since the version that was written last
    last: _Since = field(default_factory=_Since)
    #: since the one before that was marked
    mark: _Since = field(default_factory=_Since)

    def changing(self, position: int, behind: int) -> None:
        """Note that the entries from a position are to change, but for some at the end."""
        self.last.changing(position, behind)
        self.mark.changing(position, behind)

    def copy(self) -> _Block:
        return _Block(self.keys.copy(), self.entries.copy(), replace(self.last), replace(self.mark))


class EntryBlocks:
    """The entries of a directory in the order of their keys.

    Changes cost what the block does in which they are, and so does a difference.

    Parameters
    ----------
    keys, entries : list of bytes
        What was written last, by keys in ascending order.
    content : bytes
        All these entries.
    """

    def __init__(self, keys: list[bytes], entries: list[bytes], content: bytes) -> None:
        self._blocks = [_Block(keys, entries, _Since(content), _Since(content))]
        #: the least key that may be in each block
        self._bounds = [b""]
        self._divide()

    def copy(self) -> EntryBlocks:
        """Return the same entries, to be changed apart from these."""
        other = object.__new__(EntryBlocks)
        other._blocks = [block.copy() for block in self._blocks]
        other._bounds = self._bounds.copy()
        return other

    @property
    def is_empty(self) -> bool:
        """Whether there is no entry."""
        return not any(block.keys for block in self._blocks)

    def _place(self, key: bytes) -> tuple[_Block, int, bool]:
        """Return block and position of a key, and whether it is there."""
        block = self._blocks[bisect_right(self._bounds, key) - 1]
        position = bisect_left(block.keys, key)
        return block, position, block.keys[position : position + 1] == [key]

    def find(self, key: bytes) -> bytes:
        """Return the entry of a key, or nothing."""
        block, position, is_there = self._place(key)
        return block.entries[position] if is_there else b""

    def set(self, key: bytes, entry: bytes) -> None:
        """Have an entry for a key."""
        block, position, is_there = self._place(key)
        if not is_there:
            block.changing(position, len(block.keys) - position)
            block.keys.insert(position, key)
            block.entries.insert(position, entry)
        elif block.entries[position] != entry:
            block.changing(position, len(block.keys) - position - 1)
            block.entries[position] = entry

    def remove(self, key: bytes) -> None:
        """Have no entry for a key."""
        block, position, is_there = self._place(key)
        if is_there:
            block.changing(position, len(block.keys) - position - 1)
            del block.keys[position], block.entries[position]

    def pieces(self) -> list[bytes]:
        """Return all entries, block by block."""
        return [
            block.last.content if block.last.same_first is None else b"".join(block.entries)
            for block in self._blocks
        ]

    def written_last(self) -> list[bytes]:
        """Return, block by block, the version that was written last."""
        return [block.last.content for block in self._blocks]

    def since_last(self) -> Iterator[bytes]:
        """Yield the instructions that make this version of the one that was written last."""
        return self._differences([block.last for block in self._blocks])

    def since_mark(self) -> Iterator[bytes]:
        """Yield the instructions that make this version of the one that was marked."""
        return self._differences([block.mark for block in self._blocks])

    def _differences(self, versions: Sequence[_Since]) -> Iterator[bytes]:
        start = end = 0  # what is to be copied
        for block, version in zip(self._blocks, versions, strict=True):
            if version.same_first is None:
                end += len(version.content)
                continue
            last = len(block.entries) - version.same_last
            behind = sum(map(len, block.entries[last:]))
            block_end = end + len(version.content)
            end += sum(map(len, block.entries[: version.same_first]))
            yield from copied(start, end - start)
            yield from inserted(b"".join(block.entries[version.same_first : last]))
            start, end = block_end - behind, block_end
        yield from copied(start, end - start)

    def note_written(self, pieces: Sequence[bytes], *, is_mark: bool) -> None:
        """Note that this version was written, as these pieces, and whether it is to be marked."""
        for block, piece in zip(self._blocks, pieces, strict=True):
            if block.last.same_first is not None:
                block.last = _Since(piece)
            if is_mark:
                block.mark = _Since(piece)
        self._divide()

    def _divide(self) -> None:
        """Divide blocks that have become large; only when all are as they were written."""
        if all(len(block.keys) <= _LARGEST_BLOCK for block in self._blocks):
            return
        blocks: list[_Block] = []
        bounds: list[bytes] = []
        for bound, block in zip(self._bounds, self._blocks, strict=True):
            count, half = len(block.keys), _LARGEST_BLOCK // 2
            step = half if count > _LARGEST_BLOCK else count or 1
            starts = range(0, count or 1, step)
            keys = [block.keys[first : first + step] for first in starts]
            entries = [block.entries[first : first + step] for first in starts]
            versions = zip(block.last.divided(entries), block.mark.divided(entries), strict=True)
            blocks += map(_Block, keys, entries, *zip(*versions, strict=True))
            bounds += [bound, *(part[0] for part in keys[1:])]
        self._blocks, self._bounds = blocks, bounds
