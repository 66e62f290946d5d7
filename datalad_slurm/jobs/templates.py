"""Fill the values of a row of a table into a text.

A column is a placeholder. Its value is inserted as it is: braces stand for
themselves, and so does, in a text for a shell, all that means something there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from datalad_slurm.jobs import braces
from datalad_slurm.jobs.errors import InvalidRequestError

__all__ = ["SHELL", "Names", "Template"]

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
#: Matches the names of shells.
SHELL = r"(?:ba|da|k|z|c|tc|fi)?sh"
#: In a text for a shell: what may have a value read by a shell once more.
_READ_AGAIN = re.compile(
    r"\$[({'\"]|`|<<|[<>]\(|\(\(|\[\[|--wr|"
    r"(?<![\w./-])(?:alias|declare|eval|let|mapfile|read|source|trap|typeset|unset)(?![\w./-])|"
    r"(?<![\w.-])(?:parallel|ssh|su)(?![\w./-])|(?:printf|test|\[)\s+-v|"
    rf"(?<![\w.-]){SHELL}(?:\s+-|\s*(?:$|[;&|)\n]))"
)


@dataclass(frozen=True)
class Names:
    """What may stand between braces."""

    columns: Collection[str]
    #: names that are filled in later
    others: Collection[str] = ()


class Template:
    """A text with columns as placeholders.

    Parameters
    ----------
    text : str
        As typed; a brace that stands for itself is doubled.
    names : Names
        What may stand between braces.
    what : str
        How messages call the text.

    Raises
    ------
    InvalidRequestError
        When a placeholder is unknown, or can mean two things.
    """

    def __init__(self, text: str, names: Names, what: str) -> None:
        self.what = what
        #: pairs of literal text, braces doubled, and the column that follows it
        self._parts: list[tuple[str, str]] = []
        literal, end = "", 0
        for token in _TOKEN.finditer(text):
            literal += text[end : token.start()]
            end = token.end()
            name = token[1]
            if name is not None and _is_column(name, names, what):
                self._parts.append((literal, name))
                literal = ""
            elif name is None and token[0] in "{}":
                raise InvalidRequestError(
                    f"{what} has a single '{token[0]}'; a brace that stands for itself is typed "
                    "twice, as {{ or }}"
                )
            else:
                literal += token[0]
        self._end = literal + text[end:]

    @property
    def columns(self) -> list[str]:
        """The columns that are used."""
        return [column for _, column in self._parts]

    @property
    def start(self) -> str:
        """What comes before the first column."""
        return self._parts[0][0] if self._parts else self._end

    def fill(self, values: Mapping[str, str], shown: Callable[[str], str] = str) -> str:
        """Return the text with columns filled in, and everything else as typed.

        Parameters
        ----------
        values : mapping
            By the names of the columns.
        shown : callable
            What is made of a value before its braces are doubled.
        """
        filled = (
            literal + braces.literal(shown(values[column])) for literal, column in self._parts
        )
        return "".join(filled) + self._end

    def fill_whole(self, values: Mapping[str, str]) -> str:
        """Return the text with columns filled in where nothing is filled in later."""
        return self.fill(values).replace("{{", "{").replace("}}", "}")

    def for_shell(self) -> Template:
        """Return a template of a text that a shell reads, in which a value is one word.

        Raises
        ------
        InvalidRequestError
            When it cannot be told for certain how the shell reads a value.
        """
        text = "{}".join([*(literal for literal, _ in self._parts), self._end])
        again = _READ_AGAIN.search(re.sub("^--wra?p?=", "", text))
        if again:
            raise InvalidRequestError(
                f"{self.what} has '{again[0].strip()}', so a value of the table might be read as "
                "shell code; put it into a script that takes the values as arguments"
            )
        quote = ""
        parts: list[tuple[str, str]] = []
        after = ""
        for literal, column in self._parts:
            quote = self._quote_after(literal, quote)
            if literal.endswith(("\\", "$", "[")):
                raise InvalidRequestError(
                    f"{self.what} has a '{literal[-1]}' right before {{{column}}}"
                )
            parts.append((f"{after}{literal}{quote}'", column))
            after = f"'{quote}"
        found = Template.__new__(Template)
        found.what, found._parts, found._end = self.what, parts, after + self._end
        return found

    def _quote_after(self, literal: str, quote: str) -> str:
        """Return the quote that is open at the end of a text; none is the empty text."""
        position = 0
        while position < len(literal):
            letter = literal[position]
            if quote == "":
                if letter in "'\"":
                    quote = letter
                elif letter == "#":
                    raise InvalidRequestError(
                        f"{self.what} has a '#' before a placeholder, where a comment may begin"
                    )
            elif letter == quote:
                quote = ""
            position += 2 if letter == "\\" and quote != "'" else 1
        return quote


def _is_column(name: str, names: Names, what: str) -> bool:
    """Return whether a placeholder is a column; if not, it is one that is filled in later."""
    is_other = re.split(r"[.\[:!]", name, maxsplit=1)[0] in names.others
    if name in names.columns and is_other:
        raise InvalidRequestError(
            f"{what} has {{{name}}}, which is a column of the table and a placeholder of its own; "
            "give the column another name"
        )
    if name in names.columns:
        return True
    if is_other:
        return False
    known = ", ".join(f"{{{column}}}" for column in names.columns if column)
    raise InvalidRequestError(
        f"{what} has the placeholder {{{name}}}, but the table has no such column, only {known}; "
        "a brace that stands for itself is typed twice, as {{ or }}"
    )
