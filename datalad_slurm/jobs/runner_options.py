"""What a user wants done around a job's script, and what that asks of a submission."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from datalad_slurm.jobs.notes import CHECKPOINT, GRACE, NODE_LOCAL
from datalad_slurm.jobs.quantities import parse_duration
from datalad_slurm.jobs.sbatch_options import Call, directives, read_call, script_head

if TYPE_CHECKING:
    from datalad_slurm.jobs.checkpoints import Checkpoint
    from datalad_slurm.jobs.node_local import NodeLocal

__all__ = [
    "ONE_JOB",
    "WARNING",
    "RunnerOptions",
    "asked_of_sbatch",
    "further_options",
    "read_limit",
    "why_not",
]

#: Seconds before the time limit at which a job is told to come to an end.
DEFAULT_GRACE = 120
#: The signal with which Slurm tells our runner that the time limit is near. It ends no process
#: that does not expect it, so it may come before the runner does (signal(7)).
WARNING = "URG"
#: Why a command with two jobs is refused.
ONE_JOB = "state files are those of one job: submit each by a --checkpoint of its own"

_LONG = {"-a": "--array", "-D": "--chdir", "-N": "--nodes", "-t": "--time"}
#: Input environment variables of sbatch(1).
_VARIABLES = {
    "--array": "SBATCH_ARRAY_INX",
    "--signal": "SBATCH_SIGNAL",
    "--time": "SBATCH_TIMELIMIT",
}
_ONE_NODE = re.compile(r"0*1(-0*1)?")
_TERM_TO_SHELL = re.compile(r"[RB]*B[RB]*:(?:SIG)?(?:TERM|15)(?:@.*)?", re.IGNORECASE)


class RunnerOptions(NamedTuple):
    """What the runner around a job's script is to do; nothing when it is false."""

    #: seconds before its time limit at which the work is told to end; 0 leaves that to Slurm
    grace: int = 0
    node_local: NodeLocal | None = None
    checkpoint: Checkpoint | None = None

    def __bool__(self) -> bool:
        """Return whether the job needs a runner."""
        return bool(self.grace or self.node_local or self.checkpoint)

    def __str__(self) -> str:
        """Return the options as they are typed, without their values."""
        if self.node_local:
            return "--node-local"
        return "--checkpoint" if self.checkpoint else "--grace"

    @property
    def needs_store(self) -> bool:
        """Whether something travels between the node and the shared side."""
        return bool(self.node_local or self.checkpoint)

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands among the notes of a job."""
        parts = {NODE_LOCAL: self.node_local, CHECKPOINT: self.checkpoint}
        found: dict[str, Any] = {key: part.to_json() for key, part in parts.items() if part}
        return found | {GRACE: self.grace} if self else {}

    def recorded(self) -> dict[str, Any]:
        """Return it as it stands in the record of a job: as it was asked for."""
        checkpoint = self.checkpoint._replace(templates=()) if self.checkpoint else None
        return self._replace(checkpoint=checkpoint).to_json()

    @classmethod
    def read(cls, notes: Mapping[str, Any]) -> RunnerOptions:
        """Return what the notes of a job, or its record, hold; what cannot be used is left out.

        Raises
        ------
        InvalidRequestError
            When something in them cannot be.
        """
        from datalad_slurm.jobs.checkpoints import Checkpoint
        from datalad_slurm.jobs.node_local import NodeLocal

        node_local = notes.get(NODE_LOCAL)
        earlier = node_local.get(GRACE) if isinstance(node_local, dict) else None
        grace = notes.get(GRACE, earlier)  # earlier versions noted it there
        is_number = isinstance(grace, int) and not isinstance(grace, bool) and grace >= 0
        return cls(
            grace if is_number and grace else 0,
            NodeLocal.read(node_local),
            Checkpoint.read(notes.get(CHECKPOINT)),
        )


def asked_of_sbatch(call: Call, script: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the values of options, by their long names, as sbatch will count them.

    The command line counts before the environment, and that before the
    script; a line of the script that is not known for certain is left out.
    """
    values: dict[str, str] = {}
    for line in script_head(script):
        found = read_call(directives(line))
        values |= found.values if found else {}
    asked = {_LONG.get(name, name): value for name, value in values.items()}
    asked |= {
        option: environment[name] for option, name in _VARIABLES.items() if environment.get(name)
    }
    return asked | {_LONG.get(name, name): value for name, value in call.values.items()}


def why_not(options: RunnerOptions, asked: Mapping[str, str]) -> str:
    """Return why a job cannot run as is wanted, or nothing when it can."""
    nodes = asked.get("--nodes") if options.node_local else None
    if nodes is not None and not _ONE_NODE.fullmatch(nodes.strip()):
        return (
            f"--node-local is for jobs on one node, and this one asks for --nodes={nodes}; leave "
            "out --node-local, or ask for one node"
        )
    if options.checkpoint and "--array" in asked and not options.node_local:
        from datalad_slurm.jobs.checkpoints import shared_path

        if shared := shared_path(options.checkpoint):
            return (
                f"all tasks of the array would write the checkpoint '{shared}'; put %a into its "
                "name, which stands for the number of the task"
            )
    if _TERM_TO_SHELL.fullmatch(asked.get("--signal", "")):
        return (
            f"--signal={asked['--signal']} is what {options} does by itself; leave it out, and "
            "say with --grace how long before its time limit the job is told to come to an end"
        )
    return ""


def further_options(options: RunnerOptions, asked: Mapping[str, str]) -> list[str]:
    """Return options that sbatch is to get in addition."""
    further = ["--nodes=1"] if options.node_local and "--nodes" not in asked else []
    if options.grace and "--signal" not in asked:
        further.append(f"--signal=B:{WARNING}@{options.grace}")
    return further


def read_limit(text: str) -> int | None:
    """Return a time limit in seconds as sbatch's ``--time`` takes it; None when there is none.

    That is ``MM``, ``MM:SS``, ``HH:MM:SS``, ``D-HH``, ``D-HH:MM`` or ``D-HH:MM:SS`` (sbatch(1)).
    """
    text = text.strip()
    days, dash, rest = text.rpartition("-")
    parts: Sequence[str] = rest.split(":")
    if dash:
        text = f"{days}-{':'.join([*parts, '00', '00'][:3])}"
    elif len(parts) == 1:
        text = f"{rest}:00"
    seconds = parse_duration(text)
    return int(seconds) if seconds else None
