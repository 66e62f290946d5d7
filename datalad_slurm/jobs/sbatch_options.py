"""What can be told from sbatch's options before the job is submitted."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterable, Iterator

__all__ = ["directives", "log_names", "split_words"]

#: Options of sbatch(1) that name a log file.
_LOG_OPTIONS = ("-o", "--output", "-e", "--error")
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


def log_names(words: Iterable[str]) -> Iterator[str]:
    """Yield file names that options give for logs, as long as they hold no pattern.

    This reads a command without knowing all of its options, so it may find
    too much or too little: good enough to unlock a log before a job writes it,
    not to decide what is committed.
    """
    words = list(words)
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
        option, equals, value = word.partition("=")
        if option in _LOG_OPTIONS and word.startswith("--"):
            name = value if equals else following
        elif word in _LOG_OPTIONS:
            name = following
        elif word.startswith(("-o", "-e")) and not word.startswith("--"):
            name = word[2:]
        else:
            continue
        if name and "%" not in name:
            yield name
