"""Fill a row of a table into a command: what holds a value stays one argument."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath

from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.sbatch_options import sbatch_calls
from datalad_slurm.jobs.sbatch_words import takes_rest
from datalad_slurm.jobs.templates import SHELL, Names, Template

__all__ = ["CommandTemplate"]

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_WRAP = re.compile("--wra?p?=")
#: A text in which nothing but quotes means something to a shell.
_PLAIN = re.compile(r"""(?:[\w@%+=:,./{} \t-]|'[^']*'|"[^"$`\\]*")*""")
#: They give their arguments to a shell.
_EVALUATING = ("eval", "parallel", "ssh", "su")


def _inside_quotes(value: str) -> str:
    """Return what stands for a value between single quotes, as `shlex.quote` has it."""
    return value.replace("'", "'\"'\"'")


class CommandTemplate:
    """A command with columns as placeholders: a program with its arguments.

    Parameters
    ----------
    command : sequence of str
        Words as typed; a single one is a text that holds them all.
    names : Names
        What may stand between braces.

    Raises
    ------
    InvalidRequestError
        When a placeholder is unknown, or a value would be more than an argument.
    """

    def __init__(self, command: Sequence[str], names: Names) -> None:
        words = _words(command)
        self._words = [Template(word, names, "the command") for word in words]
        self._shown: list[Callable[[str], str]] = [str] * len(words)
        self._script = -1
        self._refuse_other_programs(words)
        for position, _ in enumerate(words):
            if self._words[position].columns and _is_for_shell(words, position):
                self._words[position] = self._words[position].for_shell()
                self._shown[position] = _inside_quotes
        self._look_at_options(words)

    @property
    def columns(self) -> list[str]:
        """The columns that are used."""
        return [column for word in self._words for column in word.columns]

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the command as a text for a shell; placeholders that are no columns stay.

        Raises
        ------
        InvalidRequestError
            When the value that is to be the script would be something else.
        """
        pairs = zip(self._words, self._shown, strict=True)
        words = [template.fill(values, shown) for template, shown in pairs]
        script = words[self._script] if self._script >= 0 else "job.sh"
        if script in ("", ":") or script.startswith("-"):
            raise InvalidRequestError(f"sbatch would not take '{script}' for the name of a script")
        return shlex.join(words)

    def _refuse_other_programs(self, words: Sequence[str]) -> None:
        """Refuse columns in the program's name, and programs that call a shell unasked."""
        program = next((n for n, w in enumerate(words) if not _ASSIGNMENT.match(w)), len(words))
        for template in self._words[: program + 1]:
            if template.columns:
                raise InvalidRequestError(
                    f"{{{template.columns[0]}}} stands where a shell looks for a program or a "
                    "variable; begin the command with a program, such as `sbatch`, or `env A=1`"
                )
        names = [PurePath(word).name for word in words]
        callers = names[: names.index("sbatch") if "sbatch" in names else program + 1]
        evaluating = [name for name in callers if name in _EVALUATING]
        if evaluating and self.columns:
            raise InvalidRequestError(
                f"'{evaluating[0]}' may give a value of the table to a shell; put the command "
                "into a script that takes the values as arguments"
            )

    def _look_at_options(self, words: Sequence[str]) -> None:
        """Refuse columns in the names of options, and find the script's place."""
        start = next((n for n, w in enumerate(words, 1) if PurePath(w).name == "sbatch"), None)
        if start is None:
            return
        options, script = next(sbatch_calls(words))
        for word in self._words[start : start + len(options)]:
            if word.columns and word.start.startswith("-") and not takes_rest(word.start):
                raise InvalidRequestError(
                    f"{{{word.columns[0]}}} stands in the name of an option of sbatch; only its "
                    "value can come from a table"
                )
        if script and self._words[start + len(options)].columns:
            self._script = start + len(options)


def _words(command: Sequence[str]) -> list[str]:
    """Return the words of a command; see `commands.parameters.joined`."""
    if len(command) != 1:
        return list(command[1:] if command[:1] == ("--",) else command)
    if not _PLAIN.fullmatch(command[0]):
        raise InvalidRequestError(
            "with a table, the command is a program and its arguments, without '$', '|', ';', '>' "
            "and what else means something to a shell: put that into a script that takes the "
            "values as arguments"
        )
    return shlex.split(command[0])


def _is_for_shell(words: Sequence[str], position: int) -> bool:
    """Return whether a word is a text that a shell is going to read."""
    if _WRAP.match(words[position]) or (position and _WRAP.fullmatch(f"{words[position - 1]}=")):
        return True
    last = position - 1
    while last > 0 and words[last].startswith("-"):
        if re.fullmatch(r"-\w*c\w*", words[last]):
            return any(re.fullmatch(SHELL, PurePath(word).name) for word in words[:last])
        last -= 1
    return False
