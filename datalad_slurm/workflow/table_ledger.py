"""Note the jobs of a table as they are submitted, many at a time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from datalad_slurm.jobs.errors import DatabaseError, QueryFailedError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.slurm import sbatch
from datalad_slurm.slurm.describe import describe_many
from datalad_slurm.slurm.sbatch import NotedCall
from datalad_slurm.tracking.many import note_all, note_submissions
from datalad_slurm.workflow.context import Context, lgr
from datalad_slurm.workflow.environment import noted_environment
from datalad_slurm.workflow.placeholders import Placeholders
from datalad_slurm.workflow.scripts import identified_scripts
from datalad_slurm.workflow.submission_notes import drop_notes, notes_directory
from datalad_slurm.workflow.submissions import describe
from datalad_slurm.workflow.table_rows import RowRequest

__all__ = ["Entry", "Ledger"]

#: Jobs that are noted in one transaction, and seconds after which this is done anyway. Until
#: then the notes of their submissions tell of them, and, if these are lost, their tokens.
_NOTED_TOGETHER = 100
_NOTED_AFTER = 2.0
#: Slurm is asked for tasks and logs this often (seconds), as it forgets jobs that have ended.
_DESCRIBED_AFTER = 60.0


@dataclass(frozen=True)
class Entry:
    """A row on its way to Slurm."""

    row: RowRequest
    claim: TrackedJob
    placeholders: Placeholders
    command: Callable[[], str]
    #: how sbatch was called
    calls: tuple[NotedCall, ...] = ()

    @cached_property
    def text(self) -> str:
        """The command with placeholders filled in; to be asked for when inputs are there."""
        return self.command()


@dataclass
class Ledger:
    """What has been submitted, and what of it was noted."""

    context: Context
    #: submitted, not in the database yet
    fresh: list[tuple[Entry, list[SlurmJob]]] = field(default_factory=list)
    #: in the database, but not described yet
    bare: list[tuple[Entry, list[SlurmJob]]] = field(default_factory=list)
    #: lines of the rows that are in
    lines: list[int] = field(default_factory=list)
    _noted_at: float = field(default_factory=time.monotonic)
    _described_at: float = field(default_factory=time.monotonic)

    def add(self, entry: Entry, jobs: list[SlurmJob]) -> None:
        """Take jobs that were submitted just now."""
        self.fresh.append((entry, jobs))
        self.lines.append(entry.row.line)

    @property
    def is_due(self) -> bool:
        """Whether it is time to note what was submitted."""
        late = time.monotonic() > self._noted_at + _NOTED_AFTER
        return len(self.fresh) >= _NOTED_TOGETHER or (late and bool(self.fresh))

    def note(self, *, describe: bool = False) -> list[tuple[Entry, list[SlurmJob]]]:
        """Note what was submitted, and return what is new in the database.

        Parameters
        ----------
        describe : bool
            Whether to ask Slurm for tasks and logs now.

        Raises
        ------
        DatabaseError
            When it cannot be noted; the notes of the submissions stay.
        """
        fresh, self.fresh = self.fresh, []
        if fresh:
            try:
                self._note(fresh)
            except DatabaseError as exc:
                self.fresh = fresh
                ids = ", ".join(str(job.job_id) for _, jobs in fresh for job in jobs)
                raise DatabaseError(
                    f"Slurm jobs {ids} were submitted, but that could not be noted in the "
                    f"tracking database; when that is mended, the next command tracks them: {exc}"
                ) from exc
        self._noted_at = time.monotonic()
        if describe or self._noted_at > self._described_at + _DESCRIBED_AFTER:
            self._describe()
            self._described_at = time.monotonic()
        return fresh

    def _note(self, fresh: list[tuple[Entry, list[SlurmJob]]]) -> None:
        context = self.context
        # once the jobs are noted, any other command may drop the notes
        notes = [notes_directory(context, entry.claim.token) for entry, _ in fresh]
        environments = [noted_environment(context, each) for each in notes]
        began = {
            entry.claim.id: {"began": sbatch.began(each)}
            for (entry, _), each in zip(fresh, notes, strict=True)
        }
        note_submissions(context.tracker, {entry.claim.id: jobs for entry, jobs in fresh})
        identities: dict[int, dict[str, Any]] = {}
        contents: dict[int, dict[str, bytes]] = {}
        for (entry, jobs), environment in zip(fresh, environments, strict=True):
            found, kept = identified_scripts(context, entry.claim, entry.calls, jobs)
            identities[entry.claim.id] = {**found, **environment[0]}
            contents[entry.claim.id] = {**kept, **environment[1]}
        note_all(context.tracker, extra=began, identities=identities, contents=contents)
        for entry, _ in fresh:
            drop_notes(context, entry.claim.token)
        self.bare += fresh

    def _describe(self) -> None:
        """Learn and note tasks and log files, as `adopt` does for one command.

        That slurmctld does not answer is no failure: the next command tries again.
        """
        bare, self.bare = self.bare, []
        tokens: defaultdict[str, dict[int, str]] = defaultdict(dict)
        for entry, jobs in bare:
            for job in jobs:
                tokens[job.cluster][job.job_id] = entry.claim.token
        timeout = self.context.settings.query_timeout
        try:
            listed = {
                (cluster, job_id): job
                for cluster in tokens
                for job_id, job in describe_many(tokens[cluster], cluster, timeout).items()
            }
        except QueryFailedError as exc:
            lgr.warning("jobs are tracked, but not described yet: %s", exc)
            return
        known: dict[int, list[SlurmJob]] = {}
        for entry, jobs in bare:
            if all((job.cluster, job.job_id) in listed for job in jobs):
                known[entry.claim.id] = [
                    listed[job.cluster, job.job_id]._replace(attempt=job.attempt) for job in jobs
                ]
            else:
                known[entry.claim.id] = describe(self.context, jobs)
        note_submissions(self.context.tracker, known)
