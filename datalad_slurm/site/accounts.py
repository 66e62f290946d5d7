"""Who may read what: the accounts and groups of this machine."""

from __future__ import annotations

import grp
import pwd
from dataclasses import dataclass
from pathlib import Path

from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.site_archive import safe_user

__all__ = ["NOBODY_KNOWN", "Owner", "owner_of_id", "owner_of_name", "read_groups"]


@dataclass(frozen=True)
class Owner:
    """Whose a job is."""

    #: name of the directory with the jobs
    directory: str
    #: None when it is not known who it is
    user_id: int | None = None


#: No account has such a name, so nobody can claim to be this one.
NOBODY_KNOWN = Owner("@unknown")


def owner_of_name(name: str) -> Owner | None:
    """Return the owner whom an account's name stands for, or None when there is no such account."""
    try:
        found = pwd.getpwnam(name)
    except (KeyError, ValueError):  # the latter for surrogates
        return None
    return _owner(found)


def owner_of_id(user_id: int) -> Owner:
    """Return the owner with a numeric id, by name where the account has one here."""
    try:
        return _owner(pwd.getpwuid(user_id))
    except KeyError:
        return Owner(f"@{user_id}", user_id)


def _owner(account: pwd.struct_passwd) -> Owner:
    safe = safe_user(account.pw_name)
    # two names must not become one directory
    directory = safe if safe == account.pw_name else f"{safe}@{account.pw_uid}"
    return Owner(directory, account.pw_uid)


def read_groups(path: Path) -> list[int]:
    """Return the ids of the groups that a file names, one a line; ``#`` begins a comment.

    Raises
    ------
    InvalidRequestError
        When it cannot be read, or names a group that does not exist.
    """
    try:
        lines = path.read_text(errors="surrogateescape").splitlines()
    except OSError as exc:
        raise InvalidRequestError(f"the groups in {path} cannot be read: {exc.strerror}") from exc
    found = []
    for number, line in enumerate(lines, 1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        try:
            found.append(grp.getgrnam(name).gr_gid)
        except (KeyError, ValueError) as exc:
            raise InvalidRequestError(
                f"line {number} of {path}: there is no group {name!r} on this machine; "
                "correct the file"
            ) from exc
    return found
