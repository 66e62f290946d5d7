"""State files of a job's work, with which another attempt goes on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from datalad_slurm.jobs.claims import is_glob, top_of
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.task_outputs import claim_of_any, claims_of, names_task, pieces_of

__all__ = [
    "DEFAULT_SIGNAL",
    "SIGNALS",
    "Checkpoint",
    "bash_words",
    "shared_path",
    "state_claims",
    "state_paths",
    "with_states",
]

#: The signal that asks the work for a checkpoint.
DEFAULT_SIGNAL = "USR1"
#: Those that can: Slurm sends none of them by itself, and scancel(1) takes their names.
SIGNALS = ("USR1", "USR2", "HUP", "INT", "QUIT", "ALRM")
#: What stands on the node for sbatch's patterns; that for an index has a width, or none.
_VARIABLES = {"a": "SLURM_ARRAY_TASK_ID", "x": "SLURM_JOB_NAME"}
#: A wildcard that stands for itself.
_ESCAPED = re.compile(r"\[([*?[])\]")


class Checkpoint(NamedTuple):
    """Which files are the state of a job's work, and how it is asked to write them."""

    #: as typed, relative to the job's directory
    paths: tuple[str, ...]
    #: name of a signal, without SIG
    signal: str = DEFAULT_SIGNAL
    #: claims, or templates of them, relative to the dataset's root; none before it is claimed
    templates: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in notes and records."""
        known = {"paths": list(self.paths), "signal": self.signal}
        return known | ({"templates": list(self.templates)} if self.templates else {})

    @classmethod
    def read(cls, value: object) -> Checkpoint | None:
        """Return what notes or a record hold; None where they hold nothing that can be used."""
        if not isinstance(value, dict) or value.get("signal") not in SIGNALS:
            return None
        paths, templates = (value.get(name, []) for name in ("paths", "templates"))
        if not all(isinstance(each, list) for each in (paths, templates)):
            return None
        if not all(isinstance(path, str) for path in (*paths, *templates)):
            return None
        return cls(tuple(paths), value["signal"], tuple(templates)) if paths else None


def with_states(checkpoint: Checkpoint, templates: Sequence[str]) -> Checkpoint:
    """Return it with what its paths stand for.

    Parameters
    ----------
    checkpoint : Checkpoint
        As asked for.
    templates : sequence of str
        Its paths as claims, or templates of them.

    Raises
    ------
    InvalidRequestError
        When one stands for files that another attempt would not find again, or for no
        file in particular.
    """
    for path, template in zip(checkpoint.paths, templates, strict=True):
        pieces = pieces_of(template)
        unknown = [piece.letter for piece in pieces if piece.letter not in ("", *_VARIABLES)]
        if unknown:
            raise InvalidRequestError(
                f"the checkpoint '{path}' has sbatch's pattern %{unknown[0]}, which is another id "
                "for each attempt, so the next one would not find it; use %a or %x, or none"
            )
        if any(is_glob(piece.text) for piece in pieces) or not template:
            raise InvalidRequestError(
                f"the checkpoint '{path}' must be a file or directory, and no pattern of several; "
                "name the directory in which they are"
            )
    return checkpoint._replace(templates=tuple(templates))


def bash_words(templates: Iterable[str]) -> list[str]:
    """Return words of bash for state files, relative to the root, filled in on the node."""
    words = []
    for template in templates:
        word = "./"
        for piece in pieces_of(template):
            if not piece.letter:
                word += shlex.quote(_ESCAPED.sub(r"\1", piece.text)) if piece.text else ""
            elif piece.width:
                word += f'"$(printf %0{int(piece.width)}d "${_VARIABLES[piece.letter]}")"'
            else:
                word += f'"${_VARIABLES[piece.letter]}"'
        words.append(word)
    return words


def state_claims(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return claims that cover the state files of all tasks that there may be."""
    return tuple(map(claim_of_any, checkpoint.templates))


def state_paths(checkpoint: Checkpoint, job: TrackedJob) -> list[str]:
    """Return the state files, relative to the root, of those tasks of a job that are open."""
    return [top_of(claim) for claim in claims_of(checkpoint.templates, job.slurm_jobs)]


def shared_path(checkpoint: Checkpoint) -> str:
    """Return a state file that all tasks of an array would write, as typed; empty for none."""
    return next((path for path in checkpoint.paths if not names_task(path)), "")
