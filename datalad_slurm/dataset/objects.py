"""Read objects of git through one process."""

from __future__ import annotations

import os
import re
from types import TracebackType
from typing import NamedTuple

from datalad_slurm.dataset.git import Repo
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["DIRECTORY_MODE", "GitObject", "ObjectReader", "entry_pattern", "is_directory_mode"]

#: git's mode of a directory in a tree
DIRECTORY_MODE = "40000"
# each entry begins where the one before ends, so nothing in an id is taken for one
_ENTRY_SHA1, _ENTRY_SHA256 = (
    # very old tools wrote zeros in front
    re.compile(rb"0*([0-7]+) ([^\0]+)\0(.{%d})" % size, re.DOTALL)
    for size in (20, 32)
)


def entry_pattern(id_size: int) -> re.Pattern[bytes]:
    """Return what matches an entry of a tree: mode, name, and id of so many bytes."""
    return _ENTRY_SHA256 if id_size == 32 else _ENTRY_SHA1


def is_directory_mode(mode: bytes) -> bool:
    """Return whether a mode in a tree is that of a directory."""
    # very old tools wrote permissions, too
    return len(mode) == len(DIRECTORY_MODE) and mode[:1] == b"4"


class GitObject(NamedTuple):
    """What git holds under an id."""

    oid: str
    #: "blob", "tree", "commit" or "tag"
    kind: str
    content: bytes


class ObjectReader:
    """One ``git cat-file --batch``, git-cat-file(1). To be used as a context manager.

    Parameters
    ----------
    repo : Repo
        The repository.
    """

    def __init__(self, repo: Repo) -> None:
        self._process = repo.start("cat-file", "--batch")

    def __enter__(self) -> ObjectReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def read(self, name: str) -> GitObject | None:
        """Return an object, or None when git does not have it.

        Parameters
        ----------
        name : str
            Its id, or anything else that gitrevisions(7) takes, without line breaks.

        Raises
        ------
        DatasetError
            When git has ended, or does not answer as it should.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise DatasetError("git cat-file has no pipes")
        try:
            stdin.write(os.fsencode(name) + b"\n")
            stdin.flush()
            header = stdout.readline().split()
        except BrokenPipeError as exc:
            raise DatasetError("git cat-file ended early") from exc
        # of what is not there the name is repeated, and may hold spaces
        if header[-1:] == [b"missing"]:
            return None
        if len(header) != 3 or not header[2].isdigit():
            raise DatasetError(f"git cannot read {name}; is the repository damaged?")
        content = stdout.read(int(header[2]))
        stdout.read(1)
        return GitObject(header[0].decode(), header[1].decode(), content)

    def require(self, name: str, kind: str) -> GitObject:
        """Return an object that must be there.

        Raises
        ------
        DatasetError
            When it is not, or of another kind.
        """
        found = self.read(name)
        if found is None or found.kind != kind:
            raise DatasetError(f"git has no {kind} {name}; is the repository damaged?")
        return found
