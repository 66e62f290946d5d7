"""Make a pack of git's objects, in its own format (gitformat-pack(5))."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from tempfile import SpooledTemporaryFile

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.identity import object_format
from datalad_slurm.dataset.pack_store import PackedObject, kept_pack
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["Packfile", "copied", "inserted", "sizes"]

_KINDS = {"commit": 1, "tree": 2, "blob": 3}
_OFFSET_DELTA = 6
#: Fewer objects become files of their own, as those that git receives (git-config(1),
#: "receive.unpackLimit").
_FEWEST = 100
#: Trees are mostly ids of objects, which get no smaller with more effort. Of the content of
#: files git keeps what is compressed here when it packs anew.
_LEVELS = {"commit": 1, "tree": 1, "blob": zlib.Z_DEFAULT_COMPRESSION}
#: More than this is put together on disk (bytes).
_IN_MEMORY = 64 * 2**20
_CHUNK = 2**20
_HEADER_SIZE = 12


class Packfile:
    """A pack that is put together.

    Of an object that is written twice, the pack holds one.

    Parameters
    ----------
    repo : Repo
        For which it is.

    Raises
    ------
    DatasetError
        By all that writes, when the disk is full.
    """

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._object_format = object_format(repo)
        self._objects: dict[bytes, PackedObject] = {}
        #: of how many others each object is made
        self._depths: dict[bytes, int] = {}
        self._end = _HEADER_SIZE
        #: bytes of all objects of which the id was calculated
        self.identified = 0
        with suppress(OSError):  # where it is needed, that is said then
            repo.state_dir.mkdir(parents=True, exist_ok=True)
        self._data = SpooledTemporaryFile(  # noqa: SIM115
            _IN_MEMORY, mode="w+b", dir=str(repo.state_dir)
        )

    @property
    def id_size(self) -> int:
        """Bytes of an id."""
        return hashlib.new(self._object_format, usedforsecurity=False).digest_size

    def identify(self, kind: str, pieces: Sequence[bytes]) -> bytes:
        """Return the id of an object, of which the content is given in pieces."""
        size = sum(map(len, pieces))
        self.identified += size
        total = hashlib.new(self._object_format, usedforsecurity=False)
        total.update(b"%s %d\0" % (kind.encode(), size))
        for piece in pieces:
            total.update(piece)
        return total.digest()

    def has(self, oid: bytes) -> bool:
        """Return whether an object was written."""
        return oid in self._objects

    def depth(self, oid: bytes) -> int:
        """Return of how many others an object that was written is made."""
        return self._depths[oid]

    def write(self, kind: str, oid: bytes, content: bytes) -> None:
        """Write a whole object."""
        if not self.has(oid):
            header = _header(_KINDS[kind], len(content))
            self._append(oid, 0, header + zlib.compress(content, _LEVELS[kind]))

    def write_delta(self, oid: bytes, base: bytes, delta: bytes) -> None:
        """Write what makes an object of another one that was written before."""
        if not self.has(oid):
            distance = _distance(self._end - self._objects[base].offset)
            header = _header(_OFFSET_DELTA, len(delta)) + distance
            content = zlib.compress(delta, _LEVELS["tree"])
            self._append(oid, self._depths[base] + 1, header + content)

    def _append(self, oid: bytes, depth: int, content: bytes) -> None:
        try:
            self._data.write(content)
        except OSError as exc:
            raise DatasetError(f"git's objects cannot be written: {exc.strerror}") from exc
        self._objects[oid] = PackedObject(self._end, zlib.crc32(content))
        self._depths[oid] = depth
        self._end += len(content)

    @contextmanager
    def handed_over(self) -> Iterator[None]:
        """Give the objects to git, which drops none of them while in this context.

        Afterwards it drops those to which no ref leads.

        Raises
        ------
        DatasetError
            When they cannot be written.
        """
        try:
            self._write_rest()
            if len(self._objects) < _FEWEST:
                self._repo.run("unpack-objects", "-q", input=b"".join(self._content()))
                yield  # `git gc` leaves new files alone, but for --prune=now
                return
            with kept_pack(self._repo, self._content(), self._objects):
                yield
        finally:
            with suppress(OSError):  # where it could not be written, it is tried once more
                self._data.close()

    def _write_rest(self) -> None:
        """Write what is still in a buffer, when the pack is put together on disk."""
        try:
            self._data.flush()
        except OSError as exc:
            raise DatasetError(f"git's objects cannot be written: {exc.strerror}") from exc

    def _content(self) -> Iterator[bytes]:
        """Yield the pack."""
        header = struct.pack(">4sII", b"PACK", 2, len(self._objects))
        total = hashlib.new(self._object_format, header, usedforsecurity=False)
        yield header
        self._data.seek(0)
        while chunk := self._data.read(_CHUNK):
            total.update(chunk)
            yield chunk
        yield total.digest()


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
