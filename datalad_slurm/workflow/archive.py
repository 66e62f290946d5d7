"""Archive what was kept of jobs, scripts and environments, when they are committed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from datalad_slurm.dataset.archive import archive
from datalad_slurm.dataset.stage import Staging
from datalad_slurm.jobs.archive import archived_files
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.tracking.contents import read_contents
from datalad_slurm.workflow.context import Context
from datalad_slurm.workflow.levels import Parcel

__all__ = ["stage_archive", "without_repetition"]


def stage_archive(context: Context, jobs: Iterable[TrackedJob]) -> Staging:
    """Put what was kept of jobs into the working tree and into git, each content once.

    What HEAD has already is left out.
    """
    wanted: dict[str, str] = {}
    for job in jobs:
        wanted |= archived_files(job)
    if not wanted:
        return Staging()
    kept = read_contents(context.tracker.database, dict.fromkeys(wanted.values()))
    return archive(context.repo, {path: kept[digest] for path, digest in wanted.items()})


def without_repetition(parcels: Sequence[Parcel]) -> list[Parcel]:
    """Return parcels that are committed one on the other, each archived file in the first only."""
    seen: set[str] = set()
    lighter = []
    for parcel in parcels:
        own = archived_files(parcel.findings.job).keys()
        again = seen & own
        seen |= own
        if again:
            rest = tuple(each for each in parcel.changes.get("", ()) if each.path not in again)
            changes = {**parcel.changes, "": rest}
            parcel = replace(parcel, changes=changes)  # noqa: PLW2901 - the same, lighter
        lighter.append(parcel)
    return lighter
