"""One spelling for each path: relative to the dataset's root, links resolved."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.subdatasets import Hierarchy
from datalad_slurm.jobs.errors import InvalidRequestError

__all__ = ["foreign_repository", "inside", "normalise_output", "walk"]


def inside(repo: Repo, path: str) -> str | None:
    """Return an absolute path relative to the root, or None when it lies elsewhere.

    Links on the way are followed, but not at the path itself: an annexed file
    is a link.
    """
    head, tail = os.path.split(os.path.normpath(path) if path.endswith("/.") else path.rstrip("/"))
    if tail in ("", ".", ".."):
        resolved = os.path.realpath(path)
    else:
        resolved = os.path.join(os.path.realpath(head or "."), tail)  # noqa: PTH118
    root = str(repo.root)
    if resolved == root:
        return ""
    return resolved[len(root) + 1 :] if resolved.startswith(root.rstrip("/") + "/") else None


def normalise_output(repo: Repo, output: str, cwd: Path) -> str:
    """Return a declared output as a claim.

    Parameters
    ----------
    repo : Repo
        The dataset's repository.
    output : str
        As typed: absolute, or relative to `cwd`.
    cwd : Path
        Directory the output was typed for.

    Raises
    ------
    InvalidRequestError
        When it lies outside the dataset, inside the git directory, or in a
        repository that is no subdataset.
    """
    if not output or "\0" in output:
        raise InvalidRequestError("an output needs a name")
    if any(character in output for character in "*?["):
        raise InvalidRequestError(
            f"output '{output}' is a pattern, which cannot be claimed; declare the directory in "
            "which the files will be, or each file"
        )
    absolute = os.path.join(cwd, output)  # noqa: PTH118 - keeps a trailing slash
    path = inside(repo, absolute)
    if path is not None and Path(absolute).is_symlink() and Path(absolute).is_dir():
        # what the job writes goes to where the link points
        path = inside(repo, os.path.realpath(absolute) + "/.")
        if path is None:
            raise InvalidRequestError(
                f"output '{output}' is a link to {os.path.realpath(absolute)}, "
                f"which is outside the dataset {repo.root}"
            )
    if path is None:
        raise InvalidRequestError(f"output '{output}' is outside the dataset {repo.root}")
    if ".git" in path.split("/"):
        raise InvalidRequestError(f"output '{output}' is inside the git directory of the dataset")
    other = foreign_repository(Hierarchy(repo), path)
    if other is not None:
        raise InvalidRequestError(
            f"output '{output}' is in the repository '{other}', which is no subdataset of the "
            f"dataset {repo.root}; `git submodule add ./{other}` would make it one"
        )
    return path


def foreign_repository(hierarchy: Hierarchy, path: str) -> str | None:
    """Return the repository in the dataset that holds `path`, if that is no subdataset."""
    parts = path.split("/") if path else []
    for count in range(1, len(parts) + 1):
        above = "/".join(parts[:count])
        is_repository = (hierarchy.top.root / above / ".git").exists()
        if is_repository and not hierarchy.is_subdataset(above):
            return above
    return None


def walk(
    repo: Repo, path: str, is_subdataset: Callable[[str], bool] = lambda path: False
) -> Iterator[tuple[str, bool]]:
    """Yield what lies at and below `path`, and whether it can be committed.

    What cannot be committed is a nested repository that is no subdataset,
    which is not entered, and whatever is neither file nor link, such as a named
    pipe. Directories that are links are yielded, not followed.
    """
    top = repo.root / path if path else repo.root
    if not top.is_symlink() and top.is_dir():
        yield from _walk_directory(repo, path, is_subdataset)
    elif top.is_symlink() or top.exists():
        yield path, top.is_symlink() or top.is_file()


def _walk_directory(
    repo: Repo, directory: str, is_subdataset: Callable[[str], bool]
) -> Iterator[tuple[str, bool]]:
    pending = [directory]
    while pending:
        current = pending.pop()
        with os.scandir(repo.root / current) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        is_repository = any(entry.name == ".git" for entry in listed)
        if current and is_repository and not is_subdataset(current):
            yield current, False
            continue
        for entry in listed:
            path = f"{current}/{entry.name}" if current else entry.name
            if entry.name == ".git":
                continue  # a directory, or a file that points to one
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)
            else:
                yield path, entry.is_symlink() or entry.is_file(follow_symlinks=False)
