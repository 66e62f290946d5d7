"""Copy a file so that under its name there is all of it, or nothing.

Content is shared with the original (a reflink) where the file system gives that.
Hard links are not used: a job could write through one into the dataset, or into
git-annex's store.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from pathlib import Path

from datalad_slurm.jobs.errors import TransferError

__all__ = [
    "Stamp",
    "copy_file",
    "copy_link",
    "has_same_stamp",
    "move",
    "place_of_part",
    "same_content",
    "stamp",
]

#: ioctl_ficlone(2)
_FICLONE = 0x40049409
_CHUNK = 2**20
_SECOND = 10**9

#: What tells whether a file has changed: size and modification time (ns); of a link its target.
Stamp = tuple[int, int] | tuple[str]


def stamp(path: Path, *, follow: bool = False) -> Stamp | None:
    """Return the stamp of a file or link; None where there is none, or something else."""
    try:
        found = path.stat(follow_symlinks=follow)
        if stat.S_ISLNK(found.st_mode):
            return (str(path.readlink()),)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def has_same_stamp(copy: Stamp | None, original: Stamp | None) -> bool:
    """Return whether a copy's stamp is that of its original.

    Some file systems keep times in whole seconds.
    """
    if copy is None or original is None or copy == original:
        return copy is not None and copy == original
    if len(copy) == 1 or len(original) == 1 or copy[0] != original[0]:
        return False
    return copy[1] % _SECOND == 0 and copy[1] // _SECOND == original[1] // _SECOND


def copy_file(original: Path, target: Path, parts: Path, *, verify: bool = False) -> None:
    """Copy a file with its modification time and mode; its owner can write to the copy.

    Parameters
    ----------
    original : Path
        A plain file.
    target : Path
        Replaced, if it is a file or a link; its directory exists.
    parts : Path
        Existing directory for what is not whole yet, used where it is on the
        same file system as `target`.
    verify : bool
        Whether to write the copy out to the disk, and compare it with the original.

    Raises
    ------
    TransferError
        When it cannot be copied, or changes meanwhile; `target` is as it was.
    """
    part = place_of_part(target, parts)
    try:
        _copy_into(original, part, verify=verify)
        part.replace(target)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise TransferError(f"{original} cannot be copied to {target}: {reason}") from exc
    finally:
        part.unlink(missing_ok=True)


def copy_link(text: str, target: Path, parts: Path) -> None:
    """Make a symbolic link in the place of any file or link.

    Raises
    ------
    TransferError
        When it cannot be made.
    """
    part = place_of_part(target, parts)
    try:
        part.unlink(missing_ok=True)
        part.symlink_to(text)
        part.replace(target)
    except OSError as exc:
        raise TransferError(f"the link {target} cannot be made: {exc.strerror}") from exc
    finally:
        part.unlink(missing_ok=True)


def move(source: Path, target: Path, parts: Path) -> None:
    """Move a file or link, also to another file system; it is never without a whole name.

    Parameters
    ----------
    source : Path
        A plain file or a link.
    target : Path
        Replaced, if it is a file or a link; its directory exists.
    parts : Path
        As for `copy_file`.

    Raises
    ------
    TransferError
        When it cannot be moved; `source` is still there.
    """
    try:
        source.replace(target)
        return
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            said = f"{source} cannot be moved to {target}: {exc.strerror}"
            raise TransferError(said) from exc
    if source.is_symlink():
        copy_link(str(source.readlink()), target, parts)
    else:
        copy_file(source, target, parts, verify=True)
        target.chmod(stat.S_IMODE(source.stat().st_mode))
    source.unlink()


def place_of_part(target: Path, parts: Path) -> Path:
    """Return where a copy grows: a name that is the same when it is tried again.

    Parameters
    ----------
    target : Path
        Where it is to be, in a directory that exists.
    parts : Path
        Directory for copies that grow, used where it is on the same file system.
    """
    digest = hashlib.sha256(os.fsencode(target)).hexdigest()[:16]
    try:
        is_near = parts.stat().st_dev == target.parent.stat().st_dev
    except OSError:
        is_near = True
    return (parts if is_near else target.parent) / f".datalad-slurm-{digest}.part"


def _copy_into(original: Path, part: Path, *, verify: bool) -> None:
    part.unlink(missing_ok=True)
    with original.open("rb", buffering=0) as source, part.open("xb", buffering=0) as sink:
        before = os.fstat(source.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise TransferError(f"{original} is no plain file")
        is_shared = _copy_content(source.fileno(), sink.fileno())
        os.fchmod(sink.fileno(), stat.S_IMODE(before.st_mode) & 0o777 | 0o600)
        os.utime(sink.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
        if verify:
            os.fsync(sink.fileno())
        after = os.fstat(source.fileno())
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise TransferError(f"{original} changed while it was copied; is it still written to?")
        if os.fstat(sink.fileno()).st_size != before.st_size:
            raise TransferError(f"the copy of {original} is not as long as the file itself")
    if verify and not is_shared and not same_content(original, part):
        raise TransferError(f"the copy of {original} does not hold what the file itself holds")


def _copy_content(source: int, sink: int) -> bool:
    """Copy all of a file; return whether the copy shares its content with the original."""
    try:
        fcntl.ioctl(sink, _FICLONE, source)
        return True
    except OSError:
        pass  # another file system, or one that has no reflinks
    try:
        while os.copy_file_range(source, sink, 2**30):
            pass
    except OSError:
        pass  # not between these file systems; what is really wrong shows below
    while chunk := os.read(source, _CHUNK):
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(sink, rest) :]
    return False


def same_content(one: Path, other: Path) -> bool:
    """Return whether two files hold the same."""
    with one.open("rb") as first, other.open("rb") as second:
        while chunk := first.read(_CHUNK):
            if second.read(_CHUNK) != chunk:
                return False
        return not second.read(1)
