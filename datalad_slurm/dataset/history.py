"""Read commits, in the order of history."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from datalad_slurm.dataset.git import Repo
from datalad_slurm.jobs.errors import DatasetError, InvalidRequestError

__all__ = ["Change", "Commit", "read_changes", "read_commits", "resolve"]

#: Bytes read at a time; no more than this and one commit is held.
_CHUNK = 2**16
#: git-diff-tree(1), "RAW OUTPUT FORMAT"; what ends a message may stand before it
_RAW = re.compile(rb"\n?:\d+ (\d+) [0-9a-f]+ ([0-9a-f]+) [A-Z]\d*")
#: begins what is said of a commit, which nothing else does that can stand there
_BEGIN = b"\x01"


@dataclass(frozen=True)
class Commit:
    """A commit as its message tells of it."""

    id: str
    parents: tuple[str, ...]
    author: str
    email: str
    #: ISO 8601, in the author's time zone
    date: str
    message: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit has at a path where its parent has something else."""

    path: str
    #: git's mode; zeros where there is nothing any more
    mode: str
    blob: str

    @property
    def is_removal(self) -> bool:
        """Whether the commit has nothing there."""
        return not int(self.mode)


def resolve(repo: Repo, revision: str) -> str:
    """Return the id of the commit that a revision names.

    Raises
    ------
    InvalidRequestError
        When there is none.
    """
    commit = repo.ask("rev-parse", "--verify", "-q", "--end-of-options", f"{revision}^{{commit}}")
    # git prints ranges and negations of commits as well
    if commit is None or not commit.isalnum():
        raise InvalidRequestError(f"there is no commit '{revision}' in the dataset {repo.root}")
    return commit


def read_commits(
    repo: Repo,
    tip: str,
    *,
    without: str = "",
    single: bool = False,
    pattern: str = "",
    branches: str = "",
) -> Iterator[Commit]:
    """Yield commits one by one, parents before their children.

    Parameters
    ----------
    repo : Repo
        The repository.
    tip : str
        Id of the commit from which to read.
    without : str
        Id of a commit; what is reachable from it is left out.
    single : bool
        Whether to read `tip` only.
    pattern : str
        Extended regular expression; commits without a line that matches are
        left out.
    branches : str
        A pattern of git's; branches that match are read from as well.

    Raises
    ------
    DatasetError
        When git fails.

    Notes
    -----
    One process, which ends early if the caller does. ``-z`` ends each commit
    with a null character, which no message can hold.
    """
    options = ["--no-walk"] if single else ["--topo-order", "--reverse"]
    if pattern:
        options += ["-E", f"--grep={pattern}"]
    if branches:
        options.append(f"--branches={branches}")
    process = repo.start(
        "log", "-z", "-s", "--no-show-signature", "--no-color", "--encoding=UTF-8",
        "--format=%H%n%P%n%an%n%ae%n%aI%n%B", *options, tip, *([f"^{without}"] if without else []),
    )  # fmt: skip
    with process:
        if process.stdout is None:
            raise DatasetError("git log has no pipe")
        for raw in _ended_by_null(process.stdout):
            yield _commit(raw)
    if process.returncode:
        raise DatasetError(f"git log failed for {tip}; is the repository damaged?")


def read_changes(
    repo: Repo, tip: str, *, without: str = "", single: bool = False, pattern: str = ""
) -> Iterator[tuple[Commit, list[Change]]]:
    """Yield commits with what they change against their parents, children before their parents.

    Of merges nothing is told. The parameters are those of `read_commits`, and so is the cost.

    Raises
    ------
    DatasetError
        When git fails.
    """
    options = ["--no-walk"] if single else ["--topo-order"]
    if pattern:
        options += ["-E", f"--grep={pattern}"]
    process = repo.start(
        "log", "-z", "--raw", "--no-abbrev", "--no-renames", "--no-show-signature", "--no-color",
        "--root", "--ignore-submodules=none", "--encoding=UTF-8",
        "--format=%x01%H%n%P%n%an%n%ae%n%aI%n%B", *options, tip,
        *([f"^{without}"] if without else []),
    )  # fmt: skip
    with process:
        if process.stdout is None:
            raise DatasetError("git log has no pipe")
        yield from _with_changes(_ended_by_null(process.stdout))
    if process.returncode:
        raise DatasetError(f"git log failed for {tip}; is the repository damaged?")


def _with_changes(fields: Iterator[bytes]) -> Iterator[tuple[Commit, list[Change]]]:
    commit: Commit | None = None
    changes: list[Change] = []
    for field in fields:
        raw = _RAW.fullmatch(field)
        if raw:
            path = os.fsdecode(next(fields))
            changes.append(Change(path, raw[1].decode(), raw[2].decode()))
        elif field.startswith(_BEGIN):
            if commit is not None:
                yield commit, changes
            commit, changes = _commit(field[1:]), []
    if commit is not None:
        yield commit, changes


def _commit(told: bytes) -> Commit:
    name, parents, author, email, date, message = os.fsdecode(told).split("\n", 5)
    return Commit(name, tuple(parents.split()), author, email, date, message)


def _ended_by_null(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole
