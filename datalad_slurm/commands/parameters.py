"""Parameters that several commands have, and what is made of their values."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datalad_next.commands import Parameter

if TYPE_CHECKING:
    from datalad_slurm.jobs.runner_options import RunnerOptions

__all__ = [
    "alt_dir_parameter",
    "assume_ready_parameter",
    "check_outputs_parameter",
    "checkpoint_parameter",
    "checkpoint_signal_parameter",
    "container_name_parameter",
    "dry_run_parameter",
    "grace_parameter",
    "job_id_parameter",
    "jobs_parameter",
    "joined",
    "log_lines_parameter",
    "message_parameter",
    "no_auto_dependency_parameter",
    "node_local_dir_parameter",
    "node_local_parameter",
    "pack_only_parameter",
    "pack_parameter",
    "runner_options",
    "show_log_parameter",
    "table_parameter",
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
node_local_parameter = Parameter(
    args=("--node-local",),
    action="store_true",
    doc="""let the job's work run in a directory of its node. The declared inputs are packed
    into one archive, which is unpacked on the node; the script runs there in the same
    directory relative to the dataset's root, and at its end the outputs are packed into one
    archive, which `slurm-finish` unpacks. What else the job reads in the dataset, or adds to,
    must be declared as input. For jobs on one node; each task of an array has a directory of
    its own. Log files are where they would be without it.""",
)
node_local_dir_parameter = Parameter(
    args=("--node-local-dir",),
    metavar="DIR",
    doc="""with --node-local, where on the node that directory is made: absolute, and there
    already. Variables of the job are filled in there, as in '/scratch/$SLURM_JOB_ID'. By
    default it is $SLURM_TMPDIR, $TMPDIR or /tmp, the first in which one can be made.""",
)
grace_parameter = Parameter(
    args=("--grace",),
    metavar="SEC",
    doc="""how many seconds before its time limit the work is sent SIGTERM, so that it can
    write what it has; never in the first half of its time. With --node-local or --checkpoint
    half of them is left to the work, as there must be time to keep what it has written; the
    default is then what the configuration 'datalad.slurm.grace' says, or 120. 0 means no
    sooner than Slurm does it.""",
)
checkpoint_parameter = Parameter(
    args=("--checkpoint",),
    metavar="PATH",
    action="append",
    doc="""state file, or directory, with which the work can go on after it was interrupted. It
    is kept whenever it has changed, and when the work is told to end; another attempt, by
    `slurm-reschedule --retry` or by Slurm, finds it in place. At the time of --grace the work
    is asked for one, with half of that time to write it. It is no output, and goes when the
    job is committed. In arrays %a tells tasks apart. [CMD: Can be given more than once.
    CMD]""",
)
checkpoint_signal_parameter = Parameter(
    args=("--checkpoint-signal",),
    metavar="SIG",
    doc="""with --checkpoint, the signal that asks the work for one: USR1, which is the default,
    USR2, HUP, INT, QUIT or ALRM. It is sent only to programs that handle it.""",
)
pack_parameter = Parameter(
    args=("--pack",),
    metavar="PATH",
    action="append",
    doc="""directory of many small files that the job writes, an output by this. `slurm-finish`
    commits it as one annexed archive, PATH.tar, beside PATH.manifest.json, which tells names,
    sizes, checksums, and where in the archive each file begins. The files are committed as
    well, but are stored in the archive only: `git annex get` takes them out of it. Patterns of
    sbatch are filled in, globs refused. [CMD: Can be given more than once. CMD]""",
)
pack_only_parameter = Parameter(
    args=("--pack-only",),
    action="store_true",
    doc="""with --pack, commit the archives and manifests, and not the files in them.""",
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
check_outputs_parameter = Parameter(
    args=("--check-outputs",),
    metavar="BOOL",
    doc="""whether to refuse an output that another open job claims; by default 'yes'.
    With 'no', which of the jobs has written what is for you to know.""",
)
dry_run_parameter = Parameter(
    args=("--dry-run",),
    metavar="WHAT",
    doc="""submit nothing, and only show what would be: 'basic' the directory, the
    command, the inputs and the outputs, placeholders and globs replaced; 'command' the
    command only. Nothing is retrieved, unlocked or claimed, so globs in a subdataset
    that is not installed stay as they are.""",
)
container_name_parameter = Parameter(
    args=("--container-name",),
    metavar="NAME",
    doc="""container that is registered in the dataset with datalad-container. Its image
    is an input of the job: retrieved first, and recorded. '{img}' in the command is the
    path of the image; what runs it is for the job script to say.""",
)
job_id_parameter = Parameter(
    args=("--job-id",),
    metavar="JOB",
    doc="""track the Slurm job of this id, which was submitted without this command,
    or has been lost with the tracking database. Nothing is submitted: command and
    directory are those that Slurm remembers. A job of another cluster is named
    'ID;CLUSTER', as by "sbatch --parsable".""",
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


def runner_options(
    default_grace: int,
    grace: int | None,
    node_local: str | None,
    checkpoint: Sequence[str] | None,
    checkpoint_signal: str | None,
) -> RunnerOptions:
    """Return what is to be done around the script of a job.

    Parameters
    ----------
    default_grace : int
        Seconds, for jobs of which something is to be kept.
    grace : int, optional
        As asked for.
    node_local : str, optional
        Directory on the node; empty for where it has its own; None for none.
    checkpoint : sequence of str, optional
        State files.
    checkpoint_signal : str, optional
        Name of the signal that asks for one.
    """
    from datalad_slurm.jobs.runner_options import RunnerOptions

    if node_local is None and not checkpoint:
        return RunnerOptions(grace or 0)
    from datalad_slurm.jobs.checkpoints import DEFAULT_SIGNAL, Checkpoint
    from datalad_slurm.jobs.node_local import NodeLocal

    return RunnerOptions(
        default_grace if grace is None else grace,
        None if node_local is None else NodeLocal(node_local),
        Checkpoint(tuple(checkpoint), checkpoint_signal or DEFAULT_SIGNAL) if checkpoint else None,
    )
