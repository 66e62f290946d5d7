"""Which jobs of a history are run again."""

from __future__ import annotations

import glob
import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datalad_slurm.jobs.braces import literal
from datalad_slurm.jobs.claims import ancestors, collide, is_below, is_glob
from datalad_slurm.jobs.errors import OutputConflictError, RecordError
from datalad_slurm.jobs.record import RunRecord
from datalad_slurm.jobs.task_outputs import literally

__all__ = [
    "Replay",
    "find_readers",
    "find_superseded",
    "first_submission",
    "logs_of_fixed_name",
    "typed_outputs",
]


@dataclass(frozen=True)
class Replay:
    """A recorded job that may be run again.

    `outputs` are claims, and `inputs` have their form.
    """

    commit: str
    cmd: str
    pwd: str
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()


class _Writers:
    """Who writes a path: found at a cost of its depth, as long as there are no globs."""

    def __init__(self) -> None:
        self._at: dict[str, Replay] = {}
        self._below: dict[str, Replay] = {}
        self._globs: dict[str, Replay] = {}

    def add(self, job: Replay) -> None:
        for output in job.outputs:
            if is_glob(output):
                self._globs[output] = job
                continue
            self._at[output] = job
            self._below.update(dict.fromkeys(ancestors(output), job))

    def find(self, claim: str) -> Replay | None:
        """Return a job that writes what is claimed, what is above it, or something below it."""
        if is_glob(claim):
            every = (*self._at.items(), *self._globs.items())
            return next((job for output, job in every if collide(output, claim)), None)
        above = (self._at[top] for top in ancestors(claim) if top in self._at)
        found = next(above, None) or self._below.get(claim)
        globs = (job for output, job in self._globs.items() if collide(output, claim))
        return found or next(globs, None)


def find_superseded(jobs: Sequence[Replay]) -> dict[str, str]:
    """Return the commits whose jobs later ones stand for, each with that later commit.

    A later job stands for an earlier one if it is on record as its repetition,
    or if it is the same command in the same directory and writes all that the
    earlier one wrote. The jobs would run at the same time, so an output that
    two others share is refused.

    Parameters
    ----------
    jobs : sequence of Replay
        In the order of history.

    Raises
    ------
    OutputConflictError
        When two jobs write the same output, and neither stands for the other.
    """
    superseded: dict[str, str] = {}
    repeated: dict[str, str] = {}
    writers = _Writers()
    for job in reversed(jobs):
        later = repeated.get(job.commit) or _find_same(writers, job)
        # what an attempt repeats is repeated by whatever repeats the attempt
        repeated.update(dict.fromkeys(job.chain, later or job.commit))
        if later is None:
            writers.add(job)
        else:
            superseded[job.commit] = later
    return superseded


def _find_same(writers: _Writers, job: Replay) -> str | None:
    """Return the later commit whose job is the same; refuse one that only shares outputs."""
    for output in job.outputs:
        other = writers.find(output)
        if other is None:
            continue
        is_same = (other.cmd, other.pwd) == (job.cmd, job.pwd)
        if is_same and all(any(is_below(o, top) for top in other.outputs) for o in job.outputs):
            return other.commit
        raise OutputConflictError(_conflict(job.commit[:10], other.commit[:10], output))
    return None


def _conflict(earlier: str, later: str, output: str) -> str:
    return (
        f"the jobs of commits {earlier} and {later} both write '{output or '.'}' and cannot run "
        "at the same time; nothing was submitted: take the history in two parts, the first up to "
        f"{earlier}, and when that is finished, or if it is not needed, the second with "
        f"--since {earlier}"
    )


def find_readers(jobs: Iterable[Replay]) -> list[tuple[str, str, str]]:
    """Return where a job reads what an earlier one writes: the two commits, and the input."""
    found = []
    writers = _Writers()
    for job in jobs:
        for path in job.inputs:
            writer = writers.find(path)
            if writer is not None:
                found.append((job.commit, writer.commit, path))
        writers.add(job)
    return found


def logs_of_fixed_name(record: RunRecord) -> tuple[str, ...]:
    """Return the logs that the new job will write again: those not named after the old one."""
    others = record.slurm.get("jobs")
    ids = {str(record.slurm_job_id), *map(str, others if isinstance(others, list) else ())}
    return tuple(
        path
        for path in record.slurm_outputs
        if path in record.outputs
        and ids.isdisjoint(re.findall(r"\d+", path))
        and not path.endswith(".env.json")
    )


def first_submission(record: RunRecord) -> tuple[object, object]:
    """Return id and submit time of the first attempt at what a commit holds.

    Parts of an array may be committed after others of its tasks, or they, were run again.
    """
    attempts = record.slurm.get("attempts")
    first = attempts[0] if isinstance(attempts, list) and attempts else None
    if isinstance(first, dict):
        return first.get("slurm_job_id"), first.get("submit")
    return record.slurm_job_id, record.slurm.get("submit")


def typed_outputs(record: RunRecord) -> tuple[str, ...]:
    """Return the declared outputs as they are typed in the record's directory."""
    for key, read in (("output_patterns", str), ("declared_outputs", literally)):
        declared = record.slurm.get(key)
        if (
            isinstance(declared, list)
            and declared
            and all(isinstance(path, str) for path in declared)
        ):
            return tuple(literal(read(path)) for path in declared)
    outputs = [posixpath.relpath(path, record.pwd) for path in record.declared_outputs]
    if not outputs:
        raise RecordError("the record names no outputs besides log files")
    return tuple(literal(literally(glob.escape(path))) for path in outputs)
