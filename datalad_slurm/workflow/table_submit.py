"""Call sbatch for one job after the other, and note what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain, repeat

from datalad.log import log_progress

from datalad_slurm.jobs.errors import (
    DatabaseError,
    DataladSlurmError,
    QueryFailedError,
    SubmissionError,
)
from datalad_slurm.jobs.model import SlurmJob
from datalad_slurm.jobs.notes import needs_runner
from datalad_slurm.jobs.table import Table
from datalad_slurm.jobs.tasks import format_index_list
from datalad_slurm.slurm import sbatch, squeue
from datalad_slurm.slurm.plain import (
    call_plainly,
    forget_calls,
    is_busy,
    limit_in,
    plain_words,
)
from datalad_slurm.workflow.alt_notes import abandon, clean_up
from datalad_slurm.workflow.context import Context, Outcome, lgr
from datalad_slurm.workflow.endings import drop_notes_of_endings
from datalad_slurm.workflow.environment import have_environment_noted
from datalad_slurm.workflow.predecessors import wait_for_predecessors
from datalad_slurm.workflow.relations import note_typed, relations_of
from datalad_slurm.workflow.submission_notes import notes_directory
from datalad_slurm.workflow.submissions import free_claims
from datalad_slurm.workflow.submitted import found_jobs, nothing_submitted, scheduled
from datalad_slurm.workflow.table_ledger import Entry, Ledger
from datalad_slurm.workflow.table_rows import naming_row

__all__ = ["Submitter"]

#: Seconds to wait when Slurm takes no job; the last again and again.
_PAUSES = (2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
#: How long slurmctld may be busy or away for one job (seconds); a limit may last for days.
_PATIENCE = 900.0


class Submitter:
    """Submits the jobs of a table.

    Parameters
    ----------
    context : Context
        The dataset.
    table : Table
        For messages.
    entries : sequence of Entry
        Whose outputs are claimed.
    """

    def __init__(self, context: Context, table: Table, entries: Sequence[Entry]) -> None:
        self._context = context
        self._table = table
        self._entries = entries
        self._ledger = Ledger(context)
        #: tokens of claims that stay, since a job may have been submitted
        self._in_doubt: set[str] = set()

    def run(self, prepare: Callable[[], Iterator[Outcome]]) -> Iterator[Outcome]:
        """Prepare all jobs, submit one after the other, and yield what came of each.

        Parameters
        ----------
        prepare : callable
            Does what comes before the first submission, and yields outcomes.
        """
        ledger = self._ledger
        try:
            yield from prepare()
            with _progress(len(self._entries)):
                for entry in self._entries:
                    is_interrupted = yield from self._submit(entry)
                    _log("", update=1, increment=True)
                    if is_interrupted:
                        raise KeyboardInterrupt
                    if ledger.is_due:
                        yield from self._told(ledger.note())
                yield from self._told(ledger.note(describe=True))
        except DataladSlurmError as exc:
            if not ledger.lines:
                self._leave()
                raise
            try:
                noted = ledger.note(describe=True)
            finally:
                self._leave()
            yield from self._told(noted)
            raise type(exc)(self._half_way(str(exc))) from exc
        except BaseException:
            try:
                with suppress(DatabaseError):  # the next command finds the notes
                    ledger.note(describe=True)
            finally:
                self._leave()
            if ledger.lines:
                lgr.warning("%s", self._half_way("interrupted"))
            raise

    def _half_way(self, reason: str) -> str:
        total = len(self._entries)
        return (
            f"{reason}; of {total} rows, {len(self._ledger.lines)} are submitted (lines "
            f"{format_index_list(sorted(self._ledger.lines))} of {self._table.name}); the same "
            "command submits the others"
        )

    def _told(self, noted: Sequence[tuple[Entry, list[SlurmJob]]]) -> Iterator[Outcome]:
        for entry, jobs in noted:
            ids = ", ".join(str(job.job_id) for job in jobs)
            outcome = scheduled(entry.claim, jobs, f"{entry.row.label}: submitted Slurm job {ids}")
            yield outcome._replace(details={**outcome.details, "line": entry.row.line})

    def _submit(self, entry: Entry) -> Generator[Outcome, None, bool]:
        """Submit one job, and wait as long as Slurm takes none; return whether to stop then."""
        claim, context = entry.claim, self._context
        notes = notes_directory(context, claim.token)
        notes.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        for attempt, pause in enumerate(chain(_PAUSES, repeat(_PAUSES[-1]))):
            if relations_of(claim):
                with naming_row(entry.row.label):
                    claim = wait_for_predecessors(context, entry.claim, notes, {})
                entry = replace(entry, claim=claim)
            self._in_doubt.add(claim.token)
            moment = int(time.time())
            done = self._call(entry)
            limit = "" if done.jobs else limit_in(done.said)
            if self._is_in(entry, done, moment, limit):
                return done.is_interrupted
            # what waits for room in the queue may be looked at, and finished, meanwhile
            yield from self._told(self._ledger.note(describe=True))
            may_wait = limit or (is_busy(done.said) and time.monotonic() < began + _PATIENCE)
            if not may_wait or done.is_interrupted:
                self._in_doubt.discard(claim.token)
                if done.is_interrupted:
                    return True
                with naming_row(entry.row.label):
                    raise nothing_submitted(context, claim, done)
            self._say_what_is_waited_for(entry, limit or done.said, is_new=attempt == 0)
            time.sleep(pause)
            # a controller that was busy may have taken the job after all
            if self._is_in(entry, done, moment, limit):
                return False
            forget_calls(notes)
        raise AssertionError("the pauses never end")

    def _is_in(self, entry: Entry, done: sbatch.Submission, moment: int, limit: str) -> bool:
        """Note the jobs of a call; where it is not known whether there are any, ask Slurm."""
        if limit:
            return False
        began = time.monotonic()
        while True:
            try:
                with naming_row(entry.row.label):
                    found = found_jobs(self._context, entry.claim, done)
                break
            except QueryFailedError:
                if done.is_interrupted or time.monotonic() > began + _PATIENCE:
                    raise
            time.sleep(_PAUSES[1])
        if found and needs_runner(entry.claim) and not done.is_noted:
            from datalad_slurm.workflow.runner_plan import run_without

            run_without(self._context, entry.claim)
        if found:
            claim = note_typed(self._context, entry.claim, done.calls, {})
            entry = replace(entry, claim=claim, calls=done.calls)
            self._ledger.add(entry, [job._replace(submitted=moment) for job in found])
        return bool(found)

    def _say_what_is_waited_for(self, entry: Entry, why: str, *, is_new: bool) -> None:
        """Tell the user; refuse to wait for what will not come."""
        is_own = limit_in(why) and "Grp" not in why
        if is_own and not squeue.has_own(timeout=self._context.settings.query_timeout):
            self._in_doubt.discard(entry.claim.token)
            raise SubmissionError(
                f"{entry.row.label}: {why}, though no job of yours waits or runs: this one is "
                "more than is allowed"
            )
        say = lgr.warning if is_new else lgr.debug
        say(
            "Slurm takes no more jobs for now (%s): %d of %d are submitted, the next one waits; "
            "Ctrl-C stops, and the same command submits the others later",
            why,
            len(self._ledger.lines),
            len(self._entries),
        )

    def _call(self, entry: Entry) -> sbatch.Submission:
        claim = entry.claim
        notes = notes_directory(self._context, claim.token)
        directory = self._context.run_directory(claim)
        words = plain_words(entry.text)
        if words and not any((notes / name).exists() for name in ("wrap", "depend")):
            return call_plainly(words, directory, claim.token, notes)
        have_environment_noted(self._context, notes)
        return sbatch.submit(entry.text, directory, claim.token, notes)

    def _leave(self) -> None:
        """Free what was not submitted, and undo what was prepared for it."""
        lines = set(self._ledger.lines)
        context = self._context
        left = [
            entry.claim
            for entry in self._entries
            if entry.row.line not in lines and entry.claim.token not in self._in_doubt
        ]
        for claim in left:
            abandon(context, claim.token, keep_files=False)
        for claim in free_claims(context, left):
            drop_notes_of_endings(context, claim.token)
        clean_up(context)


@contextmanager
def _progress(total: int) -> Iterator[None]:
    """Show a progress bar."""
    _log("Submit %d jobs", total, total=total, label="Submit", unit=" jobs")
    try:
        yield
    finally:
        _log("")


def _log(*said: object, **progress: object) -> None:
    # without a terminal there is no bar, and a line for each job would be too much
    log_progress(lgr.info, "slurm-schedule-table", *said, noninteractive_level=5, **progress)
