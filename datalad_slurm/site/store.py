"""The files of the archive: written once, whole, for those who may read them."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from datalad_slurm.jobs.acl import ACCESS, DEFAULT, directory_acl, user_ids
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.site_archive import (
    ENVIRONMENT_SUFFIX,
    SCRIPT_SUFFIX,
    Submitted,
    archived_directory,
    archived_name,
    render_environment,
)
from datalad_slurm.site.accounts import Owner

__all__ = ["Store"]

#: What is being written in a directory; one process writes, one file at a time.
_PART = ".part"
#: Nobody changes what is archived. Of the lists that a directory hands down, this leaves reading.
_FILE_MODE = 0o440
_DIRECTORY_MODE = 0o750


class Store:
    """A directory with the scripts and environments of jobs.

    Files belong to the account that runs this, so that users cannot change what
    they have run; the user, and some groups, may read them by the access control
    list that the user's directory hands down.

    Parameters
    ----------
    root : Path
        The directory; made if it is not there.
    group_ids : iterable of int
        Groups that may read everything.

    Raises
    ------
    InvalidRequestError
        When it cannot serve as an archive, or another process writes to it.
    """

    def __init__(self, root: Path, group_ids: Iterable[int]) -> None:
        self.root = root
        self._group_ids: tuple[int, ...] = ()
        #: directories that are ready, relative to the root
        self._ready: set[str] = set()
        self._lock = _locked(root)
        try:
            _check(root)
            self.regroup(group_ids)
        except OSError as exc:
            self.close()
            named = exc.filename or root
            raise InvalidRequestError(
                f"the archive cannot be written: {named}: {exc.strerror}"
            ) from exc
        except InvalidRequestError:
            self.close()
            raise

    def close(self) -> None:
        """Let another process write."""
        os.close(self._lock)

    def put(self, job: Submitted, owner: Owner) -> list[str]:
        """Write the files of a job that are not there yet; return their paths below the root.

        Where there is a job of the same id, name and month with other content, as
        after a reset of Slurm's job ids, the files get a number.

        Raises
        ------
        OSError
            When that fails; what is missing can be written later.
        """
        directory = archived_directory(owner.directory, job)
        self._prepare(directory, owner)
        contents = {
            ENVIRONMENT_SUFFIX: render_environment(job.environment),
            SCRIPT_SUFFIX: job.script,
        }
        for number in itertools.count(1):
            stem = f"{directory}/{archived_name(job, number)}"
            held = {suffix: _content(self.root / f"{stem}{suffix}") for suffix in contents}
            if all(held[suffix] in (None, content) for suffix, content in contents.items()):
                break
        missing = [suffix for suffix, content in held.items() if content is None]
        for suffix in missing:
            _write(self.root / directory, self.root / f"{stem}{suffix}", contents[suffix])
        return [f"{stem}{suffix}" for suffix in missing]

    def regroup(self, group_ids: Iterable[int]) -> None:
        """Let these groups, and no others, read what will be written.

        The lists of all directories change; those of files that are there do not.
        A group that no longer counts cannot enter them, so it reads nothing more.
        """
        self._group_ids = tuple(group_ids)
        self._ready.clear()
        for user_directory in _directories(self.root):
            if not user_directory.name.startswith("."):
                self._regroup(user_directory, levels_below=2)

    def _regroup(self, directory: Path, levels_below: int) -> None:
        held = _attribute(directory, DEFAULT)
        if held is None:
            return  # not of ours
        _set_acl(directory, directory_acl(user_ids(held), self._group_ids))
        if levels_below == 0:
            (directory / _PART).unlink(missing_ok=True)
            return
        for each in _directories(directory):
            self._regroup(each, levels_below - 1)

    def _prepare(self, directory: str, owner: Owner) -> None:
        """Make a user's directory for a month; those below the user's inherit its list."""
        if directory in self._ready:
            return
        user_directory = self.root / owner.directory
        if owner.directory not in self._ready:
            user_directory.mkdir(_DIRECTORY_MODE, exist_ok=True)
            readers = () if owner.user_id is None else (owner.user_id,)
            _set_acl(user_directory, directory_acl(readers, self._group_ids))
            self._ready.add(owner.directory)
        month = self.root / directory
        for each in (month.parent, month):
            each.mkdir(_DIRECTORY_MODE, exist_ok=True)
        self._ready.add(directory)

    def forget_directories(self) -> None:
        """Make sure of each directory again; somebody may have removed one."""
        self._ready.clear()


def _locked(root: Path) -> int:
    """Return a descriptor that holds the lock of a directory, which is made if need be."""
    try:
        if not root.exists():
            root.mkdir()
            # whatever the umask: users have to pass through it to what is theirs
            root.chmod(0o755)
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as exc:
        raise InvalidRequestError(
            f"{root} cannot be used as an archive: {exc.strerror}; make it, or correct --to"
        ) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(descriptor)
            raise InvalidRequestError(
                f"another slurm-archive writes to {root}; stop that one first"
            ) from exc
        # NFS locks no directories (flock(2)); then it is the administrator who sees to it
    return descriptor


def _check(root: Path) -> None:
    if not os.access(root, os.W_OK | os.X_OK):
        raise InvalidRequestError(
            f"{root} cannot be written by this account; run this as root or as SlurmUser, "
            "and let the directory belong to that account"
        )
    try:
        _attribute(root, DEFAULT)
    except OSError as exc:
        if exc.errno != errno.ENOTSUP:
            raise
        raise InvalidRequestError(
            f"{root} is on a file system without POSIX access control lists, by which users "
            "read their jobs; choose another one"
        ) from exc


def _directories(directory: Path) -> Iterator[Path]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)


def _attribute(path: Path, name: str) -> bytes | None:
    try:
        return os.getxattr(path, name)
    except OSError as exc:
        if exc.errno != errno.ENODATA:
            raise
        return None


def _set_acl(directory: Path, acl: bytes) -> None:
    for name in (ACCESS, DEFAULT):
        if _attribute(directory, name) != acl:
            os.setxattr(directory, name, acl)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write(directory: Path, target: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all.

    The directory is not synced: slurmctld keeps a job's files beyond its end, so
    a name that is lost with the machine's power is written at the next start.
    """
    part = directory / _PART
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.rename(target)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
