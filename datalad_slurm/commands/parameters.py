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
    "message_parameter",
    "no_auto_dependency_parameter",
    "then_finish_parameter",
    "then_push_parameter",
    "timeout_parameter",
    "wait_parameter",
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

no_auto_dependency_parameter = Parameter(
    args=("--no-auto-dependency",),
    action="store_true",
    doc="""refuse an input that an open job is going to make, instead of letting the new job
    wait for that one.""",
)
wait_parameter = Parameter(
    args=("--wait",),
    action="store_true",
    doc="""wait for the jobs, and finish each when it has ended. One that has failed, or will
    never start, is not waited for. Slurm is asked every second at first, and every ten
    seconds later. It can be interrupted at any time.""",
)
timeout_parameter = Parameter(
    args=("--timeout",),
    metavar="SEC",
    doc="""with --wait, wait no longer than this; jobs that are still open are named.""",
)
then_finish_parameter = Parameter(
    args=("--then-finish",),
    action="store_true",
    doc="""also submit a small job that runs `slurm-finish` for this one when it has ended. It
    is not tracked; its log is in the git directory. The configuration
    'datalad.slurm.finish-job-options' holds its options of sbatch, by default
    "--ntasks=1 --mem=1000 --time=2:00:00".""",
)
then_push_parameter = Parameter(
    args=("--then-push",),
    metavar="SIBLING",
    doc="""have the commit pushed to this sibling as well, by `datalad push`, when the job has
    ended well and was finished. Implies --then-finish.""",
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
