"""What an archive keeps of a submitted job, and under which name.

slurmctld keeps what a batch job was submitted with in its StateSaveLocation, in
``hash.N/job.ID``, of which N is the last digit of the id: a file `script`, which
ends with a NUL byte, and a file `environment`, which begins with the number of
its strings, 32 bits in the machine's order; each string ends with a NUL byte.
Seen on Slurm 22.05. Both are made under their final names and then written,
`environment` first. An array has one such directory for all its tasks, each
component of a heterogeneous job has its own. Nothing is written again when a job
is requeued.
"""

from __future__ import annotations

import re
import shlex
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

__all__ = [
    "ENVIRONMENT_SUFFIX",
    "SCRIPT_SUFFIX",
    "Submitted",
    "archived_directory",
    "archived_name",
    "is_archived_path",
    "parse_environment",
    "parse_script",
    "render_environment",
    "safe_user",
]

SCRIPT_SUFFIX = ".sh"
ENVIRONMENT_SUFFIX = ".env"
_COUNT = struct.Struct("=I")
#: a name that every shell takes for a variable
_VARIABLE = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
#: bytes of a job's name in a file name; NAME_MAX is 255
_NAME_BYTES = 180
#: what no shell, and no tool that splits lines, takes for more than a part of a name
_PLAIN_MARKS = "._+=@,-"
#: the name of a job whose script sbatch has read from standard input (sbatch(1), --job-name)
_NAMELESS = "sbatch"
_ARCHIVED = re.compile(r"[^/]+/\d{4}/\d\d/\d+-[^/]*\.(?:sh|env)", re.ASCII)


@dataclass(frozen=True)
class Submitted:
    """A job as it was submitted."""

    job_id: int
    #: when, in seconds since the epoch
    at: float
    #: without the NUL byte that slurmctld adds
    script: bytes
    #: ``NAME=VALUE`` each
    environment: tuple[bytes, ...]

    @cached_property
    def name(self) -> str:
        """The job's name; bytes that are no UTF-8 are surrogates."""
        return self._value("SLURM_JOB_NAME") or _NAMELESS

    @cached_property
    def claimed_user(self) -> str:
        """Who has submitted it, by the environment, which the user may have changed or left out."""
        return self._value("USER") or self._value("LOGNAME")

    @property
    def size(self) -> int:
        """Bytes in memory, roughly."""
        return len(self.script) + sum(map(len, self.environment))

    def _value(self, variable: str) -> str:
        start = f"{variable}=".encode()
        found = next((each for each in self.environment if each.startswith(start)), start)
        return found[len(start) :].decode(errors="surrogateescape")


def parse_environment(raw: bytes) -> tuple[bytes, ...] | None:
    """Return the strings in slurmctld's file, or None as long as it is not all there."""
    if len(raw) < _COUNT.size:
        return None
    (count,) = _COUNT.unpack_from(raw)
    strings = raw[_COUNT.size :].split(b"\0")
    # the last one ends with a NUL as well, so that nothing is left behind it
    if len(strings) != count + 1 or strings[-1]:
        return None
    return tuple(strings[:-1])


def parse_script(raw: bytes) -> bytes | None:
    """Return the script in slurmctld's file, or None as long as it is not all there.

    sbatch refuses a script with a NUL byte, so there is one at the end only.
    """
    return raw[:-1] if raw.endswith(b"\0") else None


def archived_directory(user: str, submitted: Submitted) -> str:
    """Return where a job's files are kept: user, year and month of its submission, local time."""
    return f"{user}/{time.strftime('%Y/%m', time.localtime(submitted.at))}"


def archived_name(submitted: Submitted, number: int = 1) -> str:
    """Return the name of a job's files without suffix.

    Parameters
    ----------
    submitted : Submitted
        The job.
    number : int
        2 and up for further jobs of the same id, name and month.
    """
    again = f".{number}" if number > 1 else ""
    return f"{submitted.job_id}-{_safe(submitted.name)}{again}"


def safe_user(name: str) -> str:
    """Return a name of a directory for a user; nothing in it leads elsewhere or is hidden."""
    safe = _safe(name)
    return f"_{safe[1:]}" if safe[:1] in (".", "-", "@") else safe


def _safe(text: str) -> str:
    """Return a text with all that may surprise in a file name replaced by ``_``, not too long."""
    safe = "".join(char if char.isalnum() or char in _PLAIN_MARKS else "_" for char in text)
    # surrogates are no letters, so this can be encoded; a letter that is cut through is dropped
    return safe.encode()[:_NAME_BYTES].decode(errors="ignore")


def is_archived_path(path: str) -> bool:
    """Return whether a path, relative to the archive, is that of a job's file."""
    return _ARCHIVED.fullmatch(path) is not None


def render_environment(strings: Sequence[bytes]) -> bytes:
    """Return an environment as lines that bash can source, one a variable, in UTF-8.

    What no shell takes for a variable, such as an exported function
    (``BASH_FUNC_x%%``), is kept in a comment, quoted as the others.
    """
    return b"".join(_lines(strings))


def _lines(strings: Iterable[bytes]) -> Iterator[bytes]:
    for string in strings:
        name, equals, value = string.partition(b"=")
        if equals and _VARIABLE.fullmatch(name):
            yield b"export " + name + b"=" + _quoted(value) + b"\n"
        else:
            yield b"# " + _quoted(string) + b"\n"


def _quoted(value: bytes) -> bytes:
    """Return a value as a single word of bash, on a single line."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and (text or not value):
        return shlex.quote(text).encode()
    # all but printable ASCII; three octal digits, so that a digit may follow (bash(1), QUOTING)
    quoted = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b"\\'" else f"\\{byte:03o}"
        for byte in value
    )
    return f"$'{quoted}'".encode()
