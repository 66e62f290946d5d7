"""Build the batch script that is submitted in place of the user's."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datalad_slurm.jobs.node_local import WARNING, NodeLocal, bash_path, bash_patterns

__all__ = ["IN_CONTAINER", "Stage", "build", "cannot_be_wrapped", "script_in", "submitted_as"]

#: Neither bash nor the directory for the notes need be there.
IN_CONTAINER = "it runs in a container"
_TEMPLATE = Path(__file__).parent / "runner.bash"
_STAGE = Path(__file__).parent / "stage.bash"
#: One pass over the template, so that nothing is filled into what was filled in.
_BLANK = re.compile(rb"'@(\w+)@'|#?@(\w+)@")
_SCRIPT = re.compile(
    rb"\n    head -c (\d+) >\"\$dls_script\" <<'(END_OF_THE_JOB_SCRIPT_*)'\n(.*)\n\2\n}\n",
    re.DOTALL,
)
_COMMAND = re.compile(r"^# sbatch (\[.*\])$", re.MULTILINE)
#: What slurmctld takes, slurm.conf(5) max_script_size, less what the runner adds (bytes).
_LARGEST = 4 * 2**20 - 2**16
_CONTAINER = re.compile(rb"^#SBATCH[ \t](?:.*[ \t])?--container\b", re.MULTILINE)
_HET_JOB = re.compile(rb"^#SBATCH[ \t].*\b(?:hetjob|packjob)\b", re.MULTILINE)


@dataclass(frozen=True)
class Stage:
    """What a runner is to know for work in a directory of the node. Paths are absolute."""

    #: directory on the shared side for what is brought back
    store: str
    #: archive of the inputs, there
    inputs: str
    #: room that the inputs take (KiB)
    needed: int
    #: claims, or templates of them
    outputs: Sequence[str]
    node_local: NodeLocal
    #: seconds that Slurm gives a job between SIGTERM and SIGKILL
    kill_wait: int
    #: where the work runs, relative to the dataset's root
    pwd: str = "."  # noqa: S105 - a directory
    #: seconds, where it is known at submission
    limit: int | None = None


def cannot_be_wrapped(script: bytes) -> str:
    """Return why a job script cannot be part of a runner, or nothing when it can.

    What sbatch will refuse is left to it.
    """
    if not script.startswith(b"#!") or not _interpreter(script):
        return "it does not begin with #! and an interpreter"
    if b"\0" in script or b"\r\n" in script:
        return "it is not a text with line breaks of Unix"
    if len(script) > _LARGEST:
        return "it is too large"
    if _HET_JOB.search(_head(script)):
        return "it is that of a heterogeneous job"
    if _CONTAINER.search(_head(script)):
        return IN_CONTAINER
    return ""


def build(script: bytes, endings: Path, words: Sequence[str], stage: Stage | None = None) -> bytes:
    """Return a batch script that runs `script` and notes how it went.

    Parameters
    ----------
    script : bytes
        The user's job script, which `cannot_be_wrapped` has nothing against.
    endings : Path
        Directory for the notes; seen by the login and the compute nodes alike.
    words : sequence of str
        What sbatch was called with, for whoever looks at the job later.
    stage : Stage, optional
        For work in a directory of the node.
    """
    values = {
        "head": _head(script).rstrip(b"\n"),
        "command": b"sbatch " + json.dumps(list(words)).encode(),
        "endings": _quoted(os.fspath(endings)),
        "interpreter": b" ".join(_quoted(os.fsdecode(word)) for word in _interpreter(script)),
        "size": str(len(script)).encode(),
        "script": script.removesuffix(b"\n"),
        "end": _delimiter(script),
        "stage": _stage(stage) if stage else b"",
    }

    def fill(blank: re.Match[bytes]) -> bytes:
        name = (blank[1] or blank[2]).decode()
        return b"'%b'" % values[name] if name == "end" and blank[1] else values[name]

    return _BLANK.sub(fill, _TEMPLATE.read_bytes())


def _stage(stage: Stage) -> bytes:
    """Return the functions for work in a directory of the node."""
    directory = stage.node_local.directory
    default: tuple[str, tuple[str, ...]] = '"${SLURM_TMPDIR:-}" "${TMPDIR:-}" /tmp', ()
    places, variables = bash_path(directory) if directory else default
    values = {
        "store": _quoted(stage.store),
        "inputs": _quoted(stage.inputs),
        "needed": str(stage.needed).encode(),
        "pwd": _quoted(stage.pwd),
        "grace": str(stage.node_local.grace).encode(),
        "kill_wait": str(stage.kill_wait).encode(),
        "limit": str(stage.limit or "").encode(),
        "variables": " ".join(variables).encode(),
        "places": os.fsencode(places),
        "patterns": os.fsencode(" ".join(bash_patterns(stage.outputs))),
        "warning": WARNING.encode(),
    }
    return _BLANK.sub(lambda blank: values[(blank[1] or blank[2]).decode()], _STAGE.read_bytes())


def script_in(batch_script: bytes) -> bytes:
    """Return the user's script in a runner; any other script as it is."""
    match = _SCRIPT.search(batch_script)
    return (match[3] + b"\n")[: int(match[1])] if match else batch_script


def submitted_as(batch_script: str) -> list[str] | None:
    """Return the words with which sbatch was called for a runner; None for other scripts."""
    match = _COMMAND.search(batch_script)
    if match is None or "\ndls_run " not in batch_script:
        return None
    words = json.loads(match[1])
    return words if all(isinstance(word, str) for word in words) else None


def _head(script: bytes) -> bytes:
    """Return the comments below the first line, up to the first command.

    There sbatch looks for its options, and plugins of slurmctld for theirs.
    """
    lines = script.splitlines(keepends=True)[1:]
    is_command = (bool(line.strip()) and not line.lstrip().startswith(b"#") for line in lines)
    length = next((number for number, found in enumerate(is_command) if found), len(lines))
    return b"".join(lines[:length])


def _interpreter(script: bytes) -> list[bytes]:
    """Return interpreter and argument as the kernel reads them, execve(2): at most one argument."""
    line = script[2:].partition(b"\n")[0].strip(b" \t")
    return re.split(rb"[ \t]+", line, maxsplit=1) if line else []


def _quoted(text: str) -> bytes:
    return os.fsencode(shlex.quote(text))


def _delimiter(script: bytes) -> bytes:
    """Return a line that does not occur in the script."""
    delimiter = b"END_OF_THE_JOB_SCRIPT"
    while delimiter in script:
        delimiter += b"_"
    return delimiter
