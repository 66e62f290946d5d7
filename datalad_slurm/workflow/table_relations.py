"""What the jobs of a table wait for: open jobs, but not each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from datalad_slurm.jobs.claims import collide
from datalad_slurm.jobs.conflicts import ClaimIndex
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.workflow.context import Context
from datalad_slurm.workflow.predecessors import with_predecessors
from datalad_slurm.workflow.relations import claimed_inputs
from datalad_slurm.workflow.table_ledger import Entry
from datalad_slurm.workflow.table_rows import naming_row

__all__ = ["refuse_inner_dependencies", "waiting_for_others"]


def waiting_for_others(context: Context, entry: Entry) -> Entry:
    """Return a row with the open jobs that make its inputs.

    Raises
    ------
    InvalidRequestError
        As `with_predecessors` does; names the line.
    """
    if not (entry.claim.inputs or entry.claim.extra_inputs):
        return entry
    with naming_row(entry.row.label):
        is_wanted = entry.row.request.auto_dependency
        return replace(entry, claim=with_predecessors(context, entry.claim, is_wanted=is_wanted))


def refuse_inner_dependencies(context: Context, entries: Sequence[Entry]) -> None:
    """Make sure that no row reads what another one writes: their ids are not known beforehand.

    An input that holds a row's own outputs, too, such as a directory with those of
    all rows, is not meant to be what the others write.

    Raises
    ------
    InvalidRequestError
        When one does; names both lines.
    """
    made = ClaimIndex(
        (path, number) for number, entry in enumerate(entries) for path in entry.claim.outputs
    )
    for entry in entries:
        for typed, path in claimed_inputs(context, entry.claim).items():
            hit = made.find(path)
            if hit is None or any(collide(path, output) for output in entry.claim.outputs):
                continue
            raise InvalidRequestError(
                f"{entry.row.label}: input '{typed}' is an output of "
                f"{entries[hit[1]].row.label}, and rows of one table cannot wait for each other; "
                "put it into a table of its own, to be submitted after this one"
            )
