"""What a command will submit: an array or none, and under which name; and how to change that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from datalad_slurm.jobs.sbatch_options import Call, directives, read_call
from datalad_slurm.jobs.sbatch_words import named_options
from datalad_slurm.jobs.tasks import expand_index_list

__all__ = ["Foreseen", "foresee", "with_array"]

_SEPARATORS = frozenset("|&;()<>\n")
_UNSURE = frozenset("$*?[~#!")
_ARRAY = ("--array", "-a")
_NAME = ("--job-name", "-J")


@dataclass(frozen=True)
class Foreseen:
    """What is known of a submission before it is made."""

    #: indices of the array, none where it is no array; None where that is not known
    indices: tuple[int, ...] | None = None
    #: name of the job
    name: str | None = None


@dataclass(frozen=True)
class _Word:
    """A word of a shell command, and where it stands in it."""

    text: str
    start: int
    end: int
    #: whether the shell takes it as it is
    is_sure: bool


def foresee(
    command: str, environment: Mapping[str, str], read_script: Callable[[Call], str | None]
) -> Foreseen:
    """Return what is known of a command's submission; nothing, unless it is a plain sbatch.

    As sbatch(1) has it, the command line counts before the environment, and
    that before the script.

    Parameters
    ----------
    command : str
        As a shell will be given it.
    environment : mapping
        Environment variables.
    read_script : callable
        Returns the job script of a call, or None when it cannot be read.
    """
    parts = _split(command)
    words = parts[0] if parts and len(parts) == 1 else []
    if not words or not _is_sbatch(words[0]):
        return Foreseen()
    call = read_call([word.text for word in words[1:]])
    if call is None or call.only_tells:
        return Foreseen()
    if not all(word.is_sure for word in words[: len(words) - len(call.arguments)]):
        return Foreseen()
    in_script = _directives(call, read_script)
    array = _first(_given(call, _ARRAY), environment.get("SBATCH_ARRAY_INX"))
    name = _first(_given(call, _NAME), environment.get("SBATCH_JOB_NAME"))
    if in_script is not None:
        array = _first(array, _given(in_script, _ARRAY), "")
        name = _first(name, _given(in_script, _NAME), _default_name(call))
    return Foreseen(_indices(array), name)


def _directives(call: Call, read_script: Callable[[Call], str | None]) -> Call | None:
    """Return what the script of a call says, or None when that is not known."""
    if call.wrapped is not None:
        return Call(())
    script = read_script(call) if call.script else None
    if script is None:
        return None
    head: list[str] = []
    for line in script.splitlines():
        if line.strip() and not line.startswith("#"):
            break  # sbatch reads no further
        head.append(line)
    return read_call(directives("\n".join(head)))


def _given(call: Call, names: tuple[str, str]) -> str | None:
    return next((value for name, value in reversed([*call.values.items()]) if name in names), None)


def _first(*values: str | None) -> str | None:
    return next((value for value in values if value is not None), None)


def _default_name(call: Call) -> str | None:
    return "wrap" if call.wrapped is not None else call.script.rpartition("/")[2] or None


def _indices(array: str | None) -> tuple[int, ...] | None:
    if not array:
        return () if array == "" else None
    try:
        return tuple(sorted(set(expand_index_list(array))))
    except ValueError:
        return None  # sbatch will say what is wrong with it


def with_array(command: str, indices: str) -> str | None:
    """Return a command that submits an array with only these indices, where it submits one.

    None where it is not certain what sbatch is given.
    """
    parts = _split(command)
    calls = [part for part in parts or () if any(map(_is_sbatch, part))]
    if len(calls) != 1:
        return None
    (words,) = calls
    first = next(number for number, word in enumerate(words) if _is_sbatch(word))
    dropped = _array_options(words[first + 1 :])
    if dropped is None or any(map(_is_sbatch, words[first + 1 :])):
        return None
    end = words[first].end
    text = f"{command[:end]} --array={indices}"
    for word in dropped:
        text += command[end : word.start].rstrip() if word.start > end else ""
        end = word.end
    return text + command[end:]


def _array_options(words: list[_Word]) -> list[_Word] | None:
    """Return the words that say which array sbatch makes, or None where that is not certain."""
    found: list[_Word] = []
    position = 0
    while position < len(words):
        word = words[position]
        if not word.is_sure:
            return None
        if not word.text.startswith("-") or word.text in ("-", "--"):
            break
        names = named_options(word.text)
        if names is None:
            return None
        name, has_value_next = names[-1]
        count = 2 if has_value_next else 1
        if name in _ARRAY:
            if len(names) > 1:
                return None
            found += words[position : position + count]
        elif any(not each.is_sure for each in words[position + 1 : position + count]):
            return None
        position += count
    return found


def _is_sbatch(word: _Word) -> bool:
    return word.is_sure and word.text.rpartition("/")[2] == "sbatch"


def _split(command: str) -> list[list[_Word]] | None:
    """Return the simple commands of a shell command with their words; None if that is not clear."""
    parts: list[list[_Word]] = [[]]
    start: int | None = None
    text, is_sure = "", True
    characters = enumerate(command + "\n")
    for position, character in characters:
        if character.isspace() or character in _SEPARATORS:
            if start is not None:
                parts[-1].append(_Word(text, start, position, is_sure))
            start, text, is_sure = None, "", True
            if character in _SEPARATORS and position < len(command):
                parts.append([])
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
            is_sure &= character not in _UNSURE
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
            text += following if following in '$`"\\' else f"\\{following}"
        else:
            is_sure &= quote == "'" or character != "$"
            text += character
    return None
