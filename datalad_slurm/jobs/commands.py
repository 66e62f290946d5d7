"""Put further options of sbatch into a command, where they win over all others."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from itertools import chain

from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.sbatch_options import Call, read_call, split_words
from datalad_slurm.jobs.shell_words import ShellWord, split_commands
from datalad_slurm.jobs.tasks import format_index_list

__all__ = ["array_options", "parse_further_options", "with_options"]

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=", re.ASCII)


def with_options(cmd: str, options: Sequence[str]) -> str:
    """Return a command whose sbatch gets further options, which win over those it has.

    Of an option that is given twice the last counts, and options on the command line win
    over the environment and over directives; sbatch reads no options behind the name of the
    script (sbatch(1)). So they go behind the user's own options, before the script.

    Parameters
    ----------
    cmd : str
        What a shell is given; but for the new words it stays as it is.
    options : sequence of str
        Words for sbatch.

    Raises
    ------
    InvalidRequestError
        When the command is more than one plain call of sbatch, or it is not
        certain which of its words are options.
    """
    if not options:
        return cmd
    words = _words(cmd)
    start = next((n for n, word in enumerate(words) if not _ASSIGNMENT.match(cmd, word.start)), 0)
    if not words or words[start].text.rpartition("/")[2] != "sbatch":
        raise _refused(cmd, "it does not begin with sbatch itself")
    rest = [word.text for word in words[start + 1 :]]
    call = read_call(rest)
    if call is None or call.only_tells:
        raise _refused(cmd, "which of its words are options for sbatch is not certain")
    count = len(rest) - (1 + len(call.arguments) if call.script else 0)
    decisive = words[: start + 1 + count + bool(call.script)]
    is_named = not call.script or not cmd.startswith('"$', decisive[-1].start)
    if not is_named or not all(word.is_one for word in decisive):
        raise _refused(cmd, "a shell replaces some of its words by others")
    if call.options[-1:] == ("--",) and rest[count - 1] == "--":
        count -= 1
    changed = read_call([*rest[:count], *options, *rest[count:]])
    if changed is None or _without_options(changed) != _without_options(call):
        raise _refused(cmd, "which of its words are options for sbatch is not certain")
    position = words[start + count].end
    return f"{cmd[:position]} {shlex.join(options)}{cmd[position:]}"


def _without_options(call: Call) -> tuple[object, ...]:
    return call.script, call.arguments, call.wrapped


def _refused(cmd: str, why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"no options can be put into the command {cmd!r}: {why}; submit it anew with the options "
        "where they belong, when the failed job was closed with `datalad slurm-finish "
        "--close-failed-jobs`"
    )


def _words(cmd: str) -> list[ShellWord]:
    parts = split_commands(cmd)
    if parts is None or len(parts) > 1 or any(cmd[word.start] == "#" for word in chain(*parts)):
        raise _refused(cmd, "it is more than one plain call of sbatch")
    return parts[0] if parts else []


def parse_further_options(text: str) -> tuple[str, ...]:
    """Return the words of options that a new attempt is to have.

    Raises
    ------
    InvalidRequestError
        When they are not options of sbatch, or such as would make it another job.
    """
    words = split_words(text)
    call = read_call([*words, "script"]) if words else None
    if call is None or call.script != "script" or call.wrapped is not None or "--" in words:
        raise InvalidRequestError(
            f"--retry-with takes options of sbatch in one text, such as '--mem=8G --time=2:00:00', "
            f"not {text!r}"
        )
    if not call.values.keys().isdisjoint(("--array", "-a")):
        raise InvalidRequestError(
            "--retry-with cannot change which tasks an array has; `--retry 123_7` names those that "
            "are to run again"
        )
    return tuple(words)


def array_options(indices: Sequence[int], throttle: int | None) -> tuple[str, ...]:
    """Return the option with which only some tasks of an array are run.

    Parameters
    ----------
    indices : sequence of int
        The tasks.
    throttle : int, optional
        How many of them may run at a time.
    """
    limit = f"%{throttle}" if throttle else ""
    return (f"--array={format_index_list(list(indices))}{limit}",)
