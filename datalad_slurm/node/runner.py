"""Build the batch script that is submitted in place of the user's."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datalad_slurm.jobs.checkpoints import Checkpoint, bash_words
from datalad_slurm.jobs.node_local import NodeLocal, bash_path, bash_patterns
from datalad_slurm.jobs.runner_options import WARNING, RunnerOptions

__all__ = [
    "IN_CONTAINER",
    "NodePlan",
    "Stage",
    "build",
    "cannot_be_wrapped",
    "script_in",
    "submitted_as",
]

#: Neither bash nor the directory for the notes need be there.
IN_CONTAINER = "it runs in a container"
_HERE = Path(__file__).parent
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


class Stage(NamedTuple):
    """What travels to a directory of the node, and back."""

    #: absolute path of the archive of the inputs, on the shared side
    inputs: str
    #: room that the inputs take (KiB)
    needed: int
    #: claims, or templates of them
    outputs: Sequence[str]
    #: whether the outputs may come back compressed by zstd, where the node has it
    may_compress: bool = False


class NodePlan(NamedTuple):
    """What a runner is to do around the work, beyond noting how it ended."""

    options: RunnerOptions
    #: absolute path of the dataset's root, or of what stands for it, without links
    root: str
    #: absolute path of the directory on the shared side for what travels
    store: str
    #: seconds that Slurm gives a job between SIGTERM and SIGKILL
    kill_wait: int
    #: number of the attempt, from 1
    attempt: int = 1
    #: for work in a directory of the node
    stage: Stage | None = None
    #: where the work runs, relative to the root
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


def build(
    script: bytes, endings: Path, words: Sequence[str], plan: NodePlan | None = None
) -> bytes:
    """Return a batch script that runs `script` and notes how it went.

    Parameters
    ----------
    script : bytes
        The user's job script, which `cannot_be_wrapped` has nothing against.
    endings : Path
        Directory for the notes; seen by the login and the compute nodes alike.
    words : sequence of str
        What sbatch was called with, for whoever looks at the job later.
    plan : NodePlan, optional
        What more it is to do.
    """
    values = {
        "head": _head(script).rstrip(b"\n"),
        "command": b"sbatch " + json.dumps(list(words)).encode(),
        "endings": _quoted(os.fspath(endings)),
        "interpreter": b" ".join(_quoted(os.fsdecode(word)) for word in _interpreter(script)),
        "size": str(len(script)).encode(),
        "script": script.removesuffix(b"\n"),
        "end": _delimiter(script),
        "parts": _parts(plan) if plan else b"",
    }

    def fill(blank: re.Match[bytes]) -> bytes:
        name = (blank[1] or blank[2]).decode()
        return b"'%b'" % values[name] if name == "end" and blank[1] else values[name]

    return _BLANK.sub(fill, (_HERE / "runner.bash").read_bytes())


def _parts(plan: NodePlan) -> bytes:
    """Return the functions for what is done around the work."""
    options = plan.options
    parts = [_part("around", {"store": _quoted(plan.store)})]
    if plan.stage and options.node_local:
        parts.append(_stage(plan.stage, plan.pwd, options.node_local))
    if options.checkpoint:
        parts.append(_checkpoint(options.checkpoint, plan.root, plan.attempt))
    limit = {
        "grace": str(options.grace).encode(),
        "kill_wait": str(plan.kill_wait).encode(),
        "limit": str(plan.limit or "").encode(),
        "warning": WARNING.encode(),
    }
    return b"\n".join([*parts, _part("limit", limit)])


def _stage(stage: Stage, pwd: str, node_local: NodeLocal) -> bytes:
    """Return the functions for work in a directory of the node."""
    directory = node_local.directory
    default: tuple[str, tuple[str, ...]] = '"${SLURM_TMPDIR:-}" "${TMPDIR:-}" /tmp', ()
    places, variables = bash_path(directory) if directory else default
    values = {
        "inputs": _quoted(stage.inputs),
        "needed": str(stage.needed).encode(),
        "may_compress": b"yes" if stage.may_compress else b"",
        "pwd": _quoted(pwd),
        "variables": " ".join(variables).encode(),
        "places": os.fsencode(places),
        "patterns": os.fsencode(" ".join(bash_patterns(stage.outputs))),
    }
    return _part("stage", values)


def _checkpoint(checkpoint: Checkpoint, root: str, attempt: int) -> bytes:
    """Return the functions for state files of the work."""
    values = {
        "signal": checkpoint.signal.encode(),
        "states": os.fsencode(" ".join(bash_words(checkpoint.templates))),
        "root": _quoted(root),
        "attempt": str(attempt).encode(),
    }
    return _part("checkpoint", values)


def _part(name: str, values: Mapping[str, bytes]) -> bytes:
    text = (_HERE / f"{name}.bash").read_bytes()
    return _BLANK.sub(lambda blank: values[(blank[1] or blank[2]).decode()], text)


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
