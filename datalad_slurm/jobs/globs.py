"""Patterns of paths, with the meaning that Python's `glob` gives them.

`datalad run` expands its inputs and outputs with ``glob.glob(recursive=True)``,
so outputs are read in the same way: ``*``, ``?``, ``[a-c]`` and ``[!x]`` stand
for characters of one name, a name ``**`` for any number of names, and a name
that begins with a dot is matched only by a pattern that does so too. A ``*``,
``?`` or ``[`` that stands for itself is put in brackets: ``[*]``.

Where `glob` looks at a file system, here are the automata behind it: they match
one name after the other, of whatever tree, and tell whether two patterns have a
path in common. Unlike `glob` they know nothing of symbolic links.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from datalad_slurm.jobs.name_patterns import ANY_NAME, NamePattern, share_name

__all__ = ["Glob", "parse_glob"]

_START = frozenset([0])


@dataclass(frozen=True)
class Glob:
    """A pattern of paths, relative to some directory.

    Matching goes from name to name. Positions are those in `names` before
    which one can be; none are left when nothing below can match.
    """

    names: tuple[NamePattern, ...]
    #: a slash at the end: only directories are matched
    directories_only: bool = False

    @cached_property
    def top(self) -> str:
        """The path at and below which all matches lie: the names before the first wildcard."""
        return "/".join(name.literal or "" for name in self.names[: self._fixed])

    @cached_property
    def is_plain(self) -> bool:
        """Whether there is no wildcard, so that it matches `top` and nothing else."""
        return self._fixed == len(self.names)

    @cached_property
    def _fixed(self) -> int:
        wild = (number for number, name in enumerate(self.names) if name.literal is None)
        return next(wild, len(self.names))

    @property
    def below_top(self) -> frozenset[int]:
        """The positions at `top`."""
        return frozenset([self._fixed])

    @property
    def matches_top(self) -> bool:
        """Whether the directory `top` is matched itself, as it is by ``top/**``."""
        return bool(self.top) and self.is_match(self.below_top, is_directory=True)

    def step(self, positions: frozenset[int], name: str) -> frozenset[int]:
        """Return the positions after one more name of a path."""
        found: set[int] = set()
        for position in self._closure(positions):
            if position == len(self.names):
                continue
            pattern = self.names[position]
            if not pattern.is_recursive:
                if pattern.matches(name):
                    found.add(position + 1)
            elif not name.startswith("."):
                found.add(position)
                if position + 1 == len(self.names):
                    found.add(position + 1)
        return frozenset(found)

    def is_match(self, positions: frozenset[int], *, is_directory: bool) -> bool:
        """Return whether the path that led to these positions is matched."""
        end = len(self.names)
        if is_directory:  # only a directory can have no name below it
            return end in self._closure(positions)
        return end in positions and not self.directories_only

    def matches(self, path: str, *, is_directory: bool = False) -> bool:
        """Return whether the pattern matches a path; the empty one is matched by no wildcard."""
        if not path:
            return not self.names
        positions = _START
        for name in path.split("/"):
            positions = self.step(positions, name)
        return self.is_match(positions, is_directory=is_directory)

    def reaches(self, path: str) -> bool:
        """Return whether matching a path, or something below it, can succeed at all.

        That is so unless a name of it leads nowhere, and no part of the path
        that is a match came before.
        """
        positions = _START
        for name in path.split("/") if path else ():
            positions = self.step(positions, name)
            if not positions or self.is_match(positions, is_directory=True):
                break
        return bool(positions)

    def _closure(self, positions: Collection[int]) -> set[int]:
        found = set(positions)
        for position in positions:
            following = position
            while following < len(self.names) and self.names[following].is_recursive:
                following += 1
                found.add(following)
        return found

    def shares_path_with(self, other: Glob) -> bool:
        """Return whether some path is matched by, or lies below a match of, both."""
        start = (0 if self.names else None, 0 if other.names else None)
        pending: list[tuple[int | None, int | None]] = [start]
        seen = {start}
        while pending:
            one, two = pending.pop()
            if one is None and two is None:
                return True
            for one_name, one_next in self._moves(one):
                for two_name, two_next in other._moves(two):
                    if (one_next, two_next) in seen or not share_name(one_name, two_name):
                        continue
                    seen.add((one_next, two_next))
                    pending.append((one_next, two_next))
        return False

    def _moves(self, position: int | None) -> Iterator[tuple[NamePattern, int | None]]:
        """Yield the patterns of the next name with the position after it; None is below a match."""
        if position is None:
            yield ANY_NAME, None
            return
        end = len(self.names)
        for here in self._closure([position]):
            if here < end:
                after = here if self.names[here].is_recursive else here + 1
                yield self.names[here], None if end in self._closure([after]) else after


@lru_cache(maxsize=1 << 14)
def parse_glob(text: str) -> Glob:
    """Return a pattern that is written with slashes between its names.

    The empty text is the directory itself. There must be no names ``.`` and
    ``..``.
    """
    names = text.split("/") if text else []
    directories_only = bool(names) and not names[-1]
    return Glob(tuple(NamePattern(name) for name in names if name), directories_only)
