"""Which jobs a report is about, in which order, and what they cost together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from datalad_slurm.jobs.claims import is_below
from datalad_slurm.jobs.efficiency import share
from datalad_slurm.jobs.summary import Summary

__all__ = ["SORT_KEYS", "Choice", "Totals", "chosen", "totals"]

_Key = Callable[[Summary], Any]
#: What jobs can be sorted by; None counts as not known.
SORT_KEYS: dict[str, _Key] = {
    "job": lambda job: job.job_id,
    "name": lambda job: job.name,
    "state": lambda job: job.state,
    "attempts": lambda job: job.attempts,
    "submitted": lambda job: job.last.submitted,
    "waited": lambda job: job.waited,
    "ran": lambda job: job.ran,
    "cpu": lambda job: job.cpu_efficiency,
    "memory": lambda job: job.memory_used,
    "outputs": lambda job: len(job.outputs),
}


@dataclass(frozen=True)
class Choice:
    """What is wanted of the jobs of a history."""

    #: states, in any case; empty for all
    states: tuple[str, ...] = ()
    #: patterns of names, as a shell has them
    names: tuple[str, ...] = ()
    #: jobs that have an output at, below or above one of these, relative to the root
    paths: tuple[str, ...] = ()
    #: one of `SORT_KEYS`; empty for the order of history
    sort: str = ""
    reverse: bool = False

    def admits(self, job: Summary) -> bool:
        """Return whether a job is wanted."""
        return (
            (not self.states or job.state.upper() in self.states)
            and (not self.names or any(fnmatchcase(job.name, name) for name in self.names))
            and (not self.paths or any(_touches(job, path) for path in self.paths))
        )


def _touches(job: Summary, path: str) -> bool:
    return any(
        output == "." or is_below(path, output) or is_below(output, path) for output in job.outputs
    )


def chosen(jobs: Iterable[Summary], choice: Choice) -> list[Summary]:
    """Return the jobs that are wanted, in order; what is not known comes last."""
    wanted = [job for job in jobs if choice.admits(job)]
    if not choice.sort:
        return wanted[::-1] if choice.reverse else wanted
    key = SORT_KEYS[choice.sort]
    known = [job for job in wanted if key(job) is not None]
    known.sort(key=key, reverse=choice.reverse)
    return known + [job for job in wanted if key(job) is None]


@dataclass(frozen=True)
class Totals:
    """What jobs cost together. CPU times are in seconds, of those jobs that tell both."""

    jobs: int
    states: Counter[str]
    used: float
    allocated: float
    #: of `allocated`, what went to attempts that did not complete
    in_vain: float
    #: committed jobs whose CPU times are not known in full
    unknown: int

    def to_json(self) -> dict[str, Any]:
        """Return the totals for a result."""
        return {
            "jobs": self.jobs,
            "jobs_by_state": dict(self.states),
            "cpu_seconds": self.used,
            "cpu_seconds_allocated": self.allocated,
            "cpu_seconds_in_vain": self.in_vain,
            "cpu_efficiency": share(self.used, self.allocated),
            "jobs_unknown": self.unknown,
        }


def totals(jobs: Sequence[Summary]) -> Totals:
    """Return what jobs cost together, with all their attempts."""
    used = allocated = in_vain = 0.0
    unknown = 0
    for job in jobs:
        # of an array that was run again in part, its last state knows more than its parts
        runs = (*job.runs[:-1], job.last)
        known = [run for run in runs if run.used is not None and run.allocated is not None]
        unknown += bool(job.commit) and len(known) < len(runs)
        for run in known:
            used += run.used or 0
            allocated += run.allocated or 0
            in_vain += 0 if run.state == "COMPLETED" else run.allocated or 0
    return Totals(len(jobs), Counter(job.state for job in jobs), used, allocated, in_vain, unknown)
