"""Which jobs a report is about, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from datalad_slurm.jobs.claims import is_below
from datalad_slurm.jobs.job_summary import Summary

__all__ = ["SORT_KEYS", "Choice", "chosen"]

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
