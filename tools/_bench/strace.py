"""Count the file system calls in a log of strace that are about one directory."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What strace is to trace: all that takes a file's name, and what tells where it is looked up.
TRACED = "trace=%file,fchdir,clone,clone3,fork,vfork"
_STARTERS = ("clone", "clone3", "fork", "vfork")
_LINE = re.compile(r"(\d+) +(?:(<\.\.\. )(\w+) resumed>|(\w+)\()(.*)")
#: strace aligns what a call returned
_END = re.compile(r"\) += ")
#: the answer of an unfinished one comes later; few fail
_WENT_WELL = re.compile(r"\) += 0|<unfinished \.\.\.>$")
_CHILD = re.compile(r" = (\d+)\b")
#: a file descriptor with its path, or a name in quotes; a cut name ends in dots
_ARGUMENT = re.compile(r'(?:AT_FDCWD|\b\d+)<((?:[^<>\\]|\\.)*)>|"((?:[^"\\]|\\.)*)"')
#: calls that look up nothing
_NOT_COUNTED = ("fchdir", "getcwd")
#: calls of which other arguments are texts, not names of files
_FIRST_ONLY = ("execve", "execveat", "readlink", "readlinkat", "mount")
_LAST_ONLY = ("symlink", "symlinkat")


@dataclass
class _Place:
    """The working directory of a process; threads share one."""

    path: str


def count(log: Iterable[str], root: Path, start: Path) -> Counter[str]:
    """Return how often each system call was made on a path at or below a directory.

    Parameters
    ----------
    log : iterable of str
        What ``strace -f -y -e TRACED`` wrote.
    root : Path
        The directory, without symbolic links.
    start : Path
        Working directory of the first process.
    """
    places: dict[int, _Place] = {}
    orphans: list[tuple[int, bool]] = []
    counts: Counter[str] = Counter()
    inside = (f"{root}", f"{root}/")
    for line in log:
        match = _LINE.match(line)
        if not match:
            continue  # a signal, or an end
        pid = int(match[1])
        name, rest = match[3] or match[4], match[5]
        place = places.get(pid)
        if place is None:
            place = places[pid] = _inherited(places, orphans, start)
        if name in _STARTERS:
            _note_child(places, orphans, pid, name, rest, is_end=bool(match[2]))
            continue
        if match[2]:
            continue  # counted where it began
        paths = _paths(rest, place.path)
        if name in ("chdir", "fchdir") and paths and _WENT_WELL.search(rest):
            place.path = paths[0]
        if name in _NOT_COUNTED:
            continue
        if name in _FIRST_ONLY:
            paths = paths[:1]
        elif name in _LAST_ONLY:
            paths = paths[-1:]
        if any(path == inside[0] or path.startswith(inside[1]) for path in paths):
            counts[name] += 1
    return counts


def _inherited(places: dict[int, _Place], orphans: list[tuple[int, bool]], start: Path) -> _Place:
    """Return where a process is that is seen before the call that made it has returned."""
    if not orphans:
        return _Place(str(start))
    parent, is_thread = orphans[-1]
    return places[parent] if is_thread else _Place(places[parent].path)


def _note_child(
    places: dict[int, _Place],
    orphans: list[tuple[int, bool]],
    pid: int,
    name: str,
    rest: str,
    *,
    is_end: bool,
) -> None:
    is_thread = "CLONE_FS" in rest or "CLONE_THREAD" in rest
    if is_end:
        for position in range(len(orphans) - 1, -1, -1):
            if orphans[position][0] == pid:
                is_thread = orphans.pop(position)[1]
                break
    elif rest.rstrip().endswith("<unfinished ...>"):
        orphans.append((pid, is_thread))
        return
    child = _CHILD.search(rest)
    if child and int(child[1]) not in places:
        own = places[pid]
        places[int(child[1])] = own if is_thread else _Place(own.path)


def _paths(arguments: str, here: str) -> list[str]:
    """Return the absolute paths that the arguments of a call name."""
    call = _END.split(arguments, maxsplit=1)[0]
    found: list[str] = []
    base = here
    for match in _ARGUMENT.finditer(call):
        if match[1] is not None:
            base = _plain(match[1])
            found.append(base)
            continue
        name = _plain(match[2])
        # A name that is given with a descriptor replaces it.
        if found and found[-1] == base:
            found.pop()
        found.append(os.path.normpath(os.path.join(base, name)))  # noqa: PTH118
        base = here
    return found


def _plain(text: str) -> str:
    """Undo strace's escapes."""
    return text.encode("latin-1", "replace").decode("unicode_escape") if "\\" in text else text
