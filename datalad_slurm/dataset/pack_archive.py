"""Write the archive of a packed directory.

The same members in the same order give the same archive, byte by byte: owners, times, and
all of the mode but the executable bit are left out, as git leaves them out. It is not
compressed, so that each member is a range of its bytes.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from datalad_slurm.dataset.files import plain_stat
from datalad_slurm.dataset.indexed import key_in
from datalad_slurm.jobs.errors import TransferError
from datalad_slurm.jobs.packs import Member

__all__ = ["Entry", "Written", "write_archive"]

_CHUNK = 2**20
#: What an archive is filled up to (tar(5)).
_RECORD = 20 * tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Entry:
    """A file, a link, or an empty directory that is to become a member."""

    name: str
    #: file that holds the content; of links and directories None
    source: Path | None = None
    #: where in that file the content begins (bytes)
    offset: int = 0
    #: bytes
    size: int = 0
    is_executable: bool = False
    #: text of a link; None of others
    target: str | None = None
    #: size, modification time (ns) and inode of a source that is the file itself
    file_stat: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Written:
    """An archive that was written."""

    members: tuple[Member, ...]
    #: digests of the members' contents, in their order; empty for what is no file
    digests: tuple[str, ...]
    #: digest of the whole archive
    digest: str


class _Sink:
    """A file that is hashed while it is written, and knows how long it is."""

    def __init__(self, file: BinaryIO, algorithm: str) -> None:
        self._file = file
        self.size = 0
        self.digest = hashlib.new(algorithm, usedforsecurity=False)

    def write(self, content: bytes) -> None:
        self._file.write(content)
        self.digest.update(content)
        self.size += len(content)

    def fill_up(self, unit: int) -> None:
        self.write(bytes(-self.size % unit))


def write_archive(entries: Iterable[Entry], target: Path, algorithm: str) -> Written:
    """Write an archive, and see it to the disk.

    Parameters
    ----------
    entries : iterable of Entry
        In the order of the archive.
    target : Path
        Must not exist.
    algorithm : str
        Of the digests, as `hashlib` names it.

    Raises
    ------
    TransferError
        When a file changes meanwhile, is shorter than it should be, or is the pointer of an
        unlocked file without content.
    OSError
        When something cannot be read or written.
    """
    members: list[Member] = []
    digests: list[str] = []
    with target.open("xb") as file, _Sources() as sources:
        sink = _Sink(file, algorithm)
        for entry in entries:
            sink.write(_header(entry))
            member, digest = Member(entry.name, target=entry.target), ""
            if entry.source is not None:
                member, digest = _add_content(sink, entry, sources.read(entry.source, entry))
            members.append(member)
            digests.append(digest)
        sink.write(bytes(2 * tarfile.BLOCKSIZE))
        sink.fill_up(_RECORD)
        file.flush()
        os.fsync(file.fileno())
    return Written(tuple(members), tuple(digests), sink.digest.hexdigest())


def _add_content(sink: _Sink, entry: Entry, content: Iterable[bytes]) -> tuple[Member, str]:
    """Write the content of a file; return what becomes of it, and its digest."""
    offset, sha256 = sink.size, hashlib.sha256()
    digest = hashlib.new(sink.digest.name, usedforsecurity=False)
    for chunk in content:
        if sink.size == offset and key_in(chunk):
            raise TransferError(
                f"'{entry.name}' is an annexed file whose content is not here; `datalad get` "
                "brings it"
            )
        sink.write(chunk)
        sha256.update(chunk)
        digest.update(chunk)
    sink.fill_up(tarfile.BLOCKSIZE)
    member = Member(entry.name, entry.size, offset, sha256.hexdigest(), entry.is_executable)
    return member, digest.hexdigest()


def _header(entry: Entry) -> bytes:
    header = tarfile.TarInfo(entry.name)
    header.size = entry.size
    header.mode = 0o755 if entry.is_executable or entry.source is None else 0o644
    if entry.target is not None:
        header.type, header.linkname = tarfile.SYMTYPE, entry.target
    elif entry.source is None:
        header.type = tarfile.DIRTYPE
    return header.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


class _Sources:
    """Opens the files that hold contents; one at a time, as many may be in the same."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> _Sources:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, path: Path, entry: Entry) -> Iterator[bytes]:
        """Yield the content of a file in pieces."""
        source = self._opened(path)
        source.seek(entry.offset)
        left = entry.size
        while left and (chunk := source.read(min(left, _CHUNK))):
            left -= len(chunk)
            yield chunk
        before = entry.file_stat
        if left or (before and plain_stat(os.fstat(source.fileno())) != before):
            raise TransferError(f"{path} changed while it was packed; is it still written to?")

    def _opened(self, path: Path) -> BinaryIO:
        if self._file is None or path != self._path:
            if self._file is not None:
                self._file.close()
            self._path, self._file = path, path.open("rb")
        return self._file
