"""Jobs that run in a directory of their node."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from datalad_slurm.jobs.claims import is_glob
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.globs import parse_glob

__all__ = ["NodeLocal", "bash_path", "bash_patterns"]

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)


@dataclass(frozen=True)
class NodeLocal:
    """How a job is to run in a directory of its node."""

    #: where that is made; empty for where the node has its own temporary directories
    directory: str = ""

    def __post_init__(self) -> None:
        """Raise InvalidRequestError for a directory that cannot be one on a node."""
        if self.directory:
            bash_path(self.directory)

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in notes and records."""
        return {"directory": self.directory}

    @classmethod
    def read(cls, value: object) -> NodeLocal | None:
        """Return what notes or a record hold; None where they hold nothing that can be used.

        Raises
        ------
        InvalidRequestError
            When the directory cannot be one on a node.
        """
        directory = value.get("directory", "") if isinstance(value, dict) else None
        return cls(directory) if isinstance(directory, str) else None


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
