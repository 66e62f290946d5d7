"""Write objects of git as one pack, of which git itself checks every object."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from datalad_slurm.dataset.git import Repo

__all__ = ["Packfile", "copied", "drop_keeps", "inserted", "sizes"]

_KINDS = {"commit": 1, "tree": 2, "blob": 3}
_OFFSET_DELTA = 6
#: Fewer objects become files of their own, as those that git receives (git-config(1),
#: "receive.unpackLimit").
_FEWEST = 100
#: What is packed is mostly ids of objects, which get no smaller with more effort.
_LEVEL = 1


class Packfile:
    """A pack that is put together in memory.

    The format is that of gitformat-pack(5). Of an object that is written twice, the pack
    holds one.

    Parameters
    ----------
    object_format : str
        ``sha1`` or ``sha256``.
    """

    def __init__(self, object_format: str) -> None:
        self._object_format = object_format
        #: offset of each object, and of how many it is made
        self._places: dict[bytes, tuple[int, int]] = {}
        self._parts: list[bytes] = []
        self._end = 12  # behind the header

    @property
    def id_size(self) -> int:
        """Bytes of an id."""
        return hashlib.new(self._object_format, usedforsecurity=False).digest_size

    def identify(self, kind: str, pieces: Sequence[bytes]) -> bytes:
        """Return the id of an object, of which the content is given in pieces."""
        total = hashlib.new(self._object_format, usedforsecurity=False)
        total.update(b"%s %d\0" % (kind.encode(), sum(map(len, pieces))))
        for piece in pieces:
            total.update(piece)
        return total.digest()

    def has(self, oid: bytes) -> bool:
        """Return whether an object was written."""
        return oid in self._places

    def depth(self, oid: bytes) -> int:
        """Return of how many others an object that was written is made."""
        return self._places[oid][1]

    def write(self, kind: str, oid: bytes, content: bytes) -> None:
        """Write a whole object."""
        self._append(oid, 0, _header(_KINDS[kind], len(content)), content)

    def write_delta(self, oid: bytes, base: bytes, delta: bytes) -> None:
        """Write what makes an object of another one that was written before."""
        place, depth = self._places[base]
        header = _header(_OFFSET_DELTA, len(delta)) + _distance(self._end - place)
        self._append(oid, depth + 1, header, delta)

    def _append(self, oid: bytes, depth: int, header: bytes, content: bytes) -> None:
        if oid in self._places:
            return
        self._places[oid] = (self._end, depth)
        part = header + zlib.compress(content, _LEVEL)
        self._parts.append(part)
        self._end += len(part)

    @contextmanager
    def handed_over(self, repo: Repo) -> Iterator[None]:
        """Give the objects to git, which drops none of them while in this context.

        Afterwards it drops those to which no ref leads.

        Raises
        ------
        DatasetError
            When git does not take them: one is not what its id says, or the disk is full.
        """
        header = struct.pack(">4sII", b"PACK", 2, len(self._parts))
        total = hashlib.new(self._object_format, header, usedforsecurity=False)
        for part in self._parts:
            total.update(part)
        pack = b"".join((header, *self._parts, total.digest()))
        if len(self._parts) < _FEWEST:
            repo.run("unpack-objects", "-q", input=pack)
            yield  # `git gc` leaves new files alone
            return
        # without a .keep, a `git repack -a -d` that has begun before would take it away
        said = repo.run("index-pack", "--stdin", f"--keep={_kept_for(repo)}", input=pack)
        try:
            yield
        finally:
            word, _, name = os.fsdecode(said).strip().partition("\t")
            if word == "keep":
                _packs(repo).joinpath(f"pack-{name}.keep").unlink(missing_ok=True)


def drop_keeps(repo: Repo) -> None:
    """Let git repack what was handed over by processes that have died."""
    for keep in _packs(repo).glob("*.keep"):
        with suppress(OSError):
            if keep.read_text().strip() == _kept_for(repo):
                keep.unlink()


def _kept_for(repo: Repo) -> str:
    """Return what tells our .keep files from those of others."""
    return f"datalad slurm-finish, {repo.private_refs}"


def _packs(repo: Repo) -> Path:
    return repo.common_dir / "objects" / "pack"


def _header(kind: int, size: int) -> bytes:
    """Return type and size of an object: four bits of the size, then seven a byte."""
    byte, size = kind << 4 | size & 15, size >> 4
    return bytes([byte | 0x80]) + _size(size) if size else bytes([byte])


def _size(size: int) -> bytes:
    """Return a size: seven bits a byte, the lowest first."""
    found = bytearray()
    while size > 0x7F:
        found.append(size & 0x7F | 0x80)
        size >>= 7
    found.append(size)
    return bytes(found)


def _distance(distance: int) -> bytes:
    """Return how far before its delta a base lies: seven bits a byte, the highest first."""
    found = [distance & 0x7F]
    while distance := distance >> 7:
        distance -= 1
        found.append(distance & 0x7F | 0x80)
    return bytes(reversed(found))


def sizes(before: int, after: int) -> bytes:
    """Return the beginning of a delta, from what it leads to what, in bytes."""
    return _size(before) + _size(after)


def copied(offset: int, size: int) -> Iterable[bytes]:
    """Yield the instructions of a delta that copy a part of its base."""
    while size:
        length = min(size, 0xFFFFFF)
        command, operands = 0x80, bytearray()
        for bit, byte in enumerate(struct.pack("<I", offset) + struct.pack("<I", length)[:3]):
            if byte:
                command |= 1 << bit
                operands.append(byte)
        yield bytes([command]) + operands
        offset, size = offset + length, size - length


def inserted(content: bytes) -> Iterable[bytes]:
    """Yield the instructions of a delta that insert new content."""
    for start in range(0, len(content), 0x7F):
        part = content[start : start + 0x7F]
        yield bytes([len(part)]) + part
