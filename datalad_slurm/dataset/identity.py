"""What stands for the content of files, at a cost that depends on these files only.

Of a locked annexed file the link tells the key. What an unlocked one holds, git's
stat cache knows; only files that this calls changed are read. No filter of git's
runs, and the index is not compared with the working tree elsewhere.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from datalad_slurm.dataset.files import add_content, new_blob_hash
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.indexed import (
    calculate_keys,
    find_unmodified,
    key_in,
    key_of,
    read_index,
    read_pointers,
)
from datalad_slurm.dataset.paths import inside
from datalad_slurm.dataset.subdatasets import Hierarchy
from datalad_slurm.jobs.errors import DatasetError
from datalad_slurm.jobs.inputs import MISSING, Identity, key_size, same_key

__all__ = ["READ_UP_TO", "blob_of", "identify", "identify_raw", "is_still", "object_format"]

#: Larger files are not read, unless git-annex or git knows what they hold (bytes).
READ_UP_TO = 4 * 2**20
#: A file that changed this recently may change again within the same tick of the clock (ns).
_SETTLED = 2 * 10**9
#: What this process has found, by absolute path, with the stat for which it holds.
_known: dict[str, tuple[tuple[int, ...], Identity]] = {}


def identify(repo: Repo, paths: Iterable[str]) -> dict[str, Identity]:
    """Return what stands for the content at each path, as it is in the working tree.

    Parameters
    ----------
    repo : Repo
        The dataset's repository.
    paths : iterable of str
        Relative to the root; absolute outside the dataset.

    Raises
    ------
    DatasetError
        When git or git-annex fails.

    Notes
    -----
    Content is read of files of up to `READ_UP_TO` bytes. Of a directory only that
    it is one is told, or which commit is checked out in it.
    """
    found: dict[str, Identity] = {}
    files: dict[str, str] = {}
    for path in dict.fromkeys(paths):
        real = _at_first_sight(repo, path, found)
        if real is not None:
            files[path] = real
    identities = _identify_files(repo, dict.fromkeys(files.values()))
    behind = {path: {**found.get(path, {}), **identities[real]} for path, real in files.items()}
    return found | behind


def _at_first_sight(repo: Repo, path: str, found: dict[str, Identity]) -> str | None:
    """Note what can be told without content; return the plain file to look into, if any."""
    target = repo.root / path
    try:
        mode = target.lstat().st_mode
        if stat.S_ISLNK(mode):
            return _behind_link(repo, path, found)
        if stat.S_ISDIR(mode):
            found[path] = _directory(target)
        elif not stat.S_ISREG(mode):
            found[path] = {"special": True}
        elif Path(path).is_absolute():
            found[path] = _by_stat(target)
        else:
            return path
    except (FileNotFoundError, NotADirectoryError):
        found[path] = MISSING
    except OSError:
        found[path] = {"unreadable": True}
    return None


def _behind_link(repo: Repo, path: str, found: dict[str, Identity]) -> str | None:
    leads_to = os.fsdecode(os.readlink(repo.root / path))  # noqa: PTH115 - no normalisation
    if "annex/objects/" in leads_to:
        found[path] = {"key": key_of(leads_to)}
        return None
    link = {"link": leads_to}
    real = os.path.realpath(repo.root / path)
    if "/annex/objects/" in real:
        found[path] = {**link, "key": key_of(real)}
    elif not Path(real).is_file():
        found[path] = link if Path(real).exists() else {**link, **MISSING}
    elif (within := inside(repo, real)) is None:
        found[path] = {**link, **_by_stat(Path(real))}
    else:
        found[path] = link
        return within
    return None


def _directory(target: Path) -> Identity:
    if not os.path.lexists(target / ".git"):
        return {"directory": True}
    try:
        commit = Repo(target).ask("rev-parse", "-q", "--verify", "HEAD")
    except DatasetError:
        return {"unreadable": True}
    return {"commit": commit or ""}


def _by_stat(target: Path) -> Identity:
    found = target.stat()
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}


def _identify_files(repo: Repo, paths: Iterable[str]) -> dict[str, Identity]:
    """Return the identities of plain files; those not seen unchanged before are looked into."""
    identities: dict[str, Identity] = {}
    new: defaultdict[str, list[str]] = defaultdict(list)
    stats: dict[str, tuple[int, ...]] = {}
    hierarchy = Hierarchy(repo)
    for path in paths:
        target = str(repo.root / path)
        stats[path] = _stat_of(target)
        seen, identity = _known.get(target, ((), MISSING))
        if seen and seen == stats[path]:
            identities[path] = identity
        else:
            new[hierarchy.holder(path)].append(path)
    for top, members in new.items():
        holder = hierarchy.repo(top)
        start = len(top) + 1 if top else 0
        try:
            fresh = _look_into(holder, [path[start:] for path in members])
        except DatasetError:
            if not top:
                raise
            fresh = {path[start:]: {"unreadable": True} for path in members}
        for path in members:
            identities[path] = fresh[path[start:]]
            _remember(str(repo.root / path), stats[path], identities[path])
    return identities


def _stat_of(target: str) -> tuple[int, ...]:
    try:
        found = os.stat(target)  # noqa: PTH116 - called for thousands
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _remember(target: str, seen: tuple[int, ...], identity: Identity) -> None:
    is_settled = seen and max(seen[3:]) < time.time_ns() - _SETTLED
    if is_settled and seen == _stat_of(target):
        _known[target] = (seen, identity)


def _look_into(repo: Repo, paths: Sequence[str]) -> dict[str, Identity]:
    found = {path: _read(repo, repo.root / path) for path in paths}
    indexed = read_index(repo, paths)
    # what differs from the index may be annexed and unlocked, or too large to be read
    doubtful = {
        path: entry
        for path, entry in indexed.items()
        if "key" not in found[path] and found[path] != {"blob": entry[0]}
    }
    keys = read_pointers(repo, doubtful) if repo.has_annex else {}
    asked = [path for path in doubtful if path in keys or "size" in found[path]]
    unmodified = find_unmodified(repo, asked)
    for path in unmodified:
        found[path] = {"key": keys[path]} if path in keys else {"blob": doubtful[path][0]}
    by_backend: defaultdict[str, list[str]] = defaultdict(list)
    for path, key in keys.items():
        if path not in unmodified and "blob" in found[path]:
            by_backend[key.partition("-")[0]].append(path)
    for backend, members in by_backend.items():
        calculated = calculate_keys(repo, backend, [str(repo.root / path) for path in members])
        for path, key in zip(members, calculated, strict=True):
            if key:
                found[path] = {"key": keys[path] if same_key(key, keys[path]) else key}
    return found


def _read(repo: Repo, target: Path) -> Identity:
    """Return a plain file's blob, or its size and time if it is large.

    An unlocked annexed file whose content is not here holds a pointer.
    """
    try:
        if target.stat().st_size > READ_UP_TO:
            return _by_stat(target)
        content = target.read_bytes()
    except FileNotFoundError:
        return MISSING
    except OSError:
        return {"unreadable": True}
    key = key_in(content) if repo.has_annex else ""
    return {"key": key} if key else {"blob": blob_of(repo, content)}


def blob_of(repo: Repo, content: bytes) -> str:
    """Return the id that git gives to a file with this very content, unfiltered."""
    total = new_blob_hash(object_format(repo), len(content))
    total.update(content)
    return total.hexdigest()


def object_format(repo: Repo) -> str:
    """Return the hash of a repository: ``sha1`` or ``sha256``."""
    return _object_format(repo.common_dir)


@lru_cache(maxsize=256)
def _object_format(git_dir: Path) -> str:
    # git reads it from its own configuration file only
    try:
        text = (git_dir / "config").read_text(errors="replace")
    except OSError:
        return "sha1"
    return (
        "sha256"
        if re.search(r"(?mi)^\s*(\[extensions\]\s*)?objectformat\s*=\s*\"?sha256\b", text)
        else "sha1"
    )


def identify_raw(repo: Repo, path: str) -> Identity:
    """Return what stands for a file's content, whether git-annex holds it or not."""
    target = Path(os.path.realpath(repo.root / path))
    return _read(repo, target) if target.is_file() else MISSING


def is_still(repo: Repo, path: str, noted: Identity) -> bool | None:
    """Return whether a file that is held in another way now has the content it had.

    None stands for a file whose content is not here, so that nobody can tell.
    """
    target = Path(os.path.realpath(repo.root / path))
    try:
        found = target.stat()
    except FileNotFoundError:
        return None if os.path.lexists(repo.root / path) else False
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return False
    if "key" in noted:
        return _has_key(repo, target, noted["key"], found.st_size)
    if "blob" in noted:
        return _has_blob(repo, target, noted["blob"], found.st_size)
    return (noted.get("size"), noted.get("mtime_ns")) == (found.st_size, found.st_mtime_ns)


def _has_key(repo: Repo, target: Path, key: str, size: int) -> bool | None:
    if key_size(key) not in (None, size):
        return False
    if not repo.has_annex:
        return None
    (now,) = calculate_keys(repo, key.partition("-")[0], [str(target)])
    return same_key(now, key) if now else None


def _has_blob(repo: Repo, target: Path, blob: str, size: int) -> bool | None:
    if size > READ_UP_TO:
        # it was as large then only if git held it
        told = repo.run("cat-file", "--batch-check=%(objectsize)", input=blob.encode() + b"\n")
        if told.strip() != str(size).encode():
            return False
    total = new_blob_hash(_object_format(repo.common_dir), size)
    try:
        add_content(total, target)
    except OSError:
        return None
    return total.hexdigest() == blob
