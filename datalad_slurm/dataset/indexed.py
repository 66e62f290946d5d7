"""What git's index and git-annex tell of plain files, asked for single paths.

Nothing here compares the index with the working tree beyond these paths, and no
filter of git's runs: git-annex's could annex a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence

from datalad_slurm.dataset.files import LINK_MODE
from datalad_slurm.dataset.git import Repo, in_argument_chunks
from datalad_slurm.jobs.inputs import Identity

__all__ = [
    "LONGEST_POINTER",
    "calculate_keys",
    "find_unmodified",
    "identity_of",
    "key_in",
    "key_of",
    "parse_staged",
    "read_index",
    "read_pointers",
]

#: git-annex holds no longer file to be a pointer (bytes; its Annex.Link, maxPointerSz).
LONGEST_POINTER = 32 * 2**10
_POINTER = b"/annex/objects/"
#: Each path costs git a comparison with each entry of the index.
_MOST_PATHSPECS = 200
_DEBUG = re.compile(
    rb"([^\0]+)\0  ctime: (\d+):(\d+)\n  mtime: (\d+):(\d+)\n  dev: \d+\tino: (\d+)\n"
    rb"  uid: \d+\tgid: \d+\n  size: (\d+)\tflags: \w+\n"
)


def key_of(name: str) -> str:
    """Return the key in the name of an object file (git-annex, Annex.Locations, fileKey)."""
    escaped = name.rpartition("/")[2]
    for short, character in (("%", "/"), ("&c", ":"), ("&s", "%"), ("&a", "&")):
        escaped = escaped.replace(short, character)
    return escaped


def key_in(content: bytes) -> str:
    """Return the key that a pointer holds; nothing, if this is none."""
    if len(content) > LONGEST_POINTER or not content.startswith(_POINTER):
        return ""
    return key_of(os.fsdecode(content.split(b"\n", 1)[0]))


def identity_of(mode: str, blob: str, content: bytes) -> Identity:
    """Return what stands for the content of a file or link that git holds; see `jobs.inputs`."""
    if mode == LINK_MODE:
        target = os.fsdecode(content)
        return {"key": key_of(target)} if "annex/objects/" in target else {"link": target}
    key = key_in(content)
    return {"key": key} if key else {"blob": blob}


def read_index(repo: Repo, paths: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Return object id and size of what the index holds at paths; no entry, where nothing.

    ``git ls-files`` would compare each path with each entry of the index.
    """
    # older versions of git read one path a line; such a file counts as untracked
    named = [path for path in paths if "\n" not in path]
    if not named:
        return {}
    asked = b"".join(b":0:" + os.fsencode(path) + b"\n" for path in named)
    told = repo.run("cat-file", "--batch-check=%(objectname) %(objectsize)", input=asked)
    entries = {}
    for path, line in zip(named, told.split(b"\n"), strict=False):
        oid, _, size = line.partition(b" ")
        if not line.endswith(b" missing") and size.isdigit():
            entries[path] = (oid.decode(), int(size))
    return entries


def parse_staged(told: bytes) -> Iterator[tuple[str, str, str]]:
    """Yield path, mode and object id of what ``git ls-files -s -z`` has told."""
    for entry in told.split(b"\0"):
        meta, _, path = entry.partition(b"\t")
        if path:
            mode, blob, _ = meta.decode().split(" ")
            yield os.fsdecode(path), mode, blob


def read_pointers(repo: Repo, entries: dict[str, tuple[str, int]]) -> dict[str, str]:
    """Return the keys of those index entries that are pointers of git-annex."""
    small = {path: oid for path, (oid, size) in entries.items() if size <= LONGEST_POINTER}
    if not small:
        return {}
    told = repo.run("cat-file", "--batch", input="".join(f"{o}\n" for o in small.values()).encode())
    keys = {}
    position = 0
    for path in small:
        end = told.index(b"\n", position)
        size = int(told[position:end].rpartition(b" ")[2])
        key = key_in(told[end + 1 : end + 1 + size])
        if key:
            keys[path] = key
        position = end + 2 + size
    return keys


def find_unmodified(repo: Repo, paths: Sequence[str]) -> set[str]:
    """Return the paths that are, by their stat, as git saw them when it noted their content.

    ``git diff-files`` would read, and put through a filter, what changed in the
    same second as the index. ``git ls-files --debug`` only tells; what it tells
    may change with versions (git-ls-files(1)), and is then taken as no answer.
    """
    asked = list(paths)
    if len(asked) > _MOST_PATHSPECS:
        parents = sorted({path.rpartition("/")[0] for path in asked})
        asked = [path for path in asked if "/" not in path] + list(filter(None, parents))
    noted: dict[str, tuple[int, ...]] = {}
    for chunk in in_argument_chunks(asked):
        noted |= _parse_debug(repo.run("ls-files", "-z", "--debug", "--", *chunk))
    try:
        written = (repo.git_dir / "index").stat().st_mtime_ns
    except OSError:
        return set()
    return {path for path in paths if _is_unmodified(repo, path, noted.get(path), written)}


def _parse_debug(told: bytes) -> dict[str, tuple[int, ...]]:
    """Return ctime and mtime (ns), inode and size by path, the last two as 32 bits."""
    noted: dict[str, tuple[int, ...]] = {}
    for match in _DEBUG.finditer(told):
        ctime, ctime_ns, mtime, mtime_ns, inode, size = map(int, match.groups()[1:])
        moments = (ctime * 10**9 + ctime_ns, mtime * 10**9 + mtime_ns)
        noted[os.fsdecode(match[1])] = (*moments, inode, size)
    return noted


def _is_unmodified(repo: Repo, path: str, noted: tuple[int, ...] | None, written: int) -> bool:
    try:
        found = (repo.root / path).lstat()
    except OSError:
        return False
    bits = 0xFFFFFFFF
    now = (found.st_ctime_ns, found.st_mtime_ns, found.st_ino & bits, found.st_size & bits)
    # what changes while the index is written may keep its time
    return now == noted and found.st_mtime_ns < written


def calculate_keys(repo: Repo, backend: str, targets: Sequence[str]) -> list[str]:
    """Return the key that git-annex would give to each file; empty where it cannot tell.

    Where its answers do not fit the files in number, it has told of none.

    Without a name of a backend it is the one that is configured, not regarding attributes.
    """
    asked = b"\0".join(map(os.fsencode, targets))
    options = [f"--backend={backend}"] if backend else []
    told = repo.run("annex", "calckey", *options, "--batch", "-z", input=asked, ok_codes=(0, 1))
    keys = [os.fsdecode(line) for line in told.split(b"\n")]
    return keys[:-1] if len(keys) == len(targets) + 1 else [""] * len(targets)
