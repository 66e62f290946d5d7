"""What a job waits for: the text of ``--dependency``, and the tracked jobs behind it.

The text is a list of ``type:id[:id...]``, separated by commas, where all must be
met, or by question marks, where one is enough (sbatch(1)). An id may be that of
an array's task, ``12_4``, or have a time behind it, ``12+10``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from datalad_slurm.jobs.errors import InvalidRequestError

__all__ = [
    "DEPENDS_ON",
    "Relation",
    "dependency_ids",
    "inherited_claims",
    "joined",
    "read_relations",
    "replaced",
    "with_relation",
]

#: Key of a job's relations, in its extra notes and in its record.
DEPENDS_ON = "depends_on"
_ANY = "?"
_NUMBER = re.compile(r"\d{1,18}(?!\d)", re.ASCII)


class Relation(NamedTuple):
    """A tracked job for which another one waits, or has waited."""

    #: the id by which the job is known, that of its record
    job_id: int
    cluster: str = ""
    #: inputs, as typed, of which it makes all or a part; none when its id was only typed
    inputs: tuple[str, ...] = ()
    #: what it claims, where it makes inputs that were not there yet
    outputs: tuple[str, ...] = ()
    #: that of the tracked job
    token: str = ""
    #: the ids that Slurm was given to wait for
    ids: tuple[int, ...] = ()
    #: the ids that stand for it in the command
    typed: tuple[int, ...] = ()
    #: the commit that the job has become
    commit: str = ""

    @property
    def known_ids(self) -> frozenset[int]:
        """All ids under which the job may be on record."""
        return frozenset((self.job_id, *self.ids))

    def to_json(self) -> dict[str, Any]:
        """Return the relation as a record has it."""
        content: dict[str, Any] = {
            "cluster": self.cluster,
            "slurm_job_id": self.job_id,
            "reason": "input" if self.inputs else "typed",
            "inputs": list(self.inputs),
            "typed": list(self.typed),
            "commit": self.commit,
        }
        return {key: value for key, value in content.items() if value not in ("", [])}

    def to_note(self) -> dict[str, Any]:
        """Return the relation as the extra notes of an open job have it."""
        more = {"outputs": list(self.outputs), "token": self.token, "ids": list(self.ids)}
        return self.to_json() | more


def read_relations(content: object) -> tuple[Relation, ...]:
    """Return what is well-formed of relations in a job's notes, or in a record."""
    entries = content if isinstance(content, list) else []
    return tuple(
        Relation(
            job_id=entry["slurm_job_id"],
            cluster=_text(entry.get("cluster")),
            inputs=_texts(entry.get("inputs")),
            outputs=_texts(entry.get("outputs")),
            token=_text(entry.get("token")),
            ids=_numbers(entry.get("ids")),
            typed=_numbers(entry.get("typed")),
            commit=_text(entry.get("commit")),
        )
        for entry in entries
        if isinstance(entry, dict) and _numbers([entry.get("slurm_job_id")])
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def _numbers(value: object) -> tuple[int, ...]:
    items = value if isinstance(value, list) else []
    return tuple(n for n in items if isinstance(n, int) and not isinstance(n, bool) and n > 0)


def inherited_claims(extra: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what others claim that make inputs of a job, from its extra notes."""
    relations = read_relations(extra.get(DEPENDS_ON))
    return tuple(output for relation in relations for output in relation.outputs)


def with_relation(relations: Sequence[Relation], new: Relation) -> tuple[Relation, ...]:
    """Return relations with one more, each job once."""
    same = [each for each in relations if each.token and each.token == new.token]
    if not same:
        return (*relations, new)
    known = same[0]
    both = known._replace(typed=tuple(dict.fromkeys((*known.typed, *new.typed))))
    return tuple(both if each is known else each for each in relations)


def dependency_ids(text: str) -> list[int]:
    """Return the ids of jobs in a dependency, in its order."""
    return list(
        dict.fromkeys(
            int(match[0])
            for part in re.split(r"[,?]", text)
            for word in _ids_of(part)
            if (match := _NUMBER.match(word))
        )
    )


def _ids_of(part: str) -> list[str]:
    kind, colon, rest = part.strip().partition(":")
    # a number alone is an id, too, and stands for afterany
    return rest.split(":") if colon else [kind]


def replaced(text: str, stand_ins: Mapping[int, Collection[int]]) -> str:
    """Return a dependency in which other jobs stand for some; none drops the id.

    May leave nothing, which sbatch takes for no dependency.
    """
    parts = []
    for part in re.split(r"([,?])", text):
        kind, colon, _ = part.strip().partition(":")
        words = [new for word in _ids_of(part) for new in _stand_ins(word, stand_ins)]
        if part in (",", _ANY) or not dependency_ids(part):
            parts.append(part)
        elif words:
            parts.append(":".join([kind, *words] if colon else words))
        else:
            parts.append("")
    separator = _ANY if _ANY in text else ","
    return separator.join(part for part in parts if part not in ("", ",", _ANY))


def _stand_ins(word: str, stand_ins: Mapping[int, Collection[int]]) -> list[str]:
    match = _NUMBER.match(word)
    if match is None or int(match[0]) not in stand_ins:
        return [word]
    return [f"{new}{word[match.end() :]}" for new in stand_ins[int(match[0])]]


def joined(typed: str, ids: Iterable[int]) -> str:
    """Return a dependency that waits for the success of jobs, too.

    Raises
    ------
    InvalidRequestError
        When the one that was typed is met by any of its parts: Slurm cannot be
        told that others must be met in any case.
    """
    parts = [] if _ANY in typed else typed.split(",")
    known = {id for part in parts if part.startswith("afterok:") for id in part.split(":")[1:]}
    lacking = [str(job_id) for job_id in ids if str(job_id) not in known]
    if not lacking:
        return typed
    if _ANY in typed:
        raise InvalidRequestError(
            f"the dependency '{typed}' is met by any of its parts, so it cannot be joined with "
            f"that on job {', '.join(lacking)}, whose output is an input; separate its parts "
            "with commas, or finish that job first"
        )
    own = f"afterok:{':'.join(lacking)}"
    return f"{typed},{own}" if typed else own
