"""What a command will submit: an array or none, and under which name; and how to change that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from datalad_slurm.jobs.sbatch_options import Call, directives, read_call
from datalad_slurm.jobs.sbatch_words import named_options
from datalad_slurm.jobs.shell_words import ShellWord, split_commands
from datalad_slurm.jobs.tasks import expand_index_list

__all__ = ["Foreseen", "foresee", "with_array"]

_ARRAY = ("--array", "-a")
_NAME = ("--job-name", "-J")


@dataclass(frozen=True)
class Foreseen:
    """What is known of a submission before it is made."""

    #: indices of the array, none where it is no array; None where that is not known
    indices: tuple[int, ...] | None = None
    #: name of the job
    name: str | None = None


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
    parts = split_commands(command)
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
    return read_call(directives(script))


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
    parts = split_commands(command)
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


def _array_options(words: list[ShellWord]) -> list[ShellWord] | None:
    """Return the words that say which array sbatch makes, or None where that is not certain."""
    found: list[ShellWord] = []
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


def _is_sbatch(word: ShellWord) -> bool:
    return word.is_sure and word.text.rpartition("/")[2] == "sbatch"
