"""One spelling for each path: relative to the dataset's root, links resolved."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.subdatasets import Hierarchy
from datalad_slurm.jobs.claims import is_glob, top_of
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.globs import parse_glob

__all__ = ["foreign_repository", "inside", "matches", "normalise_output", "walk"]


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

    In a glob, links are followed on the way to the first name with a wildcard,
    which is also how far ``..`` can stand.

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
        repository that is no subdataset, or has ``..`` after a wildcard.
    """
    if not output or "\0" in output:
        raise InvalidRequestError("an output needs a name")
    fixed, wild = _split_glob(repo, output, cwd)
    absolute = os.path.join(cwd, fixed)  # noqa: PTH118 - keeps a trailing slash
    if wild:
        absolute = os.path.realpath(absolute)
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
    return "/".join(filter(None, [glob.escape(path), wild]))


def _split_glob(repo: Repo, output: str, cwd: Path) -> tuple[str, str]:
    """Return the path before the first wildcard of an output, and the pattern from there on."""
    for base in (str(cwd), str(repo.root)):
        if output.startswith(base + "/"):  # `datalad run` takes this literally, too
            output = glob.escape(base) + output.removeprefix(base)
            break
    names = output.split("/")
    first = next((number for number, name in enumerate(names) if is_glob(name)), len(names))
    fixed, wild = list(map(top_of, names[:first])), names[first:]
    if not wild:
        return "/".join(fixed), ""
    if ".." in wild:
        raise InvalidRequestError(
            f"output '{output}' has '..' after a wildcard; name the directory that this leads to"
        )
    at_end = "/" if wild[-1] in ("", ".") else ""
    wild = [name for name in wild if name not in ("", ".")]
    if set(wild) == {"**"} and set(fixed) <= {"."}:
        wild = ["**", "*"]  # the directory in which it is typed is not matched itself
    return "".join(name + "/" for name in fixed), "/".join(wild) + at_end


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
    try:
        mode = (repo.root / path).lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(mode):
        yield from _walk_directory(repo, path, is_subdataset)
    else:
        yield path, stat.S_ISLNK(mode) or stat.S_ISREG(mode)


def matches(
    repo: Repo, claim: str, is_subdataset: Callable[[str], bool] = lambda path: False
) -> Iterator[str]:
    """Yield the paths that a claim stands for, without those below one that was yielded.

    Of a claim that is no glob this is the path, if there is something. Links to
    directories are matched, but not followed, and nested repositories that are
    no subdatasets not entered.
    """
    pattern = parse_glob(claim)
    top = repo.root / pattern.top
    if pattern.is_plain:
        if os.path.lexists(top):
            yield pattern.top
        return
    pending = [(pattern.top, pattern.below_top)] if top.is_dir() else []
    if pending and pattern.matches_top:
        yield pattern.top
        return
    while pending:
        current, positions = pending.pop()
        try:
            listed = _listed(repo, current, is_subdataset)
        except (FileNotFoundError, NotADirectoryError):
            continue  # it may be that of another job, and come and go
        for path, entry in listed or ():
            reached = pattern.step(positions, entry.name)
            is_directory = entry.is_dir(follow_symlinks=False)
            if pattern.is_match(reached, is_directory=is_directory):
                yield path
            elif is_directory and reached:
                pending.append((path, reached))


def _listed(
    repo: Repo, directory: str, is_subdataset: Callable[[str], bool]
) -> Sequence[tuple[str, os.DirEntry[str]]] | None:
    """Return what is in a directory by its path, or None if that is a foreign repository."""
    with os.scandir(repo.root / directory) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    is_repository = any(entry.name == ".git" for entry in listed)
    if directory and is_repository and not is_subdataset(directory):
        return None
    above = f"{directory}/" if directory else ""
    # .git is a directory, or a file that points to one
    return [(above + entry.name, entry) for entry in listed if entry.name != ".git"]


def _walk_directory(
    repo: Repo, directory: str, is_subdataset: Callable[[str], bool]
) -> Iterator[tuple[str, bool]]:
    pending = [directory]
    while pending:
        current = pending.pop()
        listed = _listed(repo, current, is_subdataset)
        if listed is None:
            yield current, False
            continue
        for path, entry in listed:
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)
            else:
                yield path, entry.is_symlink() or entry.is_file(follow_symlinks=False)
