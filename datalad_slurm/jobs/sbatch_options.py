"""What can be told from sbatch's options before the job is submitted.

Good enough to unlock a log before a job writes it, not to decide what is
committed: that slurmctld tells.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["chdir", "directives", "log_directories", "log_names", "sbatch_calls", "split_words"]

#: Options of sbatch(1) that take no value, or only one behind an equals sign.
_WITHOUT_VALUE = frozenset(
    [
        "--contiguous",
        "--exclusive",
        "--get-user-env",
        "--help",
        "--hold",
        "--ignore-pbs",
        "--nice",
        "--no-kill",
        "--no-requeue",
        "--overcommit",
        "--oversubscribe",
        "--parsable",
        "--propagate",
        "--quiet",
        "--reboot",
        "--requeue",
        "--share",
        "--spread-job",
        "--stepmgr",
        "--test-only",
        "--usage",
        "--use-min-nodes",
        "--verbose",
        "--version",
        "--wait",
    ]
)
_SHORT_WITHOUT_VALUE = frozenset("hHkOQsvVW")
#: Patterns that make a name different for each job; such a log is never there before.
_UNIQUE = re.compile(r"%\d*[AjJ]")
_DIRECTIVE = re.compile(r"^#SBATCH\s+(.*)$", re.MULTILINE)


def split_words(text: str) -> list[str]:
    """Return the words of a command as a shell would split it; none if it cannot be split."""
    try:
        return shlex.split(text, comments=False)
    except ValueError:
        return []


def directives(script: str) -> list[str]:
    """Return the words of all ``#SBATCH`` lines of a job script."""
    return [word for line in _DIRECTIVE.findall(script) for word in split_words(line)]


def sbatch_calls(words: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """Yield options and script of each sbatch in a command.

    sbatch reads no options behind the script's name: those are the script's.
    """
    for start, word in enumerate(words):
        if word.rpartition("/")[2] == "sbatch":
            rest = words[start + 1 :]
            length = _length_of_options(rest)
            yield list(rest[:length]), rest[length] if length < len(rest) else ""


def _length_of_options(words: Sequence[str]) -> int:
    position = 0
    while position < len(words) and words[position].startswith("-") and words[position] != "-":
        position += 1 if _is_whole(words[position]) else 2
    return min(position, len(words))


def _is_whole(option: str) -> bool:
    """Return whether the value of an option, if it has one, is in the same word."""
    if option.startswith("--"):
        return "=" in option or option in _WITHOUT_VALUE
    return len(option) > 2 or option[1:] in _SHORT_WITHOUT_VALUE


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
    words = list(options)
    for short, name in (("o", "output"), ("e", "error")):
        for value in _values(words, short, name):
            if value and not _UNIQUE.search(value):
                yield value


def log_directories(options: Iterable[str]) -> Iterator[str]:
    """Yield the directories in which options put logs, but none that is new for each job."""
    words = list(options)
    for short, name in (("o", "output"), ("e", "error"), ("i", "input")):
        for value in _values(words, short, name):
            directory = value.rpartition("/")[0]
            if directory and "%" not in directory:
                yield directory


def chdir(options: Iterable[str]) -> str:
    """Return the directory that options let the job run in, or nothing."""
    return next(_values(list(options), "D", "chdir"), "")
