"""Which repository of a dataset and its subdatasets holds a path."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator

from datalad_slurm.dataset.git import Repo
from datalad_slurm.jobs.claims import is_below

__all__ = ["Hierarchy"]


class Hierarchy:
    """A dataset and the subdatasets below it, which are looked at only when a path needs it.

    A subdataset is named by its path relative to the top, the top itself by
    the empty text. A subdataset's own path belongs to the dataset above it.

    Parameters
    ----------
    top : Repo
        The dataset whose jobs are committed.
    """

    def __init__(self, top: Repo) -> None:
        self.top = top
        self._repos = {"": top}
        self._here = {""}
        digest = hashlib.sha256(os.fsencode(top.root)).hexdigest()
        self._guest = f"guest-{digest[:16]}"

    def repo(self, name: str) -> Repo:
        """Return the repository of a subdataset that is here."""
        if name not in self._repos:
            self._repos[name] = Repo((self.top.root / name).resolve(), self._guest)
        return self._repos[name]

    def is_here(self, name: str) -> bool:
        """Return whether the repository of a subdataset is present."""
        if name not in self._here and (self.top.root / name / ".git").exists():
            self._here.add(name)
        return name in self._here

    def holder(self, path: str) -> str:
        """Return the subdataset that holds a path: the innermost that is registered above it."""
        found = ""
        start = path.find("/")
        while start != -1:
            above = path[:start]
            if self.is_here(found) and self.within(found, above) in (
                self.repo(found).registered_subdatasets
            ):
                found = above
            start = path.find("/", start + 1)
        return found

    def within(self, name: str, path: str) -> str:
        """Return a path relative to the subdataset that holds it."""
        return path[len(name) + 1 :] if name else path

    def is_subdataset(self, path: str) -> bool:
        """Return whether a path is that of a registered subdataset."""
        holder = self.holder(path)
        if not self.is_here(holder):
            return False
        return self.within(holder, path) in self.repo(holder).registered_subdatasets

    def around(self, path: str) -> Iterator[str]:
        """Yield the subdataset that holds what is at a path, and those here below the path."""
        pending = [self.holder(f"{path}/")]
        while pending:
            name = pending.pop()
            if not self.is_here(name):
                continue
            yield name
            for registered in self.repo(name).registered_subdatasets:
                child = f"{name}/{registered}" if name else registered
                if is_below(child, path):
                    pending.append(child)

    def by_holder(self, paths: Iterable[str]) -> dict[str, list[str]]:
        """Return paths, relative to the top, by the subdataset that holds them."""
        groups: dict[str, list[str]] = {}
        for path in paths:
            groups.setdefault(self.holder(path), []).append(path)
        return groups
