"""Jobs that run in a directory of their node, and what that asks of a submission."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datalad_slurm.jobs.claims import is_glob
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.globs import parse_glob
from datalad_slurm.jobs.quantities import parse_duration
from datalad_slurm.jobs.sbatch_options import Call, directives, read_call, script_head

__all__ = [
    "DEFAULT_GRACE",
    "NODE_LOCAL",
    "WARNING",
    "NodeLocal",
    "asked_of_sbatch",
    "bash_path",
    "bash_patterns",
    "further_options",
    "read_limit",
    "why_not",
]

#: Key in a job's notes, and in its record.
NODE_LOCAL = "node_local"
#: Seconds before the time limit at which a job is told to come to an end.
DEFAULT_GRACE = 120
#: The signal with which Slurm tells our runner that the time limit is near. It ends no process
#: that does not expect it, so it may come before the runner does (signal(7)).
WARNING = "URG"

_LONG = {"-D": "--chdir", "-N": "--nodes", "-t": "--time"}
#: Input environment variables of sbatch(1).
_VARIABLES = {"--signal": "SBATCH_SIGNAL", "--time": "SBATCH_TIMELIMIT"}
_ONE_NODE = re.compile(r"0*1(-0*1)?")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)
_TERM_TO_SHELL = re.compile(r"[RB]*B[RB]*:(?:SIG)?(?:TERM|15)(?:@.*)?", re.IGNORECASE)


@dataclass(frozen=True)
class NodeLocal:
    """How a job is to run in a directory of its node."""

    #: where that is made; empty for where the node has its own temporary directories
    directory: str = ""
    #: seconds; 0 for no warning before the time limit
    grace: int = DEFAULT_GRACE

    def __post_init__(self) -> None:
        """Raise InvalidRequestError for a directory that cannot be one on a node."""
        if self.directory:
            bash_path(self.directory)

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in notes and records."""
        return ({"directory": self.directory} if self.directory else {}) | {"grace": self.grace}

    @classmethod
    def read(cls, value: object) -> NodeLocal | None:
        """Return what notes or a record hold; None where they hold nothing that can be used.

        Raises
        ------
        InvalidRequestError
            When the directory cannot be one on a node.
        """
        if not isinstance(value, dict):
            return None
        directory, grace = value.get("directory", ""), value.get("grace", DEFAULT_GRACE)
        is_number = isinstance(grace, int) and not isinstance(grace, bool) and grace >= 0
        if not isinstance(directory, str) or not is_number:
            return None
        return cls(directory, grace)


def bash_path(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a directory as a word of bash, and the variables in it, for the node to fill in.

    Raises
    ------
    InvalidRequestError
        When it is neither absolute nor begins with a variable.
    """
    if not text.startswith(("/", "$")) or "\0" in text or "\n" in text:
        raise InvalidRequestError(
            f"the directory on the node {text!r} must be absolute, or begin with a variable that "
            "the job has there, such as '$SLURM_TMPDIR'"
        )
    word, names, end = "", [], 0
    for match in _VARIABLE.finditer(text):
        name = match[1] or match[2]
        names.append(name)
        word += _quoted(text[end : match.start()]) + f'"${{{name}}}"'
        end = match.end()
    return word + _quoted(text[end:]), tuple(names)


def _quoted(text: str) -> str:
    return shlex.quote(text) if text else ""


def bash_patterns(claims: Iterable[str]) -> list[str]:
    """Return words of bash that are expanded to all that claims, or templates of them, stand for.

    Whatever stands for several characters, or for a number that only the node
    knows, becomes ``*``: more is matched then, which is left out later. They are
    for a shell with globstar and dotglob.
    """
    return list(dict.fromkeys(map(_bash_pattern, claims)))


def _bash_pattern(claim: str) -> str:
    if not is_glob(claim):
        return shlex.quote(f"./{parse_glob(claim).top}")
    names = []
    for name in claim.rstrip("/").split("/"):
        pattern = parse_glob(name)
        names.append(
            "**"
            if name == "**"
            else shlex.quote(pattern.top)
            if pattern.is_plain
            else _widened(name)
        )
    return "./" + "/".join(names)


def _widened(name: str) -> str:
    """Return a name with wildcards as a word in which these stand for any characters."""
    word = ""
    for part in re.split(r"(\[[*?[]\])|(\[!?\]?[^\]]*\]|[*?]+)", name):
        if not part:
            continue
        if re.fullmatch(r"\[[*?[]\]", part):
            word += shlex.quote(part[1])
        elif part[0] in "*?[":
            word += "" if word.endswith("*") else "*"
        else:
            word += shlex.quote(part)
    return word


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


def why_not(asked: Mapping[str, str]) -> str:
    """Return why a job cannot run in a directory of its node, or nothing when it can."""
    nodes = asked.get("--nodes")
    if nodes is not None and not _ONE_NODE.fullmatch(nodes.strip()):
        return (
            f"--node-local is for jobs on one node, and this one asks for --nodes={nodes}; leave "
            "out --node-local, or ask for one node"
        )
    if _TERM_TO_SHELL.fullmatch(asked.get("--signal", "")):
        return (
            f"--signal={asked['--signal']} is what --node-local does by itself; leave it out, and "
            "say with --grace how long before its time limit the job is told to come to an end"
        )
    return ""


def further_options(asked: Mapping[str, str], grace: int) -> list[str]:
    """Return options that sbatch is to get in addition."""
    options = [] if "--nodes" in asked else ["--nodes=1"]
    if grace and "--signal" not in asked:
        options.append(f"--signal=B:{WARNING}@{grace}")
    return options


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
