"""POSIX access control lists as Linux keeps them in extended attributes.

Format: ``struct posix_acl_xattr_header`` and ``posix_acl_xattr_entry`` of
linux/posix_acl_xattr.h, little-endian; order of the entries: acl(5).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

__all__ = ["ACCESS", "DEFAULT", "directory_acl", "user_ids"]

#: Names of the attributes: what counts for the file itself, and what those made in it get.
ACCESS = "system.posix_acl_access"
DEFAULT = "system.posix_acl_default"

_VERSION = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
_ALL, _READ, _NOTHING = 7, 5, 0


def directory_acl(user_ids: Iterable[int], group_ids: Iterable[int]) -> bytes:
    """Return the list of a directory that its owner may change, and some others may read.

    Parameters
    ----------
    user_ids, group_ids : iterable of int
        Who may read. The owning group, and everybody else, may not.
    """
    entries = [
        (_USER_OBJ, _ALL, _NO_ID),
        *((_USER, _READ, number) for number in sorted(set(user_ids))),
        (_GROUP_OBJ, _NOTHING, _NO_ID),
        *((_GROUP, _READ, number) for number in sorted(set(group_ids))),
        (_MASK, _READ, _NO_ID),
        (_OTHER, _NOTHING, _NO_ID),
    ]
    return _VERSION.pack(2) + b"".join(_ENTRY.pack(*entry) for entry in entries)


def user_ids(acl: bytes) -> set[int]:
    """Return the users whom a list names; of a list of another version, none."""
    if len(acl) < _VERSION.size or _VERSION.unpack_from(acl) != (2,):
        return set()
    entries = _ENTRY.iter_unpack(acl[_VERSION.size :])
    return {number for tag, _, number in entries if tag == _USER}
