"""Read what runners have brought back from the directories of their nodes.

In a store, a directory on the shared side, each run of a task has files that
begin with the task and the number of its restart: ``12_3.0.begun`` once its
runner is at work, ``.tar.part`` while it packs, ``.tar`` with ``.brought``, the
note that makes it count, and ``.taken`` once it is in the dataset.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datalad_slurm.jobs.tasks import TaskId

__all__ = ["Delivery", "TaskRuns", "drop", "is_over", "mark_over", "mark_taken", "read_runs"]

_NAME = re.compile(
    r"(?P<run>(?P<job>\d+)(?:_(?P<index>\d+))?\.(?P<restart>\d+))"
    r"\.(?P<kind>begun|tar\.part|tar|brought|taken)",
    re.ASCII,
)
_OVER = "over"


@dataclass(frozen=True)
class Delivery:
    """What one run has brought back, whole."""

    archive: Path
    sha256: str
    #: why the run was told to end: ``limit``, ``signal``, or nothing
    cut: str
    node: str
    #: where the dataset's root was on the node
    root: str
    #: name of the archive with the inputs
    inputs: str
    #: whether it has all that was at the outputs
    is_whole: bool
    #: whether zstd has compressed it, which the notes of earlier versions do not say
    is_compressed: bool


@dataclass
class TaskRuns:
    """What there is of the runs of one task, by the number of the restart."""

    deliveries: dict[int, Delivery] = field(default_factory=dict)
    begun: set[int] = field(default_factory=set)
    #: runs that were killed, or are at work, while they pack
    half: set[int] = field(default_factory=set)
    taken: set[int] = field(default_factory=set)

    @property
    def latest(self) -> int:
        """The latest restart of which there is something."""
        return max({*self.deliveries, *self.begun, *self.half}, default=0)

    @property
    def delivery(self) -> Delivery | None:
        """What the latest run has brought back."""
        return self.deliveries.get(self.latest)


def read_runs(store: Path) -> dict[TaskId, TaskRuns]:
    """Return what there is of the runs of each task; nothing where there is no store."""
    found: dict[TaskId, TaskRuns] = {}
    try:
        names = sorted(path.name for path in store.iterdir())
    except OSError:
        return found
    for match in filter(None, map(_NAME.fullmatch, names)):
        runs = found.setdefault(TaskId(int(match["job"]), int(match["index"] or -1)), TaskRuns())
        restart = int(match["restart"])
        if match["kind"] == "brought":
            delivery = _read(store, match["run"])
            if delivery is not None:
                runs.deliveries[restart] = delivery
        elif match["kind"] != "tar":
            kinds = {"begun": runs.begun, "tar.part": runs.half, "taken": runs.taken}
            kinds[match["kind"]].add(restart)
    return found


def _read(store: Path, run: str) -> Delivery | None:
    try:
        lines = (store / f"{run}.brought").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    values: Mapping[str, str] = dict(line.split("=", 1) for line in lines if "=" in line)
    return Delivery(
        store / f"{run}.tar",
        sha256=values.get("sha256", ""),
        cut=values.get("cut", ""),
        node=values.get("node", ""),
        root=values.get("root", ""),
        inputs=values.get("inputs", ""),
        is_whole=values.get("whole") == "yes",
        is_compressed=values.get("packed") == "zstd",
    )


def mark_taken(delivery: Delivery) -> None:
    """Note that what was brought back is in the dataset, or not needed any more."""
    delivery.archive.with_suffix(".taken").touch()


def mark_over(store: Path) -> None:
    """Note that nothing in a store is needed once its job is tracked no more."""
    if store.is_dir():
        (store / _OVER).touch()


def is_over(store: Path) -> bool:
    """Return whether nothing in a store is needed once its job is tracked no more.

    Else its job may have been lost with the database, and be tracked again.
    """
    runs = read_runs(store).values()
    is_taken = all(runs.deliveries.keys() <= runs.taken for runs in runs)
    return (store / _OVER).exists() or (is_taken and any(runs.taken for runs in runs))


def drop(delivery: Delivery) -> None:
    """Remove what was brought back; that it was stays noted."""
    delivery.archive.unlink(missing_ok=True)
