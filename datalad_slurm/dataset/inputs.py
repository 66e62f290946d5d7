"""The files for which a declared input stands: itself, those below it, or what a pattern finds."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.paths import inside, walk

__all__ = ["MOST_WALKED", "DeclaredInput", "expand"]

#: A directory or pattern of more files is not walked to its end.
MOST_WALKED = 10_000


@dataclass(frozen=True)
class DeclaredInput:
    """A declared input and its files; paths relative to the root, absolute outside of it."""

    path: str
    files: tuple[str, ...]
    #: whether it is a directory or a pattern, so that files may come and go
    is_open: bool = False
    #: directory that holds all of its files, if there are more than `MOST_WALKED`
    too_many_in: str | None = None


def expand(repo: Repo, directory: Path, declared: str) -> DeclaredInput:
    """Return the files of an input.

    Parameters
    ----------
    repo : Repo
        The dataset's repository.
    directory : Path
        Where the input was declared.
    declared : str
        A path or a pattern, as `datalad run` understands it; absolute, or
        relative to `directory`.
    """
    absolute = os.path.join(directory, declared)  # noqa: PTH118 - keeps a trailing slash
    path = _named(repo, absolute)
    hits: list[str] = []
    if glob.has_magic(declared):
        pattern = os.path.join(glob.escape(str(directory)), declared)  # noqa: PTH118
        hits = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - follows datalad run
    try:
        is_open = bool(hits) or _is_directory(repo, path)
        found = tuple(islice(_files(repo, hits or [absolute]), MOST_WALKED + 1))
    except OSError:
        # a directory that cannot be read, or a name that no file can have
        return DeclaredInput(path, (path,))
    if len(found) <= MOST_WALKED:
        return DeclaredInput(path, found, is_open)
    base = path
    while hits and glob.has_magic(base):
        base = base.rpartition("/")[0]
    return DeclaredInput(path, (), is_open, too_many_in=base)


def _files(repo: Repo, hits: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for hit in hits:
        for path in _below(repo, _named(repo, hit)):
            if path not in seen:
                seen.add(path)
                yield path


def _named(repo: Repo, absolute: str) -> str:
    path = inside(repo, absolute)
    return os.path.normpath(absolute) if path is None else path


def _is_directory(repo: Repo, path: str) -> bool:
    return (repo.root / path).is_dir() and not Path(path).is_absolute()


def _below(repo: Repo, path: str) -> Iterator[str]:
    """Yield files, links, and other repositories at and below a path; itself, if nothing is."""
    if not _is_directory(repo, path):
        yield path
        return
    if (repo.root / path).is_symlink():
        leads_to = inside(repo, os.path.realpath(repo.root / path))
        if leads_to is None:
            yield path
            return
        path = leads_to
    yield from (file for file, _ in walk(repo, path))
