"""Whether a job that was run again has made what the commit that it repeats holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datalad_slurm.jobs.inputs import Identity, is_same

__all__ = ["Verdict", "compare"]

#: Key of what is to be compared, in a job's extra notes.
VERIFY = "verify"


@dataclass(frozen=True)
class Verdict:
    """What became of the outputs of a job; all paths are relative to the dataset's root."""

    #: commit that the job repeats
    commit: str
    #: how many outputs have the content that they have there
    identical: int = 0
    #: outputs with another content: what they were, and what they are now
    different: Mapping[str, tuple[Identity, Identity]] = field(default_factory=dict)
    #: outputs that the commit holds and that the job has not written: what they were
    missing: Mapping[str, Identity] = field(default_factory=dict)
    #: outputs that the commit does not hold
    new: Mapping[str, Identity] = field(default_factory=dict)
    #: why nothing could be compared
    failure: str = ""

    @property
    def is_reproduced(self) -> bool:
        """Whether every output is known to be identical."""
        return not (self.failure or self.different or self.missing or self.new)

    def to_json(self) -> dict[str, Any]:
        """Return what a record holds of it."""
        if self.failure:
            return {"commit": self.commit, "failure": self.failure}
        return {
            "commit": self.commit,
            "identical": self.identical,
            "different": [
                {"path": path, "before": dict(before), "now": dict(now)}
                for path, (before, now) in self.different.items()
            ],
            "missing": [{"path": path, **before} for path, before in self.missing.items()],
            "new": [{"path": path, **now} for path, now in self.new.items()],
        }

    def message(self) -> str:
        """Return the verdict in one line."""
        commit = self.commit[:10]
        if self.failure:
            return f"the outputs cannot be compared with commit {commit}: {self.failure}"
        outputs = "output" if self.identical == 1 else "outputs"
        counts = [f"{self.identical} {outputs} identical to commit {commit}"]
        others = {"different": self.different, "missing": self.missing, "new": self.new}
        counts += [f"{len(paths)} {word}" for word, paths in others.items() if paths]
        return ", ".join(counts)


def compare(commit: str, before: Mapping[str, Identity], now: Mapping[str, Identity]) -> Verdict:
    """Compare the outputs of a job with those that a commit holds, by content.

    Parameters
    ----------
    commit : str
        The commit that the job repeats.
    before : mapping
        Outputs that it holds, by path.
    now : mapping
        Outputs that the job has written, by path.
    """
    if not before and not now:
        return Verdict(commit, failure="it holds no output of the job, and the job wrote none")
    both = sorted(before.keys() & now.keys())
    different = {
        path: (before[path], now[path]) for path in both if not is_same(before[path], now[path])
    }
    return Verdict(
        commit,
        identical=len(both) - len(different),
        different=different,
        missing={path: before[path] for path in sorted(before.keys() - now.keys())},
        new={path: now[path] for path in sorted(now.keys() - before.keys())},
    )
