"""Look up paths in a commit, at a cost of only the directories on the way."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from types import TracebackType

from datalad_slurm.dataset.files import LINK_MODE, Form
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.indexed import identity_of
from datalad_slurm.dataset.objects import (
    DIRECTORY_MODE,
    GitObject,
    ObjectReader,
    entry_pattern,
    is_directory_mode,
)
from datalad_slurm.jobs.claims import is_below
from datalad_slurm.jobs.globs import Glob, parse_glob
from datalad_slurm.jobs.inputs import Identity

__all__ = ["SUBDATASET_MODE", "TreeReader"]

#: as os.fsdecode, which would ask for them with each of a hundred thousand names
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
#: git's mode of a subdataset
SUBDATASET_MODE = "160000"


def _is_file_mode(mode: str) -> bool:
    """Return whether a mode is that of a file or a link."""
    return mode not in (DIRECTORY_MODE, SUBDATASET_MODE)


class TreeReader:
    """Reads trees through one ``git cat-file``, each directory at most once.

    To be used as a context manager.

    Parameters
    ----------
    repo : Repo
        The repository.
    commit : str
        Commit to look into; empty stands for no content at all.
    """

    def __init__(self, repo: Repo, commit: str) -> None:
        self._commit = commit
        self._trees: dict[str, dict[str, tuple[str, str]]] = {}
        self._objects = ObjectReader(repo)

    def __enter__(self) -> TreeReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._objects.__exit__(kind, error, trace)

    def at(self, commit: str) -> TreeReader:
        """Return a reader of another commit that shares this one's process and ends with it."""
        other = copy.copy(self)
        other._commit = commit
        return other

    def is_here(self) -> bool:
        """Return whether the repository has the commit; no content at all is always here."""
        return not self._commit or self._objects.read(f"{self._commit}^{{tree}}") is not None

    def lookup(self, path: str) -> tuple[str, str] | None:
        """Return mode and object id at a path, or None when there is nothing."""
        if not self._commit:
            return None
        mode, oid = DIRECTORY_MODE, f"{self._commit}^{{tree}}"
        for part in path.split("/") if path else ():
            if mode != DIRECTORY_MODE:
                return None
            entry = self._entries(oid).get(part)
            if entry is None:
                return None
            mode, oid = entry
        return mode, oid

    def form(self, path: str) -> Form | None:
        """Return how git-annex holds the file at a path, or None when it does not."""
        entry = self.lookup(path)
        if entry is None or not _is_file_mode(entry[0]):
            return None
        content = self.content(entry[1])
        if entry[0] == LINK_MODE:
            return Form.LOCKED if b"annex/objects/" in content else None
        return Form.UNLOCKED if content.startswith(b"/annex/objects/") else None

    def content(self, oid: str) -> bytes:
        """Return what a file or link holds for git."""
        return self._objects.require(oid, "blob").content

    def identity(self, mode: str, oid: str) -> Identity:
        """Return what stands for the content of a file or link; see `jobs.inputs`."""
        return identity_of(mode, oid, self.content(oid))

    def files_claimed(self, claim: str, above: str = "") -> Iterator[str]:
        """Yield the files and links that a claim stands for; subdatasets are left out.

        Parameters
        ----------
        claim : str
            Relative to the dataset that claims it.
        above : str
            Path of this repository relative to that dataset.
        """
        pattern = parse_glob(claim)
        top, positions = pattern.top, pattern.below_top
        if is_below(top, above):
            inner = top[len(above) + 1 :] if above else top
            found = self.lookup(inner)
            is_whole = found is not None and found[0] == DIRECTORY_MODE and pattern.matches_top
        elif is_below(above, top):
            inner, found, is_whole = "", self.lookup(""), pattern.is_plain or pattern.matches_top
            for name in above[len(top) :].strip("/").split("/"):
                positions = pattern.step(positions, name)
                is_whole = is_whole or pattern.is_match(positions, is_directory=True)
        else:
            return
        if found is None:
            return
        if pattern.is_plain or is_whole:
            yield from self._at_and_below(inner, *found)
        elif found[0] == DIRECTORY_MODE:
            yield from self._matched(inner, found[1], pattern, positions)

    def _matched(
        self, directory: str, oid: str, pattern: Glob, positions: frozenset[int]
    ) -> Iterator[str]:
        for name, (mode, child) in self._entries(oid).items():
            path = f"{directory}/{name}" if directory else name
            reached = pattern.step(positions, name)
            if pattern.is_match(reached, is_directory=mode == DIRECTORY_MODE):
                yield from self._at_and_below(path, mode, child)
            elif reached and mode == DIRECTORY_MODE:
                yield from self._matched(path, child, pattern, reached)

    def _at_and_below(self, path: str, mode: str, oid: str) -> Iterator[str]:
        if mode == DIRECTORY_MODE:
            yield from self._walk(path, oid)
        elif mode != SUBDATASET_MODE:
            yield path

    def _walk(self, directory: str, oid: str) -> Iterator[str]:
        for name, (mode, child) in self._entries(oid).items():
            yield from self._at_and_below(f"{directory}/{name}" if directory else name, mode, child)

    def _entries(self, oid: str) -> dict[str, tuple[str, str]]:
        if oid not in self._trees:
            self._trees[oid] = _parse_tree(self._objects.require(oid, "tree"))
        return self._trees[oid]


def _parse_tree(tree: GitObject) -> dict[str, tuple[str, str]]:
    """Return the entries of a tree object: mode, name, and id."""
    return {
        name.decode(_ENCODING, _ERRORS): (
            DIRECTORY_MODE if is_directory_mode(mode) else mode.decode(),
            raw.hex(),
        )
        for mode, name, raw in entry_pattern(len(tree.oid) // 2).findall(tree.content)
    }
