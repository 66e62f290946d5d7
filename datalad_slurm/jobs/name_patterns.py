"""Patterns of one name, as Python's `fnmatch` reads them, and whether two can match the same."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product, takewhile

__all__ = ["ANY_NAME", "NamePattern", "share_name"]

_WILDCARD = re.compile(r"[*?[]")
_RECURSIVE = "**"
_STAR = "*"
_WILD = ("*", "?")
#: Names that every directory has, and no pattern matches.
_NO_NAMES = frozenset(["", ".", ".."])


@dataclass(frozen=True)
class NamePattern:
    """A pattern of one name, between two slashes."""

    text: str

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """The pattern in pieces: a star, or what stands for one character."""
        return tuple(_split(self.text))

    @cached_property
    def literal(self) -> str | None:
        """The only name that the pattern matches, or None when it has wildcards."""
        if _WILDCARD.search(self.text) is None:
            return self.text
        named = [*map(_named_character, self.pieces)]
        return None if None in named else "".join(filter(None, named))

    @cached_property
    def fixed_ends(self) -> tuple[str, str]:
        """What all names begin with, and, from right to left, what they end with."""
        named = [*map(_named_character, self.pieces)]
        first, last = (takewhile(bool, part) for part in (named, reversed(named)))
        return "".join(filter(None, first)), "".join(filter(None, last))

    @cached_property
    def is_recursive(self) -> bool:
        """Whether it stands for any number of names."""
        return self.text == _RECURSIVE

    @property
    def matches_hidden(self) -> bool:
        """Whether it can match names that begin with a dot."""
        return self.text.startswith(".")

    def matches(self, name: str) -> bool:
        """Return whether the pattern matches a name."""
        if self.literal is not None:
            return name == self.literal
        return (self.matches_hidden or not name.startswith(".")) and bool(
            _compiled(self.text).match(name)
        )

    def reachable(self, position: int) -> range:
        """Return the positions among the pieces that one is at, as a star may be nothing."""
        end = position
        while end < len(self.pieces) and self.pieces[end] == _STAR:
            end += 1
        return range(position, end + 1)


class _AnyName(NamePattern):
    """What may lie below a match: names that begin with a dot, too."""

    @property
    def matches_hidden(self) -> bool:
        return True


#: What lies below a match.
ANY_NAME = _AnyName(_STAR)


@lru_cache(maxsize=1 << 12)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern))


def _split(pattern: str) -> Iterator[str]:
    """Split a pattern as `fnmatch` reads it; a bracket that is not closed is a character."""
    position = 0
    while position < len(pattern):
        end = position + 1
        if pattern[position] == "[":
            first = end + (pattern[end : end + 1] == "!")
            closing = pattern.find("]", first + 1)  # one in the first place is a character
            end = closing + 1 if closing > 0 else end
        yield pattern[position:end]
        position = end


def _named_character(piece: str) -> str | None:
    """Return the character that a piece stands for, or None when it is a wildcard."""
    if len(piece) == 1:
        return None if piece in _WILD else piece
    return piece[1] if piece in ("[*]", "[?]", "[[]") else None


def _accepts(piece: str, character: str) -> bool:
    if len(piece) == 1:
        return piece in _WILD or piece == character
    return bool(_compiled(piece).match(character))


def share_name(one: NamePattern, two: NamePattern) -> bool:
    """Return whether some name is matched by both."""
    if one.literal is not None:
        return two.matches(one.literal)
    if two.literal is not None:
        return one.matches(two.literal)
    for ends in zip(one.fixed_ends, two.fixed_ends, strict=True):
        short, long = sorted(ends, key=len)
        if not long.startswith(short):
            return False
    return _automata_meet(one, two)


@lru_cache(maxsize=1 << 14)
def _automata_meet(one: NamePattern, two: NamePattern) -> bool:
    """Search for a name through pairs of positions that the same characters lead to."""
    characters = _telling_characters((*one.pieces, *two.pieces))
    ends = (len(one.pieces), len(two.pieces))
    pending = [(0, 0, "")]  # the positions, and what of the name may still be none
    seen = set(pending)
    while pending:
        *here, begun = pending.pop()
        for p, q in product(one.reachable(here[0]), two.reachable(here[1])):
            if (p, q) == ends and begun not in _NO_NAMES:
                return True
            if p == ends[0] or q == ends[1]:
                continue
            for character in characters:
                if character == "." and not (begun or (one.matches_hidden and two.matches_hidden)):
                    continue
                if _accepts(one.pieces[p], character) and _accepts(two.pieces[q], character):
                    name = begun + character
                    state = (
                        p + (one.pieces[p] != _STAR),
                        q + (two.pieces[q] != _STAR),
                        name if name in _NO_NAMES else "x",
                    )
                    if state not in seen:
                        seen.add(state)
                        pending.append(state)
    return False


def _telling_characters(pieces: tuple[str, ...]) -> list[str]:
    """Return characters such that every other is treated like one of them by each piece.

    Pieces tell characters apart only at those that are written in them, be it
    as ends of a range.
    """
    written = {ord(character) for piece in pieces for character in piece} | {ord("."), ord("/")}
    bounds = {1, *written, *(code + 1 for code in written)}
    return [chr(code) for code in sorted(bounds) if code < 0x110000 and chr(code) != "/"]
