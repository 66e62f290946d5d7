"""Read objects of git through one process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import NamedTuple

from datalad_slurm.dataset.git import Repo
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["DIRECTORY_MODE", "GitObject", "ObjectReader", "entry_pattern", "is_directory_mode"]

#: git's mode of a directory in a tree
DIRECTORY_MODE = "40000"
#: A pipe that holds one page only takes so many ids: git reads no more of them while nobody
#: reads what it answers (pipe(7)).
_ASKED_AT_ONCE = 60
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
        self._ask([name])
        return self._answer(name)

    def read_all(self, oids: Sequence[str], kind: str) -> Iterator[GitObject]:
        """Yield objects that must be there, by their ids.

        Raises
        ------
        DatasetError
            When one is not, or of another kind.
        """
        for start in range(0, len(oids), _ASKED_AT_ONCE):
            asked = oids[start : start + _ASKED_AT_ONCE]
            self._ask(asked)
            for oid in asked:
                found = _required(self._answer(oid), oid, kind)
                if found.oid != oid:
                    raise DatasetError(f"git has answered about {found.oid}, not {oid}")
                yield found

    def _ask(self, names: Sequence[str]) -> None:
        if self._process.stdin is None:
            raise DatasetError("git cat-file has no pipes")
        try:
            self._process.stdin.write(b"".join(os.fsencode(name) + b"\n" for name in names))
            self._process.stdin.flush()
        except BrokenPipeError as exc:
            raise DatasetError("git cat-file ended early") from exc

    def _answer(self, name: str) -> GitObject | None:
        stdout = self._process.stdout
        if stdout is None:
            raise DatasetError("git cat-file has no pipes")
        header = stdout.readline().split()
        # of what is not there the name is repeated, and may hold spaces
        if header[-1:] == [b"missing"]:
            return None
        if len(header) != 3 or not header[2].isdigit():
            raise DatasetError(f"git cannot read {name}; is the repository damaged?")
        size = int(header[2])
        content = stdout.read(size + 1)  # a line break follows
        if len(content) != size + 1:
            raise DatasetError("git cat-file ended early")
        return GitObject(header[0].decode(), header[1].decode(), content[:size])

    def require(self, name: str, kind: str) -> GitObject:
        """Return an object that must be there.

        Raises
        ------
        DatasetError
            When it is not, or of another kind.
        """
        return _required(self.read(name), name, kind)


def _required(found: GitObject | None, name: str, kind: str) -> GitObject:
    if found is None or found.kind != kind:
        raise DatasetError(f"git has no {kind} {name}; is the repository damaged?")
    return found
