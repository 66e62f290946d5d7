"""Split a shell command into words, with their places, as far as that is clear."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["ShellWord", "split_commands"]

_BLANKS = frozenset(" \t")
_SEPARATORS = frozenset("|&;()<>\n")
_UNSURE = frozenset("$*?[~#!")


@dataclass(frozen=True)
class ShellWord:
    """A word of a shell command, and where it stands in it."""

    text: str
    start: int
    end: int
    #: whether the shell takes it as it is
    is_sure: bool
    #: whether it stays one word: it holds no variable outside of quotes
    is_one: bool


def split_commands(command: str) -> list[list[ShellWord]] | None:
    """Return the simple commands of a shell command, as words; None if that is not clear.

    A backslash at the end of a line is nothing; it is so inside of a word, too.
    """
    parts: list[list[ShellWord]] = [[]]
    start: int | None = None
    text, is_sure, is_one = "", True, True
    characters = enumerate(command + "\n")
    for position, character in characters:
        if character in _BLANKS or character in _SEPARATORS:
            if start is not None:
                parts[-1].append(ShellWord(text, start, position, is_sure, is_one))
            start, text, is_sure, is_one = None, "", True, True
            if character in _SEPARATORS and position < len(command):
                parts.append([])
            continue
        if command.startswith("\\\n", position):
            next(characters)
            continue
        start = position if start is None else start
        if character == "`" or command.startswith("$(", position):
            return None
        if character in "'\"":
            quoted = _quoted(characters, character)
            if quoted is None:
                return None
            text += quoted[0]
            is_sure &= quoted[1]
        elif character == "\\":
            text += next(characters)[1]
        else:
            text += character
            # what other blanks there are is a matter of the shell and its locale
            is_one &= character != "$" and not character.isspace()
            is_sure &= character not in _UNSURE and is_one
    return None if start is not None else [part for part in parts if part]


def _quoted(characters: Iterator[tuple[int, str]], quote: str) -> tuple[str, bool] | None:
    """Read on to the closing quote; return what it encloses, and whether that is as it stands."""
    text, is_sure = "", True
    for _, character in characters:
        if character == quote:
            return text, is_sure
        if quote == '"' and character == "`":
            return None
        if quote == '"' and character == "\\":
            following = next(characters, (0, ""))[1]
            if following != "\n":
                text += following if following in '$`"\\' else f"\\{following}"
        else:
            is_sure &= quote == "'" or character != "$"
            text += character
    return None
