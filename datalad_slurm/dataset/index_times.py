"""Let an index know the times of files, in its own format (gitformat-index(5)).

By these git tells that a file is as it was when its content was noted. `git update-index` would
read all these files again, and the whole index besides.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Mapping
from pathlib import Path

__all__ = ["note_times"]

#: In version 4 paths are shortened by what they share with the one before.
_VERSIONS = (2, 3)
_HEADER_SIZE = 12
#: ctime and mtime (s, ns), device, inode, mode, user, group and size, of 32 bits each
_STAT = struct.Struct(">10I")
_MODE_FIELD = 6
_LONGEST_NAME = 0xFFF


def note_times(
    index: Path, object_format: str, files: Mapping[bytes, tuple[bytes, os.stat_result]]
) -> bool:
    """Note the times of files in an index that nobody else has in use.

    Parameters
    ----------
    index : Path
        The index, which holds these files. It keeps its own time: what changes after that git
        looks at again.
    object_format : str
        ``sha1`` or ``sha256``.
    files : mapping
        Object id and stat, by path.

    Returns
    -------
    bool
        False when it is not known how to; then nothing has changed.

    Raises
    ------
    OSError
        When it cannot be read or written; then it may be damaged.
    """
    times = index.stat()
    content = bytearray(index.read_bytes())
    digest = hashlib.new(object_format, usedforsecurity=False)
    end = len(content) - digest.digest_size
    signature, version = struct.unpack_from(">4sI", content) if end > _HEADER_SIZE else (b"", 0)
    if signature != b"DIRC" or version not in _VERSIONS:
        return False
    position = _HEADER_SIZE
    for path, (oid, found) in sorted(files.items()):
        # neither another stage nor any flag, then the length of the path
        entry = oid + struct.pack(">H", min(len(path), _LONGEST_NAME)) + path + b"\0"
        position = content.find(entry, position, end)
        if position < 0:  # such as with a split index
            return False
        mode = _STAT.unpack_from(content, position - _STAT.size)[_MODE_FIELD]
        _STAT.pack_into(content, position - _STAT.size, *_fields(found, mode))
        position += len(entry)
    if any(content[end:]):  # index.skipHash
        digest.update(memoryview(content)[:end])
        content[end:] = digest.digest()
    index.write_bytes(content)
    os.utime(index, ns=(times.st_atime_ns, times.st_mtime_ns))
    return True


def _fields(found: os.stat_result, mode: int) -> list[int]:
    ctime, mtime = divmod(found.st_ctime_ns, 10**9), divmod(found.st_mtime_ns, 10**9)
    owner = (found.st_uid, found.st_gid)
    fields = (*ctime, *mtime, found.st_dev, found.st_ino, mode, *owner, found.st_size)
    return [field & 0xFFFFFFFF for field in fields]
