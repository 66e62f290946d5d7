"""What jobs cost together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datalad_slurm.jobs.efficiency import share
from datalad_slurm.jobs.job_summary import Summary

__all__ = ["Totals", "totals"]


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
