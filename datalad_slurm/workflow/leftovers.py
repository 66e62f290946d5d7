"""Clear the outputs of a job that is submitted again of what its last attempt has left."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from datalad_slurm.dataset.leftovers import find_leftovers, move_aside, restore
from datalad_slurm.jobs.claims import covers
from datalad_slurm.jobs.errors import DatasetError, TransferError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.workflow.alt_notes import MARKER
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.request import DIRECTORIES

__all__ = ["Stale", "cleared"]


@dataclass(frozen=True)
class Stale:
    """Where a failed attempt may have left something."""

    #: those of the job's claims that it will write again
    outputs: tuple[str, ...]
    #: numbers of the attempts that may have written them
    attempts: Collection[int]
    #: files in them that stay, whoever has written them: logs
    logs: Collection[str] = ()
    #: claims of what stays for the next attempt: state files
    states: tuple[str, ...] = ()


def cleared(context: Context, claim: TrackedJob, stale: Stale, notes: Path) -> Iterator[Outcome]:
    """Move away what has changed in outputs since failed attempts were submitted.

    What git knows there is as it was before; else a job that adds to a file would
    add to what is half done. Log files and state files stay. All is moved first, and removed
    when the new attempt has its Slurm job.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        A job that is about to be submitted again.
    stale : Stale
        Where to look.
    notes : Path
        Directory of the submission's notes.

    Raises
    ------
    DatasetError
        When something cannot be read or moved.
    """
    place = context.place_of(claim)
    since = min(claim.extra["beginnings"][str(attempt)] for attempt in stale.attempts)
    own = {*stale.logs, *claim.extra.get(DIRECTORIES, ())}

    def stays(path: str) -> bool:
        return path in own or any(covers(state, path) for state in stale.states)

    found = find_leftovers(context.hierarchy, place, stale.outputs, since, stays)
    if found.files:
        told = f"{len(found.files)} file{'s' if len(found.files) > 1 else ''}"
        yield Outcome(
            "remove",
            "ok",
            f"{told} that the failed attempt left in its outputs, the first is '{found.files[0]}'",
            type="dataset",
            details={"files": len(found.files), "first": found.files[0]},
        )
    aside = notes / "leftovers"
    if claim.alt_dir:
        aside = Path(claim.alt_dir) / MARKER / f"{claim.submission}.leftovers"
    try:
        move_aside(place, found, aside, notes)
    except (OSError, TransferError) as exc:
        raise DatasetError(
            f"what the failed attempt left cannot be moved away ({exc}); mend that, or keep it "
            "with --assume-ready outputs"
        ) from exc
    if not claim.alt_dir:
        restore(context.hierarchy, stale.outputs)
