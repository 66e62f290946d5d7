"""What can be told from sbatch's options.

Which log a job will write is told well enough to unlock it before, not to
decide what is committed: that slurmctld tells. Which script is submitted is
told for certain, or not at all.
"""

from __future__ import annotations

import os.path
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

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
    "script_paths",
    "split_words",
]

#: Larger files are no job scripts (bytes); sbatch itself refuses them above 4 MiB.
LARGEST_SCRIPT = 4 * 2**20

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
        "--oom-kill-step",
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
#: Options of sbatch(1), 22.05 to 24.11, whose value may be the next word.
_WITH_VALUE = frozenset(
    """
    --account --acctg-freq --array --batch --bb --bbf --begin --chdir --cluster --cluster-constraint
    --clusters --comment --constraint --container --container-id --core-spec --cores-per-socket
    --cpu-freq --cpus-per-gpu --cpus-per-task --deadline --delay-boot --dependency --distribution
    --error --exclude --export --export-file --extra --extra-node-info --gid --gpu-bind --gpu-freq
    --gpus --gpus-per-node --gpus-per-socket --gpus-per-task --gres --gres-flags --hint --input
    --job-name --kill-on-invalid-dep --licenses --mail-type --mail-user --mcs-label --mem --mem-bind
    --mem-per-cpu --mem-per-gpu --mincpus --network --nodefile --nodelist --nodes --ntasks
    --ntasks-per-core --ntasks-per-gpu --ntasks-per-node --ntasks-per-socket --open-mode --output
    --partition --power --prefer --priority --profile --qos --reservation --resv-ports --segment
    --signal --sockets-per-node --switches --thread-spec --threads-per-core --time --time-min --tmp
    --tres-bind --tres-per-task --uid --wait-all-nodes --wckey --wrap
    """.split()  # noqa: SIM905 - a hundred lines would not read better
)
_SHORT_WITH_VALUE = frozenset("aAbBcCdDeFGiJLmMnNopqStwx")
#: Options with which sbatch submits nothing.
_ONLY_TELL = frozenset(["--help", "--usage", "--version", "-h", "-V"])
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


@dataclass(frozen=True)
class Call:
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


def read_call(words: Sequence[str]) -> Call | None:
    """Return what sbatch will submit, or None where that is not certain, or not one script.

    As getopt_long(3), sbatch takes long options cut short as long as no other
    begins so, and several short ones in a word. An option that is not known
    here may or may not have the next word as its value.
    """
    options: list[str] = []
    wrapped: str | None = None
    directory = ""
    dependency: str | None = None
    position = 0
    while position < len(words) and words[position].startswith("-") and words[position] != "-":
        word = words[position]
        if word == "--":
            options.append(word)
            position += 1
            break
        found = _named(word)
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
        if name in ("--chdir", "-D"):
            directory = _value(taken, name)
        if name in ("--dependency", "-d"):
            dependency = _value(taken, name)
    rest = words[position:]
    if (rest and rest[0] == ":") or (rest and wrapped is not None) or wrapped == "":
        return None  # a heterogeneous job, or something that sbatch refuses
    script, arguments = rest[0] if rest else "", tuple(rest[1:])
    return Call(tuple(options), script, arguments, wrapped, directory, dependency)


def _value(words: Sequence[str], name: str) -> str:
    if len(words) > 1:
        return words[1]
    return words[0].partition("=" if name.startswith("--") else name[1])[2]


def _named(word: str) -> list[tuple[str, bool]] | None:
    """Return the full names of the options in a word, and whether the next word is their value."""
    if not word.startswith("--"):
        return _short_named(word[1:])
    start, equals, _ = word.partition("=")
    known = _WITH_VALUE | _WITHOUT_VALUE
    found = {start} if start in known else {name for name in known if name.startswith(start)}
    if not found:
        return [(start, False)] if equals else None  # a newer option
    if len(found) > 1:
        return None
    name = found.pop()
    return [(name, name in _WITH_VALUE and not equals)]


def _short_named(letters: str) -> list[tuple[str, bool]] | None:
    found: list[tuple[str, bool]] = []
    for position, letter in enumerate(letters):
        if letter in _SHORT_WITH_VALUE:
            return [*found, (f"-{letter}", position + 1 == len(letters))]
        if letter not in _SHORT_WITHOUT_VALUE:
            return None
        found.append((f"-{letter}", False))
    return found


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
    found = _named(option)
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
    words = list(options)
    for short, name in (("o", "output"), ("e", "error")):
        for value in _values(words, short, name):
            if value and not _UNIQUE.search(value):
                yield value


def log_directories(options: Iterable[str]) -> Iterator[str]:
    """Yield the directories in which options put logs, but none that is new for each job."""
    words = list(options)
    for short, name in (("o", "output"), ("e", "error")):
        for value in _values(words, short, name):
            directory = value.rpartition("/")[0]
            if directory and "%" not in directory:
                yield directory


def clusters(options: Iterable[str]) -> Iterator[str]:
    """Yield the names of the clusters that options let the job go to."""
    for value in _values(list(options), "M", "clusters"):
        yield from filter(None, value.split(","))


def chdir(options: Iterable[str]) -> str:
    """Return the directory that options let the job run in, or nothing."""
    return next(_values(list(options), "D", "chdir"), "")


def has_wrap(options: Iterable[str]) -> bool:
    """Return whether options hold the job's commands, so that there is no script."""
    return any(word.partition("=")[0] == "--wrap" for word in options)


def script_paths(
    options: Iterable[str], name: str, cwd: str, search_path: str = ""
) -> Iterator[str]:
    """Yield the paths at which sbatch looks for a script, in its order.

    Seen with Slurm 22.05: a name that begins with a dot or slash is that of a
    file. Any other is looked for in the directory that ``--chdir`` gives, or
    else the current one, and then along PATH.
    """
    if name.startswith(("/", ".")):
        yield os.path.join(cwd, name)  # noqa: PTH118 - "./" is to stay
        return
    directory = os.path.join(cwd, chdir(options))  # noqa: PTH118
    for entry in (directory, *filter(None, search_path.split(os.pathsep))):
        yield os.path.join(cwd, entry, name)  # noqa: PTH118
