"""Call sbatch itself, where a command is nothing but that, and tell why it took no job.

A thousand calls by way of a shell and our own sbatch would take twice as long.
What that one notes for a later command is noted here as well.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import subprocess
from pathlib import Path

from datalad_slurm.slurm.sbatch import Submission, read_notes

__all__ = ["call_plainly", "forget_calls", "is_busy", "limit_in", "plain_words"]

_NOTE = "plain"
#: sbatch's words, 22.05, when somebody has as many jobs as are allowed
_LIMIT = re.compile(r"\b((?:Assoc|QOS)\w*Submit\w*Limit)\b")
#: sbatch's words when the controller has no time, no room, or does not answer
_BUSY = re.compile(
    "socket timed out|temporarily unable|temporarily unavailable|unable to contact slurm|"
    "zero bytes were transmitted|connection refused|communication connection failure",
    re.IGNORECASE,
)


def plain_words(command: str) -> list[str]:
    """Return the words of a command if a shell would call sbatch with just these, or nothing.

    With a comment of the user's it is none: that would replace the token.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    if words[:1] != ["sbatch"] or shlex.join(words) != command:
        return []
    return [] if any(word.startswith("--com") for word in words) else words


def call_plainly(words: list[str], cwd: Path, token: str, notes: Path) -> Submission:
    """Call sbatch, and note what a later command needs to know if this process is killed.

    Parameters
    ----------
    words : list of str
        As `plain_words` returns them.
    cwd, token, notes
        As for `datalad_slurm.slurm.sbatch.submit`.

    Notes
    -----
    sbatch writes what it announces right into the note, also when this process
    is gone. It inherits the lock on ``alive``, which tells that it still runs.
    """
    arguments = words[1:]
    noted = b"".join(os.fsencode(word) + b"\0" for word in (str(cwd), *arguments))
    (notes / f"{_NOTE}.args").write_bytes(noted)
    (notes / f"{_NOTE}.begun").write_bytes(os.fsencode("\n".join(arguments) + "\n"))
    is_interrupted = False
    with (
        (notes / "alive").open("w") as alive,
        (notes / f"{_NOTE}.printed").open("w") as printed,
    ):
        fcntl.flock(alive, fcntl.LOCK_SH)
        child = subprocess.Popen(
            ["sbatch", f"--comment={token}", *arguments],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.PIPE,
            pass_fds=(alive.fileno(),),
        )
        try:
            err = child.communicate()[1]
        except KeyboardInterrupt:
            # sbatch has got it too, but may have submitted just before
            is_interrupted = True
            err = child.communicate()[1]
    read = read_notes(notes)
    said = "; ".join(line.strip() for line in os.fsdecode(err).splitlines() if line.strip())
    return Submission(
        read.jobs,
        child.returncode,
        said,
        read.is_in_doubt,
        is_interrupted=is_interrupted,
        calls=read.calls,
    )


def forget_calls(notes: Path) -> None:
    """Remove the notes of calls of which it is known that they submitted nothing."""
    for name in ("*.begun", "*.args", "*.printed"):
        for note in notes.glob(name):
            note.unlink()


def limit_in(said: str) -> str:
    """Return the name of the limit on submitted jobs that sbatch named, or nothing."""
    found = _LIMIT.search(said)
    return found[1] if found else ""


def is_busy(said: str) -> bool:
    """Return whether sbatch said that slurmctld has no time, no room, or does not answer."""
    return _BUSY.search(said) is not None
