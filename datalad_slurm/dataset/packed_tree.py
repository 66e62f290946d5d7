"""Take files out of the working tree once the archive that holds them is committed.

Which these are is noted before the commit is published, so that a finish that is killed
in between can be brought to its end by the next one. Only what is as it was when it was
packed is taken away.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from datalad_slurm.dataset.files import file_stat
from datalad_slurm.dataset.git import Repo, nul_joined
from datalad_slurm.dataset.notes import write_note
from datalad_slurm.jobs.errors import DatasetError

__all__ = [
    "Found",
    "Packed",
    "note_packed",
    "take_away_packed",
]

_NAME = "packed.json"

#: What is at a path: size, modification time (ns) and inode of a file, or the text of a link.
Found = tuple[int, int, int] | str | None


@dataclass(frozen=True)
class Packed:
    """A directory of which an archive is to be committed; paths are relative to the root."""

    directory: str
    archive: str
    #: what the commit holds links of, with what is there before that
    registered: Mapping[str, Found] = field(default_factory=dict)
    #: what it holds nothing of
    dropped: Mapping[str, Found] = field(default_factory=dict)


def note_packed(repo: Repo, packed: Sequence[Packed]) -> None:
    """Note what is to be taken away when it is committed, in place of what was noted before.

    Raises
    ------
    DatasetError
        When that cannot be written.
    """
    if packed:
        write_note(repo, _NAME, [asdict(each) for each in packed])
    else:
        _forget(repo)


def _forget(repo: Repo) -> None:
    (repo.state_dir / _NAME).unlink(missing_ok=True)


def take_away_packed(repo: Repo, *, is_checked_out: bool) -> list[str]:
    """Take away the files of archives that were committed.

    Parameters
    ----------
    repo : Repo
        The repository.
    is_checked_out : bool
        Whether the branch with the commit is, so that links take the places of the files.

    Returns
    -------
    list of str
        Directories in which not all is as it is committed: something has changed since, or
        cannot be written. Nothing is taken away where the content of the archive is not here.
    """
    left = [
        packed.directory
        for packed in _read_noted(repo)
        if not _settle(repo, packed, is_checked_out=is_checked_out)
    ]
    _forget(repo)
    return left


def _read_noted(repo: Repo) -> list[Packed]:
    try:
        noted = json.loads((repo.state_dir / _NAME).read_bytes())
    except (FileNotFoundError, ValueError):  # killed while it wrote this: nothing is published
        return []
    return [
        Packed(
            each["directory"],
            each["archive"],
            _as_found(each["registered"]),
            _as_found(each["dropped"]),
        )
        for each in noted
    ]


def _as_found(noted: Mapping[str, Any]) -> dict[str, Found]:
    """Return what was found, with the tuples that JSON does not have."""
    return {
        path: tuple(found) if isinstance(found, list) else found for path, found in noted.items()
    }


def _settle(repo: Repo, packed: Packed, *, is_checked_out: bool) -> bool:
    """Bring a directory to what is committed, and return whether that is done."""
    if not (repo.root / packed.archive).is_file():
        return False
    there = {path: found for path, found in packed.registered.items() if found}
    is_clear = _take_away(repo, {**there, **packed.dropped})
    _remove_empty_directories(repo.root / packed.directory)
    is_in_place = not is_checked_out or _check_out(repo, packed.registered)
    return is_clear and is_in_place


def _take_away(repo: Repo, noted: Mapping[str, Found]) -> bool:
    """Remove what is as it was noted; return whether nothing else is there."""
    is_clear = True
    for path, before in noted.items():
        target = repo.root / path
        now = _found_at(repo, path)
        if now == before:
            target.unlink()
        elif now is not None:
            is_clear = False
    return is_clear


def _found_at(repo: Repo, path: str) -> Found:
    """Return what tells whether a file or link has changed, or None when there is none."""
    plain = file_stat(repo, path)
    if plain is not None:
        return plain
    with suppress(OSError):
        return str((repo.root / path).readlink())
    return None


def _remove_empty_directories(top: Path) -> None:
    if top.is_symlink():
        return  # it leads to somebody else's
    for directory, _, _ in os.walk(top, topdown=False):
        with suppress(OSError):  # one that is not empty
            os.rmdir(directory)  # noqa: PTH106 - `os.walk` gives texts


def _check_out(repo: Repo, paths: Iterable[str]) -> bool:
    """Put what the index holds in its places, and return whether that is possible."""
    if not paths:
        return True
    try:
        repo.run("checkout-index", "-q", "-u", "-z", "--stdin", input=nul_joined(paths))
    except DatasetError:
        return False
    return True
