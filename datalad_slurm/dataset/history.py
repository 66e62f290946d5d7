"""Read commits, in the order of history."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from datalad_slurm.dataset.git import Repo
from datalad_slurm.jobs.errors import DatasetError, InvalidRequestError

__all__ = ["Commit", "read_commits", "resolve"]

#: Bytes read at a time; no more than this and one commit is held.
_CHUNK = 2**16


@dataclass(frozen=True)
class Commit:
    """A commit as its message tells of it."""

    id: str
    parents: tuple[str, ...]
    author: str
    #: ISO 8601, in the author's time zone
    date: str
    message: str


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
        "--format=%H%n%P%n%an%n%aI%n%B", *options, tip, *([f"^{without}"] if without else []),
    )  # fmt: skip
    with process:
        if process.stdout is None:
            raise DatasetError("git log has no pipe")
        for raw in _ended_by_null(process.stdout):
            commit, parents, author, date, message = os.fsdecode(raw).split("\n", 4)
            yield Commit(commit, tuple(parents.split()), author, date, message)
    if process.returncode:
        raise DatasetError(f"git log failed for {tip}; is the repository damaged?")


def _ended_by_null(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole
