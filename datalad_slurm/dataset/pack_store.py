"""Put packs where git keeps its own, each with the index that git would make of it.

As with git's own tools that make packs, nobody calculates the ids of the objects once more. Of
a directory with 20,000 entries each version is 800 kB; `git index-pack`, which does that, took
longer than all else that 1,000 commits need.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.identity import object_format
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["PackedObject", "drop_keeps", "kept_pack"]

#: Offsets from here on are kept in a table of their own.
_FAR = 2**31
#: core.sharedRepository (git-config(1)) to what others may do with a file that nobody changes.
_SHARED = {
    **dict.fromkeys(("group", "true", "yes", "on", "1"), 0o440),
    **dict.fromkeys(("all", "world", "everybody", "2"), 0o444),
}


class PackedObject(NamedTuple):
    """Where an object lies in a pack."""

    offset: int
    #: of what the pack holds of it
    crc32: int


@contextmanager
def kept_pack(
    repo: Repo, content: Iterable[bytes], objects: Mapping[bytes, PackedObject]
) -> Iterator[None]:
    """Give a pack to git, which does not repack it while in this context.

    Parameters
    ----------
    repo : Repo
        The repository.
    content : iterable of bytes
        The pack; the last piece is its checksum.
    objects : mapping
        What is in it, by id.

    Raises
    ------
    DatasetError
        When it cannot be written; then git has nothing of it.
    """
    try:
        keep = _store(repo, content, objects)
    except OSError as exc:
        raise DatasetError(f"git's objects cannot be written: {exc.strerror}") from exc
    try:
        yield
    finally:
        if keep:
            keep.unlink(missing_ok=True)


def _store(
    repo: Repo, content: Iterable[bytes], objects: Mapping[bytes, PackedObject]
) -> Path | None:
    """Store a pack, and return what keeps git from repacking it, if that is ours."""
    directory = _packs(repo)
    # by their names `git gc` knows them for what is left of a process that was killed
    new, new_index = (directory / f"tmp_{kind}_{uuid.uuid4().hex}" for kind in ("pack", "idx"))
    shared = (repo.ask("config", "core.sharedRepository") or "").lower()
    keep: Path | None = None
    try:
        checksum = b""
        with _created(new, shared) as file:
            for checksum in content:
                file.write(checksum)
        with _created(new_index, shared) as file:
            file.write(_index_of(objects, checksum, object_format(repo)))
        name = directory / f"pack-{checksum.hex()}"
        # without it, a `git repack -a -d` that has begun before would take the pack away
        keep = _written_keep(repo, name.with_suffix(".keep"))
        if name.with_suffix(".idx").exists():  # the same was written before
            os.utime(name.with_suffix(".pack"))  # so that `git gc` takes it for new
        else:
            new.replace(name.with_suffix(".pack"))
            new = name.with_suffix(".pack")
            new_index.replace(name.with_suffix(".idx"))  # by this git finds it
    except BaseException:
        if keep:
            keep.unlink(missing_ok=True)
        raise
    finally:
        if not new.with_suffix(".idx").exists():
            new.unlink(missing_ok=True)
        new_index.unlink(missing_ok=True)
    _sync(directory)
    return keep


def _index_of(objects: Mapping[bytes, PackedObject], checksum: bytes, object_format: str) -> bytes:
    """Return the index of a pack, gitformat-pack(5), version 2."""
    oids = sorted(objects)
    counts = [0] * 256
    for oid in oids:
        counts[oid[0]] += 1
    total, fanout = 0, []
    for count in counts:
        total += count
        fanout.append(total)
    places = [objects[oid] for oid in oids]
    far = [place.offset for place in places if place.offset >= _FAR]
    numbers = iter(range(len(far)))
    near = [place.offset if place.offset < _FAR else _FAR | next(numbers) for place in places]
    index = b"".join((
        b"\xfftOc", struct.pack(">I256I", 2, *fanout), *oids,
        struct.pack(f">{len(places)}I", *(place.crc32 for place in places)),
        struct.pack(f">{len(near)}I", *near), struct.pack(f">{len(far)}Q", *far), checksum,
    ))  # fmt: skip
    return index + hashlib.new(object_format, index, usedforsecurity=False).digest()


@contextmanager
def _created(path: Path, shared: str) -> Iterator[BinaryIO]:
    """Make a file with the mode that git would give to it, which is on disk afterwards."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    with os.fdopen(descriptor, "wb") as file:
        if shared in _SHARED:
            os.fchmod(descriptor, os.fstat(descriptor).st_mode & 0o777 | _SHARED[shared])
        elif re.fullmatch("0*[1-7][0-7]+", shared):
            os.fchmod(descriptor, int(shared, 8) & 0o444)
        yield file
        file.flush()
        os.fsync(descriptor)


def _written_keep(repo: Repo, path: Path) -> Path | None:
    """Have git keep a pack as it is; return nothing if somebody else has it kept already."""
    new = path.with_name(f"tmp_keep_{uuid.uuid4().hex}")
    try:
        new.write_bytes(_kept_for(repo))
        try:
            os.link(new, path)  # never there without its content
        except FileExistsError:
            return None
        except OSError:  # the file system has no hard links
            new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    return path


def _sync(directory: Path) -> None:
    """Have the names in a directory on disk, where the file system does that."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def drop_keeps(repo: Repo) -> None:
    """Let git repack what was handed over by processes that have died."""
    for keep in _packs(repo).glob("*.keep"):
        with suppress(OSError):
            if keep.read_bytes().strip() == _kept_for(repo):
                keep.unlink()


def _kept_for(repo: Repo) -> bytes:
    """Return what tells our .keep files from those of others."""
    return os.fsencode(f"datalad slurm-finish, {repo.private_refs}".strip())


def _packs(repo: Repo) -> Path:
    return repo.common_dir / "objects" / "pack"
