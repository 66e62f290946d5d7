"""Commits of a dataset, with its subdatasets as they were then."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

from datalad_slurm.dataset.subdatasets import Hierarchy
from datalad_slurm.dataset.tree import SUBDATASET_MODE, TreeReader

__all__ = ["Snapshots"]


class Snapshots:
    """Reads any number of commits through one ``git cat-file`` a repository.

    To be used as a context manager.

    Parameters
    ----------
    hierarchy : Hierarchy
        The dataset.
    """

    def __init__(self, hierarchy: Hierarchy) -> None:
        self._hierarchy = hierarchy
        self._readers: dict[str, TreeReader] = {}
        self._trees: dict[tuple[str, str], TreeReader | None] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Snapshots:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def tree(self, commit: str, name: str = "") -> TreeReader | None:
        """Return what a commit of the dataset has in a subdataset, or in the dataset itself.

        Nothing, where the subdataset did not exist yet; None when the commit
        of either, or the subdataset, is not here.
        """
        if (commit, name) not in self._trees:
            self._trees[commit, name] = self._find(commit, name)
        return self._trees[commit, name]

    def head(self, name: str) -> TreeReader:
        """Return what is checked out in a subdataset that is here."""
        return self._reader(name).at("HEAD")

    def _find(self, commit: str, name: str) -> TreeReader | None:
        if name:
            above = self._hierarchy.holder(name)
            outer = self.tree(commit, above)
            if outer is None or not self._hierarchy.is_here(name):
                return None
            mode, oid = outer.lookup(self._hierarchy.within(above, name)) or ("", "")
            commit = oid if mode == SUBDATASET_MODE else ""
        found = self._reader(name).at(commit)
        return found if found.is_here() else None

    def _reader(self, name: str) -> TreeReader:
        if name not in self._readers:
            reader = TreeReader(self._hierarchy.repo(name), "")
            self._readers[name] = self._stack.enter_context(reader)
        return self._readers[name]
