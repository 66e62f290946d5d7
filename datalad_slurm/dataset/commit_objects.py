"""Make the objects of commits, each grown from its first parent."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from datalad_slurm.dataset.directory import Directory
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.objects import ObjectReader
from datalad_slurm.dataset.packfile import Packfile

__all__ = ["Parents", "Roots", "author_lines", "write_commit"]

#: ids, or positions of commits that are made before this one
Parents = tuple[str | int, ...]


class Roots:
    """What commits hold, each grown from what its first parent does.

    Parameters
    ----------
    reader : ObjectReader
        Reads what the repository has.
    id_size : int
        Bytes of an id.
    parents : iterable of tuple
        Those of each commit that is to be made.
    """

    def __init__(self, reader: ObjectReader, id_size: int, parents: Iterable[Parents]) -> None:
        self._reader = reader
        self._id_size = id_size
        #: how many commits are still to grow from each one
        self._to_grow = Counter(group[0] for group in parents if group)
        self._roots: dict[str | int, Directory] = {}
        #: directories by id, if several commits may change the same one
        self._seen: dict[str, Directory] | None = (
            {} if max(self._to_grow.values(), default=0) > 1 else None
        )
        self._count = 0

    def grown_from(self, parents: Parents, entries: Iterable[tuple[str, str, str]]) -> Directory:
        """Return what the next commit holds; without entries, what its first parent does.

        Parameters
        ----------
        parents : tuple
            Its parents.
        entries : iterable of tuple
            Path, mode and object id of what is there from now on; mode and id are empty for
            what is not there any more.
        """
        root = self._of(parents[0]) if parents else Directory(self._load, self._id_size)
        for path, mode, oid in sorted(entries, key=lambda entry: bool(entry[1])):
            names = os.fsencode(path).split(b"/")
            if mode:
                root.put(names, mode.encode(), bytes.fromhex(oid))
            else:
                root.remove(names)
        if self._count in self._to_grow:
            self._roots[self._count] = root
        self._count += 1
        return root

    def _of(self, parent: str | int) -> Directory:
        if isinstance(parent, str) and parent not in self._roots:
            oid = self._reader.require(f"{parent}^{{tree}}", "tree").oid
            (self._roots[parent],) = self._load([oid])
        self._to_grow[parent] -= 1
        return self._roots[parent].copy() if self._to_grow[parent] else self._roots.pop(parent)

    def _load(self, oids: Sequence[str]) -> Iterator[Directory]:
        """Yield directories, by their ids."""
        seen = {} if self._seen is None else self._seen
        new = list(dict.fromkeys(oid for oid in oids if oid not in seen))
        contents = {each.oid: each.content for each in self._reader.read_all(new, "tree")}
        for oid in oids:
            if oid in seen:
                yield seen[oid].copy()
                continue
            directory = Directory(self._load, self._id_size, contents[oid])
            if self._seen is not None:
                self._seen[oid] = directory.copy()
            yield directory


def author_lines(repo: Repo) -> bytes:
    """Return the lines of a commit that say who has made it, and when."""
    return b"".join(
        role + b" " + repo.run("var", f"GIT_{role.decode().upper()}_IDENT").strip() + b"\n"
        for role in (b"author", b"committer")
    )


def write_commit(
    pack: Packfile, root: Directory, parents: Iterable[str], who: bytes, message: str
) -> str:
    """Write a commit and what it holds, and return its id.

    Parameters
    ----------
    pack : Packfile
        Where to write them.
    root : Directory
        What the commit holds.
    parents : iterable of str
        Ids of its parents.
    who : bytes
        See `author_lines`.
    message : str
        Its message.
    """
    lines = [f"tree {root.write(pack).hex()}\n", *(f"parent {parent}\n" for parent in parents)]
    content = "".join(lines).encode() + who + b"\n" + message.encode(errors="surrogateescape")
    oid = pack.identify("commit", [content])
    pack.write("commit", oid, content)
    return oid.hex()
