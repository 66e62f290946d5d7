"""Submit one job for each row of a table: all claims first, then one sbatch after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from datalad_slurm.jobs.braces import literal
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.notes import needs_runner
from datalad_slurm.jobs.table import Table
from datalad_slurm.tracking.many import claim_all, note_all, refuse_collisions
from datalad_slurm.workflow.alt_dir import checked_alt_dir, place
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.endings import have_endings_noted
from datalad_slurm.workflow.environment import with_environment
from datalad_slurm.workflow.inputs import noted_inputs
from datalad_slurm.workflow.placeholders import Placeholders
from datalad_slurm.workflow.predecessors import made_by_others
from datalad_slurm.workflow.preparing import calls_elsewhere, logs_there, made_writable
from datalad_slurm.workflow.preview import shown
from datalad_slurm.workflow.request import Request, claim_of
from datalad_slurm.workflow.schedule import expanded_inputs, require_sbatch
from datalad_slurm.workflow.submission_notes import notes_directory
from datalad_slurm.workflow.submissions import in_flight, settle_claims
from datalad_slurm.workflow.table_ledger import Entry
from datalad_slurm.workflow.table_relations import refuse_inner_dependencies, waiting_for_others
from datalad_slurm.workflow.table_rows import (
    RowRequest,
    naming_row,
    requests_of,
    submitted_before,
)
from datalad_slurm.workflow.table_submit import Submitter

__all__ = ["dry_run_table", "schedule_table"]


def schedule_table(
    context: Context, table: Table, command: Sequence[str], request: Request, container: str = ""
) -> Iterator[Outcome]:
    """Submit a job for each row that has not been submitted before.

    Parameters as for `requests_of`.

    Raises
    ------
    InvalidRequestError
        When something about a row is wrong; nothing was submitted.
    """
    require_sbatch()
    rows = requests_of(context, table, command, request, container)
    entries = list(_validated(context, rows))
    settle_claims(context)
    before = submitted_before(context, {row.key for row in rows})
    yield from _told_before(rows, before)
    entries = [entry for entry in entries if entry.row.key not in before]
    refuse_inner_dependencies(context, entries)
    entries = [waiting_for_others(context, entry) for entry in entries]
    if entries:
        with in_flight(*(entry.claim.token for entry in entries)):
            labels = [entry.row.label for entry in entries]
            wanted = with_environment(context, [entry.claim for entry in entries])
            labelled = [*zip(labels, wanted, strict=True)]
            claims = claim_all(context.tracker, labelled, check=request.check_outputs)
            pairs = zip(entries, claims, strict=True)
            entries = [replace(entry, claim=claim) for entry, claim in pairs]
            submitter = Submitter(context, table, entries)
            yield from submitter.run(partial(_prepared, context, entries))
    submitted, known = len(entries), len(rows) - len(entries)
    yield Outcome(
        "slurm-schedule",
        "ok" if submitted else "notneeded",
        f"{table.name}: {submitted} submitted" + (f", {known} submitted before" if known else ""),
        type="dataset",
        details={"table": table.name, "submitted": submitted, "submitted_before": known},
    )


def dry_run_table(
    context: Context, table: Table, command: Sequence[str], request: Request, container: str = ""
) -> Iterator[Outcome]:
    """Say for each row what `schedule_table` would submit; parameters as for `requests_of`.

    Raises
    ------
    InvalidRequestError
        When something about a row is wrong.
    OutputConflictError
        When two rows have colliding outputs.
    """
    rows = requests_of(context, table, command, request, container)
    before = submitted_before(context, {row.key for row in rows})
    entries = list(_validated(context, [row for row in rows if row.key not in before]))
    refuse_inner_dependencies(context, entries)
    if request.check_outputs:
        refuse_collisions([(entry.row.label, entry.claim) for entry in entries])
    yield from _told_before(rows, before)
    for entry in entries:
        with naming_row(entry.row.label):
            outcome = shown(context, entry.row.request, entry.claim, entry.placeholders)
        yield _about(entry.row, outcome)


def _told_before(
    rows: Sequence[RowRequest], before: Mapping[str, tuple[str, dict[str, Any]]]
) -> Iterator[Outcome]:
    """Yield an outcome for each row that `submitted_before` knows."""
    for row in rows:
        if row.key in before:
            said, details = before[row.key]
            outcome = Outcome("slurm-schedule", "notneeded", said, type="dataset", details=details)
            yield _about(row, outcome)


def _about(row: RowRequest, outcome: Outcome) -> Outcome:
    said = f"{row.label}: {outcome.message}"
    return outcome._replace(message=said, details={**outcome.details, "line": row.line})


def _validated(context: Context, rows: Sequence[RowRequest]) -> Iterator[Entry]:
    commit = context.repo.head()
    typed = rows[0].request.alt_dir if rows else ""
    alt_dir = checked_alt_dir(context, typed) if typed else ""
    packs = None
    if rows and rows[0].request.pack:
        from datalad_slurm.workflow.pack_checks import PackCheck

        packs = PackCheck(context)
    for row in rows:
        with naming_row(row.label):
            claim, placeholders = claim_of(context, row.request, alt_dir)
            claim = replace(claim, commit_at_submission=commit)
            if needs_runner(claim):
                from datalad_slurm.workflow.runner_plan import refuse_unfit

                refuse_unfit(context, claim, placeholders.preview(claim.cmd))
            if packs is not None:
                packs.refuse_unfit(claim)
            yield Entry(row, claim, placeholders, placeholders.check_command(row.request.cmd))


def _prepared(context: Context, entries: Sequence[Entry]) -> Iterator[Outcome]:
    """Do for all jobs what `schedule` does for one before it is submitted."""
    request = entries[0].row.request
    if request.assume_ready not in ("inputs", "both"):
        yield from _fetched(context, entries)
    if request.expand in ("inputs", "both"):
        expanded = {e.claim.id: expanded_inputs(e.row.request, e.placeholders) for e in entries}
        note_all(context.tracker, extra=expanded)
    if request.assume_ready not in ("outputs", "both"):
        pairs = [(entry.row.request, entry.claim) for entry in entries]
        yield from made_writable(context, pairs)
    reading = [e for e in entries if e.claim.inputs or e.claim.extra_inputs]
    if reading:
        claims = [(e.claim, logs_there(context, e.row.request)) for e in reading]
        noted: dict[int, dict[str, Any]] = {
            entry.claim.id: {"inputs": inputs}
            for entry, inputs in zip(reading, noted_inputs(context, claims), strict=True)
        }
        note_all(context.tracker, identities=noted)
    packed: dict[object, Path] = {}
    for entry in entries:
        claim = entry.claim
        inputs = (*entry.placeholders.inputs, *entry.row.request.extra_inputs)
        notes = notes_directory(context, claim.token)
        if claim.alt_dir:
            calls = calls_elsewhere(context, claim, entry.text)
            with naming_row(entry.row.label):
                yield from place(context, claim, inputs, calls)
        if needs_runner(claim):
            from datalad_slurm.workflow.runner_plan import place_in_runner

            with naming_row(entry.row.label):
                yield from place_in_runner(context, claim, inputs, notes, packed)
        else:
            have_endings_noted(context, claim.token, notes)


def _fetched(context: Context, entries: Sequence[Entry]) -> Iterator[Outcome]:
    """Retrieve the inputs of all jobs at once."""
    request = entries[0].row.request
    made = [made_by_others(context, entry.claim) for entry in entries]
    inputs = dict.fromkeys(
        path
        for entry, others in zip(entries, made, strict=True)
        for path in entry.placeholders.inputs
        if path not in others
    )
    anywhere = set.intersection(*made)
    together = Placeholders(
        context.dataset, request.cwd.resolve(), [literal(path) for path in inputs], (),
        context.temporary_directories,
    )  # fmt: skip
    try:
        yield from together.fetch_inputs(request.extra_inputs, request.jobs, anywhere)
    except InvalidRequestError as exc:
        named = (
            entry.row.label
            for entry in entries
            for path in entry.claim.inputs
            if re.search(rf"[ (/]{re.escape(path)}(?=[ )]|$)", str(exc))
        )
        label = next(named, "")
        raise InvalidRequestError(f"{label}: {exc}" if label else str(exc)) from exc
