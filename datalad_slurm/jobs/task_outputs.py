"""Declared outputs that hold sbatch's own patterns, such as ``sub-%a`` or ``log-%A_%a.txt``.

What is typed becomes a *template*: a claim in which a mark stands for each
pattern. Filled in with what is known of a job and of one of its tasks, it is
the claim of that task.
"""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from datalad_slurm.jobs.claims import collide, is_glob
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.logs import NO_INDEX, PATTERN, padded
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.tasks import TaskId

__all__ = [
    "Piece",
    "claim_of_any",
    "claimed_ever",
    "claims_expected",
    "claims_of",
    "comparable",
    "has_patterns",
    "is_of_task",
    "is_template",
    "literally",
    "marked",
    "names_own_id",
    "names_task",
    "pieces_of",
    "places_expected",
    "shown",
    "task_of",
    "typed",
    "with_claims",
]

#: Begins a mark: no character of a name that anybody would type.
_MARK = "\ue000"
_MARKED = re.compile(rf"\[{_MARK}(\d*)([Aajx])\]")
#: sbatch's patterns of which it is known beforehand, or right after submission, what they stand for
_KNOWN = "Aajx"
#: What a number that is not known yet, and any name, may be.
_ANY_NUMBER, _ANY_NAME = "[0-9]*", "*"
#: A wildcard, a mark, or a character.
_PIECE = re.compile(r"\[!?\]?[^]]*\]|.", re.DOTALL)


class Piece(NamedTuple):
    """A part of a template: a text, which is a claim's, or one of sbatch's patterns."""

    text: str = ""
    #: of the pattern; empty for a text
    letter: str = ""
    width: str = ""


def names_task(output: str) -> bool:
    """Return whether what was typed as an output is another one for each task of an array."""
    return any(match[2] == "a" for match in PATTERN.finditer(output))


def has_patterns(output: str) -> bool:
    """Return whether an output, as typed, is not to be taken literally."""
    return any(match[2] in f"%{_KNOWN}" for match in PATTERN.finditer(output))


def names_own_id(output: str) -> bool:
    """Return whether an output holds the job's own id, which in an array each task has."""
    return any(match[2] == "j" for match in PATTERN.finditer(output))


def literally(output: str) -> str:
    """Return how an output is typed whose percent signs stand for themselves."""
    return output.replace("%", "%%")


def marked(output: str) -> str:
    """Return an output as typed with marks in the place of its patterns.

    To a glob, a mark is a wildcard.

    Raises
    ------
    InvalidRequestError
        When it holds a pattern of sbatch(1) whose value nobody knows beforehand, or stands
        for outputs of several tasks.
    """

    def mark(match: re.Match[str]) -> str:
        width, letter = match.groups()
        if letter == "%":
            return "%"
        if letter not in _KNOWN:
            raise InvalidRequestError(
                f"output '{output}' has sbatch's pattern '{match[0]}', of which it is not known "
                "what it will stand for; outputs can have %a, %A, %j and %x, and a percent sign "
                "that stands for itself is typed %%"
            )
        return f"[{_MARK}{width}{letter}]"

    template = PATTERN.sub(mark, output)
    if _mixes_tasks(template):
        raise InvalidRequestError(
            f"output '{output}' does not tell tasks from one another: with 1 for %a it may match "
            "what task 11 writes; put something that is no digit between %a and the '*', as in "
            "'%a_*' or '%a[!0-9]*'"
        )
    return template


def _mixes_tasks(template: str) -> bool:
    """Return whether a template stands, for one task, for outputs of others: ``sub-%a*``."""
    marks = []
    for name in template.split("/"):
        pieces = _PIECE.findall(name)
        places = (place for place, piece in enumerate(pieces) if is_of_task(piece))
        marks += [(pieces[place + 1 :], pieces[:place][::-1]) for place in places]
    return bool(marks) and all(_runs_on(after) or _runs_on(before) for after, before in marks)


def _runs_on(pieces: Iterable[str]) -> bool:
    """Return whether any number of digits may stand beside a number."""
    for piece in pieces:
        if not collide(piece, "[0-9]"):
            return False
        if piece == "*":
            return True
    return False


def is_template(claim: str) -> bool:
    """Return whether there is something in it that is to be filled in."""
    return _MARKED.search(claim) is not None


def is_of_task(template: str) -> bool:
    """Return whether a template is another claim for each task of an array."""
    return any(match[2] == "a" for match in _MARKED.finditer(template))


def pieces_of(template: str) -> list[Piece]:
    """Return texts and patterns of a template in their order."""
    pieces, end = [], 0
    for match in _MARKED.finditer(template):
        pieces += [Piece(template[end : match.start()]), Piece("", match[2], match[1])]
        end = match.end()
    return [*pieces, Piece(template[end:])]


def typed(claim: str) -> str:
    """Return how a template, or a claim, is typed at the root."""
    return _MARKED.sub(lambda match: f"%{match[1]}{match[2]}", literally(claim))


def shown(job: TrackedJob) -> tuple[str, ...]:
    """Return the outputs of a job, relative to the root, patterns not filled in."""
    return tuple(map(typed, job.templates)) or job.outputs


def _filled(template: str, values: dict[str, str | None]) -> str:
    """Return a template as a claim; a value that is None may be anything."""

    def fill(match: re.Match[str]) -> str:
        width, letter = match.groups()
        value = values[letter]
        if value is None:
            return _ANY_NAME if letter == "x" else _ANY_NUMBER
        return glob.escape(value if letter == "x" else padded(value, width))

    claim = _MARKED.sub(fill, template)
    # only of a glob a slash at the end means something
    return claim if is_glob(claim) else claim.rstrip("/")


def claims_of(templates: Sequence[str], slurm_jobs: Iterable[SlurmJob]) -> tuple[str, ...]:
    """Return what the tasks of jobs that Slurm has taken claim.

    ``%j`` of an array is the own id of each task, which may be any number.

    Parameters
    ----------
    templates : sequence of str
        All outputs of the command.
    slurm_jobs : iterable of SlurmJob
        Its jobs, with those tasks that count.
    """
    claims: dict[str, None] = {}
    for job in slurm_jobs:
        tasks = job.tasks or ()
        for template in templates:
            wanted = tasks if is_of_task(template) else tasks[:1]
            claims |= dict.fromkeys(_filled(template, _values(job, task)) for task in wanted)
    return tuple(claims)


def _values(job: SlurmJob, task: TaskId) -> dict[str, str | None]:
    is_array = task.index >= 0
    has_plain_name = "/" not in job.name and job.name not in ("", ".", "..")
    return {
        "A": str(job.job_id),
        "a": str(task.index) if is_array else NO_INDEX,
        "j": None if is_array else str(job.job_id),
        "x": job.name if has_plain_name else None,
    }


def claims_expected(
    templates: Sequence[str], indices: Sequence[int] | None, name: str | None, token: str
) -> tuple[str, ...]:
    """Return what a command claims that is not submitted yet.

    Its job will have an id that no other has. So a number stands for it that
    comes from its token, and that is too large for an id: in this way it meets
    whatever claims any number, and no other job's ids.

    Parameters
    ----------
    templates : sequence of str
        All outputs of the command.
    indices : sequence of int, optional
        Those of the array; None where it is not known whether it will be one.
    name : str, optional
        Name of the job, where it is known.
    token : str
        Token of the claim, with a hexadecimal number at its end.
    """
    number = _number_of(token)
    job_id = {"A": number, "j": number, "x": name}
    claims: dict[str, None] = {}
    for template in templates:
        if indices is None or not is_of_task(template):
            claims[_filled(template, job_id | {"a": None})] = None
        else:
            claims |= dict.fromkeys(_filled(template, job_id | {"a": str(i)}) for i in indices)
    return tuple(claims)


def _number_of(token: str) -> str:
    return str(10**12 + int(token.rpartition("-")[2], 16) % 10**12)


def places_expected(job: TrackedJob) -> tuple[str, ...]:
    """Return what a command claims that is not submitted yet, without numbers made up for ids."""
    number = _number_of(job.token)
    known = tuple(claim for claim in job.outputs if number not in claim)
    return known if len(known) == len(job.outputs) else (*known, *claimed_ever(job))


def comparable(job: TrackedJob) -> tuple[str, ...]:
    """Return what a command claims, such that the same command claims the same.

    The number made up for an id comes from the command then, not from the token.
    """
    digest = hashlib.sha256(f"{job.cmd}\0{job.pwd}".encode(errors="surrogateescape")).hexdigest()
    return tuple(claim.replace(_number_of(job.token), _number_of(digest)) for claim in job.outputs)


def claimed_ever(job: TrackedJob) -> tuple[str, ...]:
    """Return claims that cover all outputs of a job, those of tasks that are finished as well."""
    return tuple(map(claim_of_any, job.templates)) or job.outputs


def claim_of_any(template: str) -> str:
    """Return a claim that covers whatever a template may stand for."""
    return _filled(template, dict.fromkeys(_KNOWN))


def with_claims(job: TrackedJob) -> TrackedJob:
    """Return a job with the claims that its tasks have, once these are known."""
    is_known = all(slurm_job.tasks is not None for slurm_job in job.slurm_jobs)
    if not (job.templates and job.slurm_jobs and is_known):
        return job
    return replace(job, outputs=claims_of(job.templates, job.slurm_jobs))


def task_of(job: TrackedJob, claim: str) -> TaskId | None:
    """Return the task of a job whose output a claim is, or None when it is not that of one."""
    own = [template for template in job.templates if is_of_task(template)]
    for slurm_job in job.slurm_jobs:
        for task in slurm_job.tasks or ():
            if task.index >= 0 and claim in claims_of(own, [slurm_job._replace(tasks=(task,))]):
                return task
    return None
