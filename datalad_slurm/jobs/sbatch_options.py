"""What can be told from sbatch's options.

Which log a job will write is told well enough to unlock it before, not to
decide what is committed: that slurmctld tells. Which script is submitted is
told for certain, or not at all.
"""

from __future__ import annotations

import os.path
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from types import MappingProxyType
from typing import NamedTuple

from datalad_slurm.jobs.sbatch_words import named_options

__all__ = [
    "LARGEST_SCRIPT",
    "Call",
    "chdir",
    "clusters",
    "directives",
    "has_wrap",
    "log_directories",
    "log_names",
    "read_call",
    "sbatch_calls",
    "script_head",
    "script_paths",
    "split_words",
    "wrapped_script",
]

#: Larger files are no job scripts (bytes); sbatch itself refuses them above 4 MiB.
LARGEST_SCRIPT = 4 * 2**20

#: Options with which sbatch submits nothing.
_ONLY_TELL = frozenset(["--help", "--usage", "--version", "-h", "-V"])
#: Patterns that make a name different for each job; such a log is never there before.
_UNIQUE = re.compile(r"%\d*[AjJ]")
_DIRECTIVE = re.compile(r"#SBATCH\s+(.*)")


def split_words(text: str) -> list[str]:
    """Return the words of a command as a shell would split it; none if it cannot be split."""
    try:
        return shlex.split(text, comments=False)
    except ValueError:
        return []


def directives(script: str) -> list[str]:
    """Return the words of the ``#SBATCH`` lines of a job script that sbatch reads."""
    found = map(_DIRECTIVE.match, script_head(script))
    return [word for match in found if match for word in split_words(match[1])]


def script_head(script: str) -> list[str]:
    """Return the lines of a job script before its first command.

    Slurm reads no options behind that (``_opt_batch_script()`` of its opt.c).
    """
    lines = script.split("\n")
    return list(takewhile(lambda line: line.lstrip()[:1] in ("", "#"), lines))


def sbatch_calls(words: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """Yield options and script of each sbatch in a command.

    sbatch reads no options behind the script's name: those are the script's.
    """
    for start, word in enumerate(words):
        if word.rpartition("/")[2] == "sbatch":
            rest = words[start + 1 :]
            length = _length_of_options(rest)
            yield list(rest[:length]), rest[length] if length < len(rest) else ""


class Call(NamedTuple):
    """How sbatch reads the words behind its name."""

    #: the options, without ``--wrap``
    options: tuple[str, ...]
    #: as typed; empty when the script comes from stdin or from ``--wrap``
    script: str = ""
    #: what the script is given
    arguments: tuple[str, ...] = ()
    #: command of ``--wrap``
    wrapped: str | None = None
    #: where sbatch looks for the script; empty for where it is called
    directory: str = ""
    #: what it waits for, as typed; None when that is for the script to say
    dependency: str | None = None
    #: whether sbatch only tells something, such as its version
    only_tells: bool = False
    #: values of options, by the options' names, such as ``--array`` or ``-a``
    values: Mapping[str, str] = MappingProxyType({})


def read_call(words: Sequence[str]) -> Call | None:
    """Return what sbatch will submit, or None where that is not certain, or not one script.

    As getopt_long(3), sbatch takes long options cut short as long as no other
    begins so, and several short ones in a word. An option that is not known
    here may or may not have the next word as its value.
    """
    options: list[str] = []
    wrapped: str | None = None
    directory = ""
    values: dict[str, str] = {}
    dependency: str | None = None
    position = 0
    while position < len(words) and words[position].startswith("-") and words[position] != "-":
        word = words[position]
        if word == "--":
            options.append(word)
            position += 1
            break
        found = named_options(word)
        if found is None:
            return None
        if any(name in _ONLY_TELL for name, _ in found):
            return Call((), only_tells=True)
        name, has_value_next = found[-1]
        taken = list(words[position : position + (2 if has_value_next else 1)])
        position += 2 if has_value_next else 1
        if position > len(words):
            return None
        if name == "--wrap":
            wrapped = _value(taken, name)
            continue
        options += taken
        values.pop(name, None)  # in the order in which they count
        values[name] = _value(taken, name)
        if name in ("--chdir", "-D"):
            directory = _value(taken, name)
        if name in ("--dependency", "-d"):
            dependency = _value(taken, name)
    rest = words[position:]
    if (rest and rest[0] == ":") or (rest and wrapped is not None) or wrapped == "":
        return None  # a heterogeneous job, or something that sbatch refuses
    script, arguments = rest[0] if rest else "", tuple(rest[1:])
    return Call(tuple(options), script, arguments, wrapped, directory, dependency, values=values)


def _value(words: Sequence[str], name: str) -> str:
    if len(words) > 1:
        return words[1]
    return words[0].partition("=" if name.startswith("--") else name[1])[2]


def _length_of_options(words: Sequence[str]) -> int:
    position = 0
    while position < len(words) and _is_option(words[position]):
        position += 1 if _is_whole(words[position]) else 2
    return min(position, len(words))


def _is_option(word: str) -> bool:
    # a colon stands between the components of a heterogeneous job
    return word == ":" or (word.startswith("-") and word != "-")


def _is_whole(option: str) -> bool:
    """Return whether the value of an option, if it has one, is in the same word."""
    if option == ":":
        return True
    found = named_options(option)
    return found is not None and not found[-1][1]


def _values(words: Sequence[str], short: str, name: str) -> Iterator[str]:
    for position, word in enumerate(words):
        if word in (f"-{short}", f"--{name}"):
            yield from words[position + 1 : position + 2]
        elif word.startswith(f"--{name}="):
            yield word.partition("=")[2]
        elif word.startswith(f"-{short}") and not word.startswith("--"):
            yield word[2:]


def log_names(options: Iterable[str]) -> Iterator[str]:
    """Yield the names that options give for logs, but none that is new for each job."""
    yield from (name for name in _logs(options) if name and not _UNIQUE.search(name))


def log_directories(options: Iterable[str]) -> Iterator[str]:
    """Yield the directories in which options put logs, but none that is new for each job."""
    for directory in (name.rpartition("/")[0] for name in _logs(options)):
        if directory and "%" not in directory:
            yield directory


def _logs(options: Iterable[str]) -> Iterator[str]:
    words = list(options)
    yield from _values(words, "o", "output")
    yield from _values(words, "e", "error")


def clusters(options: Iterable[str]) -> Iterator[str]:
    """Yield the names of the clusters that options let the job go to."""
    for value in _values(list(options), "M", "clusters"):
        yield from filter(None, value.split(","))


def chdir(options: Iterable[str]) -> str:
    """Return the directory that options let the job run in, or nothing; the last one counts."""
    return next(reversed(list(_values(list(options), "D", "chdir"))), "")


def has_wrap(options: Iterable[str]) -> bool:
    """Return whether options hold the job's commands, so that there is no script."""
    return any(word.partition("=")[0] == "--wrap" for word in options)


def wrapped_script(command: str) -> str:
    """Return the script that sbatch makes of the command of ``--wrap``."""
    return f"#!/bin/sh\n# This script was created by sbatch --wrap.\n\n{command}\n"


def script_paths(
    name: str, directory: str = "", cwd: str = "", search_path: str = ""
) -> Iterator[str]:
    """Yield the paths at which sbatch looks for a script, in its order.

    Seen with Slurm 22.05: a name that begins with a dot or slash is that of a
    file, whatever ``--chdir`` says. Any other is looked for in the directory
    that ``--chdir`` gives, along PATH, and last in the current directory;
    without ``--chdir``, there first.

    Parameters
    ----------
    name : str
        As sbatch was given it.
    directory : str
        What ``--chdir`` gives; empty where it is not used.
    cwd : str
        Where sbatch is called; empty for this process's own directory.
    search_path : str
        The value of PATH.
    """
    if name.startswith(("/", ".")):
        yield os.path.join(cwd, name)  # noqa: PTH118 - "./" is to stay
        return
    for entry in dict.fromkeys((directory, *filter(None, search_path.split(os.pathsep)), "")):
        yield os.path.join(cwd, entry, name)  # noqa: PTH118
