"""Archives in which a job's files travel to its node, and back.

Tar in the form of GNU's: any name that a file can have is kept byte by byte, and
what is older than GNU tar 1.26 is found on no cluster. What travels to a node is
plain; what comes back may be compressed.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from datalad_slurm.dataset.mirror import Mirror
from datalad_slurm.dataset.pack_archive import Entry
from datalad_slurm.dataset.transfer import place_of_part
from datalad_slurm.dataset.zstd import decompressed
from datalad_slurm.jobs.errors import TransferError

__all__ = ["checked_members", "extracted", "located", "pack"]

#: Below it lie the files in an archive.
_TREE = "tree/"
#: Member with the paths of inputs that the job has removed, each with a null behind it.
_REMOVED = "removed"
#: Member with the paths of inputs that the node is to compare with what it finds in the end.
_INPUTS = "inputs"
_ENCODING = {"encoding": "utf-8", "errors": "surrogateescape"}
_CHUNK = 2**20


def pack(mirror: Mirror, target: Path, compared: Iterable[str] = ()) -> None:
    """Put files into an archive, which is whole once it is there.

    The same files give the same archive: names are sorted, owners left out.

    Parameters
    ----------
    mirror : Mirror
        What to pack.
    target : Path
        The archive.
    compared : iterable of str
        Files that are outputs as well.

    Raises
    ------
    TransferError
        When it cannot be written, or a file changes meanwhile.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        with (
            part.open("wb") as sink,
            tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT, **_ENCODING) as archive,  # type: ignore[call-overload]
        ):
            for path in ("", *mirror.all_directories()):
                if path not in mirror.links:
                    _add(archive, path, tarfile.DIRTYPE)
            for path, text in sorted(mirror.links.items()):
                _add(archive, path, tarfile.SYMTYPE, linkname=text)
            for path, source in sorted(mirror.files.items()):
                _add_file(archive, path, source)
            # last, since tar says nothing of an archive that ends too early between two files
            listed = b"".join(os.fsencode(path) + b"\0" for path in sorted(compared))
            _add_text(archive, _INPUTS, listed)
        part.replace(target)
    except OSError as exc:
        raise TransferError(f"{target} cannot be written: {exc.strerror or exc}") from exc
    finally:
        part.unlink(missing_ok=True)


def _add(archive: tarfile.TarFile, path: str, kind: bytes, linkname: str = "") -> None:
    member = tarfile.TarInfo(_TREE + path)
    member.type, member.linkname, member.mode = kind, linkname, 0o755
    archive.addfile(member)


def _add_text(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, BytesIO(content))


def _add_file(archive: tarfile.TarFile, path: str, source: Path) -> None:
    member = tarfile.TarInfo(_TREE + path)
    with source.open("rb") as content:
        before = os.fstat(content.fileno())
        member.size, member.mtime = before.st_size, int(before.st_mtime)
        # the work may write to it; others may do what they may in the dataset
        member.mode = stat.S_IMODE(before.st_mode) & 0o777 | 0o600
        archive.addfile(member, content)
        after = os.fstat(content.fileno())
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise TransferError(f"{source} changed while it was packed; is it still written to?")


def checked_members(
    path: Path, sha256: str, *, is_compressed: bool
) -> tuple[list[str], tuple[str, ...]]:
    """Return the files in an archive and those that its job has removed, if it is undamaged.

    Parameters
    ----------
    path : Path
        The archive.
    sha256 : str
        Digest of the file as it lies there.
    is_compressed : bool
        Whether zstd has compressed it.

    Raises
    ------
    TransferError
        When it is not what was written.
    """
    names: list[str] = []
    removed: tuple[str, ...] = ()
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != sha256:
            raise TransferError(
                f"the archive {path} is not what the job has written: it is damaged"
            )
        with _opened(path, is_compressed=is_compressed) as source:
            for member, content in _members(source):
                if member.name == _REMOVED and content is not None:
                    removed = tuple(os.fsdecode(content.read()).split("\0")[:-1])
                elif member.name.startswith(_TREE):
                    names.append(member.name.removeprefix(_TREE))
    except OSError as exc:
        raise TransferError(f"the archive {path} cannot be read: {exc}") from exc
    return names, removed


@contextmanager
def _opened(path: Path, *, is_compressed: bool) -> Iterator[BinaryIO]:
    try:
        with decompressed(path) if is_compressed else path.open("rb") as source:
            yield source
    except tarfile.TarError as exc:
        raise TransferError(f"the archive {path} cannot be read: {exc}") from exc


def _members(source: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, BinaryIO | None]]:
    mode = "r:" if source.seekable() else "r|"  # without need no contents are read
    with tarfile.open(fileobj=source, mode=mode, **_ENCODING) as archive:  # type: ignore[call-overload]
        while (member := archive.next()) is not None:
            content = archive.extractfile(member) if member.isfile() else None
            yield member, cast("BinaryIO | None", content)
            archive.members.clear()  # it would keep all of them


def located(path: Path) -> Iterator[Entry]:
    """Yield the files and links of an archive, with where their contents are in it.

    Parameters
    ----------
    path : Path
        One that `checked_members` has found undamaged, and that is not compressed.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    with tarfile.open(path, mode="r:", **_ENCODING) as archive:  # type: ignore[call-overload]
        while (member := archive.next()) is not None:
            archive.members.clear()  # it would keep all of them
            name = member.name.removeprefix(_TREE)
            if not member.name.startswith(_TREE):
                continue
            if member.issym():
                yield Entry(name, target=member.linkname)
            elif member.isfile():
                is_executable = bool(member.mode & stat.S_IXUSR)
                yield Entry(name, path, member.offset_data, member.size, is_executable)


def extracted(
    path: Path,
    parts: Path,
    wanted: Callable[[str], Path | None],
    link_text: Callable[[str, str], str],
    *,
    is_compressed: bool,
) -> Iterator[str]:
    """Write files of an archive, and yield their names; each is whole under its name, or not there.

    Parameters
    ----------
    path : Path
        One that `checked_members` has found undamaged.
    parts : Path
        Existing directory for what is not whole yet.
    wanted : callable
        Returns for a name where the file is to be, in a directory that exists; None to leave it
        out.
    link_text : callable
        Returns for a name and the text of the link there what the text is to be.
    is_compressed : bool
        Whether zstd has compressed it.

    Raises
    ------
    TransferError
        When the archive is no archive.
    OSError
        When something cannot be written.
    """
    with _opened(path, is_compressed=is_compressed) as source:
        for member, content in _members(source):
            name = member.name.removeprefix(_TREE)
            target = wanted(name) if member.name.startswith(_TREE) else None
            if target is None or not (member.issym() or content is not None):
                continue
            part = place_of_part(target, parts)
            part.unlink(missing_ok=True)
            try:
                if content is None:
                    part.symlink_to(link_text(name, member.linkname))
                else:
                    _write(part, content, member)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
            yield name


def _write(part: Path, content: BinaryIO, member: tarfile.TarInfo) -> None:
    with part.open("xb", buffering=0) as sink:
        while chunk := content.read(_CHUNK):
            rest = memoryview(chunk)
            while rest:
                rest = rest[sink.write(rest) :]
        os.fchmod(sink.fileno(), member.mode & 0o777 | 0o600)
        os.utime(sink.fileno(), (member.mtime, member.mtime))
