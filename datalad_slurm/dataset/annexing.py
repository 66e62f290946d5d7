"""Add many files at once, exactly as ``git annex add`` would, where that is certain.

git-annex itself decides which files are annexed, and tells their keys and places. Only
the moves are done here, with the same result: content in the annex, read-only, a link
in its place. What this module does not know for certain to be the same, it leaves.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import sqlite3
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from datalad_slurm.dataset.annex_settings import read_annex_settings
from datalad_slurm.dataset.blobs import write_blobs
from datalad_slurm.dataset.files import LINK_MODE, lstat_of, plain_stat
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.indexed import LONGEST_POINTER, calculate_keys
from datalad_slurm.dataset.ingest import CHANGED, ingest
from datalad_slurm.dataset.keys import BACKENDS, OBJECTS, places_of
from datalad_slurm.dataset.largefiles import UNSPECIFIED, decide, read_attributes
from datalad_slurm.dataset.presence import note_presence
from datalad_slurm.dataset.side_by_side import side_by_side

__all__ = ["FEWEST", "Added", "add_at_once"]

lgr = logging.getLogger("datalad.slurm")

#: For fewer files, ``git annex add`` is done sooner.
FEWEST = 100
#: Larger files that go into git are left: they would have to be read into memory (bytes).
_LARGEST_BLOB = 4 * 2**20
_KEY = re.compile(r"([A-Z0-9]+)-s(\d+)--[0-9a-f]+(?:\.[\w.]*)?", re.ASCII)


@dataclass(frozen=True)
class Added:
    """What was added; paths that are in none of these are left as they were."""

    #: mode and blob by path
    entries: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: of annexed files
    keys: dict[str, str] = field(default_factory=dict)
    #: path to reason
    failures: dict[str, str] = field(default_factory=dict)


def add_at_once(repo: Repo, found: Mapping[str, os.stat_result], env: dict[str, str]) -> Added:
    """Add plain files that HEAD does not hold annexed.

    Parameters
    ----------
    repo : Repo
        A repository with git-annex.
    found : mapping
        The files' stat, by path relative to the root.
    env : dict
        Names an index that does not exist, so that no other is looked at.

    Raises
    ------
    DatasetError
        When git or git-annex fails altogether.
    """
    settings = read_annex_settings(repo)
    if settings.obstacle:
        lgr.debug("`git annex add` adds all files: %s", settings.obstacle)
        return Added()
    # what has another name as well may be changed under that
    attributes = read_attributes(repo, [p for p, each in found.items() if each.st_nlink == 1])
    decided = decide(repo, attributes, env, attributes_decide=settings.attributes_decide)
    small = [path for path, is_large in decided.items() if not is_large]
    large = [path for path, is_large in decided.items() if is_large]
    are_content = side_by_side(lambda path, _: _is_content(repo, path, found[path]), large)
    large = list(itertools.compress(large, are_content))
    keys = _keys(repo, found, {path: attributes[path][0] for path in large})
    places = places_of(repo, keys.values())
    keys = {path: key for path, key in keys.items() if key in places}
    links = {path: f"{'../' * path.count('/')}{OBJECTS}{places[k][0]}" for path, k in keys.items()}
    added = Added()
    blobs = _write(repo, found, small, dict.fromkeys(links.values()), added)
    objects = {path: f"{repo.root}/{OBJECTS}{places[key][0]}" for path, key in keys.items()}
    ingested = ingest(repo, found, objects, links)
    note_presence(repo, {keys[path]: places[keys[path]][1] for path in ingested.done})
    added.failures.update(ingested.failures)
    added.entries.update((path, (LINK_MODE, blobs[links[path]])) for path in ingested.done)
    added.keys.update((path, keys[path]) for path in ingested.done)
    left = len(found) - len(added.entries) - len(added.failures)
    lgr.debug("%s files added at once, %s left to `git annex add`", len(added.entries), left)
    return added


def _is_content(repo: Repo, path: str, found: os.stat_result) -> bool:
    """Return whether it is certain that a file is content itself."""
    if found.st_size > LONGEST_POINTER:
        return True
    content = _read(repo, path)
    return content is not None and not _may_lead_elsewhere(content)


def _may_lead_elsewhere(content: bytes) -> bool:
    """Return whether git-annex may take a file for what it leads to.

    So it does with a pointer, and the text of a link (isPointerFile).
    """
    return len(content) <= LONGEST_POINTER and b"annex/objects/" in content


def _keys(
    repo: Repo, found: Mapping[str, os.stat_result], backends: Mapping[str, str]
) -> dict[str, str]:
    """Return the keys of files; those that git-annex has to add itself are left out."""
    by_backend: dict[str, list[str]] = {}
    for path, backend in backends.items():
        by_backend.setdefault("" if backend == UNSPECIFIED else backend, []).append(path)
    keys: dict[str, str] = {}
    for backend, paths in by_backend.items():
        for path, key in zip(paths, calculate_keys(repo, backend, paths), strict=True):
            match = _KEY.fullmatch(key)
            if match and match[1] in BACKENDS and int(match[2]) == found[path].st_size:
                keys[path] = key
    waited_for = _with_pointers(repo, keys)
    return {path: key for path, key in keys.items() if key not in waited_for}


def _with_pointers(repo: Repo, keys: Mapping[str, str]) -> set[str]:
    """Return the keys for which there may be unlocked files that wait for their content.

    git-annex fills in those when it adds the content. Where they are it keeps in a
    database of its own (Database.Keys.SQL).
    """
    path = repo.git_dir / "annex" / "keysdb" / "db"
    if not path.exists():
        return set()
    waiting: set[str] = set()
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            for key in set(keys.values()):
                rows = database.execute(
                    "SELECT file FROM associated WHERE key IN (?, ?)", (key.encode(), key)
                )
                files = (os.fsdecode(name) for (name,) in rows)
                if any((repo.root / name).is_file() for name in files):
                    waiting.add(key)
    except (sqlite3.Error, TypeError) as exc:
        lgr.debug("git-annex's database %s cannot be read: %s", path, exc)
        return set(keys.values())
    return waiting


def _write(
    repo: Repo,
    found: Mapping[str, os.stat_result],
    small: Sequence[str],
    links: Collection[str],
    added: Added,
) -> dict[str, str]:
    """Write small files, which are added by that, and links; return the blobs of these."""
    written: list[str] = []

    def contents() -> Iterator[bytes]:
        for path in small:
            if found[path].st_size > _LARGEST_BLOB:
                continue
            content = _read(repo, path)
            if content is None or _may_lead_elsewhere(content):
                continue  # git-annex is going to say why, or knows better
            is_still = plain_stat(lstat_of(repo.root / path)) == plain_stat(found[path])
            if is_still and len(content) == found[path].st_size:
                written.append(path)
                yield content
            else:
                added.failures[path] = CHANGED
        for link in links:
            written.append(link)
            yield os.fsencode(link)

    blobs = write_blobs(repo, contents())
    count = len(written) - len(links)
    for path, blob in zip(written[:count], blobs, strict=False):
        mode = "100755" if found[path].st_mode & stat.S_IXUSR else "100644"
        added.entries[path] = (mode, blob)
    return dict(zip(written[count:], blobs[count:], strict=True))


def _read(repo: Repo, path: str) -> bytes | None:
    try:
        return (repo.root / path).read_bytes()
    except OSError:
        return None
