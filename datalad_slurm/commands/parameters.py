"""Parameters that several commands have, and what is made of their values."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from datalad_next.commands import Parameter

__all__ = [
    "alt_dir_parameter",
    "assume_ready_parameter",
    "jobs_parameter",
    "joined",
    "log_lines_parameter",
    "message_parameter",
    "show_log_parameter",
    "table_parameter",
    "working_directory",
]

message_parameter = Parameter(
    args=("-m", "--message"),
    metavar="MESSAGE",
    doc="""text for the message of the job's commit.""",
)
assume_ready_parameter = Parameter(
    args=("--assume-ready",),
    metavar="WHAT",
    doc="""do not prepare 'inputs', 'outputs' or 'both': inputs are not retrieved, outputs
    not unlocked. Saves time where that is known to be unnecessary.""",
)
alt_dir_parameter = Parameter(
    args=("-a", "--alt-dir"),
    metavar="DIR",
    doc="""let the job run below this directory, such as one on a parallel file system,
    instead of in the dataset. Inputs, and a script of the dataset that sbatch is given, are
    copied there to the same paths relative to the dataset's root, unless they are there
    already; the command runs in the directory that corresponds to the working directory.
    What else the job reads, or adds to, must be declared as input. `slurm-finish` brings
    outputs and logs back and removes what was copied. Jobs of one dataset can share DIR.""",
)
jobs_parameter = Parameter(
    args=("-J", "--jobs"),
    metavar="NJOBS",
    doc="""how many downloads of inputs may run at a time. 'auto' is the number that the
    configuration 'datalad.runtime.max-annex-jobs' gives.""",
)
show_log_parameter = Parameter(
    args=("--show-log",),
    action="store_true",
    doc="""of each job that has failed, show the last lines of its log: of that of
    stderr, where it has one. Of tasks of an array that have failed alike, one is
    shown.""",
)
log_lines_parameter = Parameter(
    args=("--log-lines",),
    metavar="NUMBER",
    doc="""how many lines of a log --show-log shows.""",
)
table_parameter = Parameter(
    args=("--table",),
    metavar="FILE",
    doc="""submit one job for each row of a table: CSV, TSV or JSON lines, by its suffix, or
    '-' for standard input. [PY: Can be a list of dictionaries. PY] The names of the columns
    are placeholders in the command, inputs, outputs and the message. A value is inserted as
    it is, and stays one argument: no wildcard, brace or quote in it means anything, to a
    shell neither. All rows are checked, and all outputs claimed, before the first job is
    submitted. Where Slurm takes no more jobs for now, it is waited for. When a submission
    fails, the jobs before it stand, and the same command submits the others: a row whose job
    is open, or has been committed, is not submitted again.""",
)


def joined(cmd: tuple[str, ...]) -> str:
    """Return a command as the text that a shell is given, as `datalad run` does it.

    A single text is a shell command already; several are its words.
    """
    words = cmd[1:] if cmd and cmd[0] == "--" else cmd
    return words[0] if len(words) == 1 and len(cmd) == 1 else shlex.join(words)


def working_directory(dataset: Any) -> Path:
    """Return where a command runs: in a dataset that was named, its root, else here."""
    return Path(dataset.ds.path) if dataset.original is not None else Path.cwd()
