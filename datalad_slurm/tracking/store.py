"""Claims and jobs: what the tracking database is asked and told."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datalad_slurm.jobs.errors import AlreadyTrackedError, JobNotTrackedError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.names import JobName, select_jobs
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.tracking import retries
from datalad_slurm.tracking.conflicts import holders, refuse_conflicts, refuse_conflicts_of
from datalad_slurm.tracking.contents import keep
from datalad_slurm.tracking.database import DEFAULT_BUSY_TIMEOUT, Database
from datalad_slurm.tracking.rows import (
    ONE,
    WITHOUT_SLURM_JOB,
    add,
    forget_rows,
    load,
    note_slurm_jobs,
    release_tasks,
)
from datalad_slurm.tracking.schema import from_json, to_json

if TYPE_CHECKING:
    from datalad_slurm.jobs.attempts import Retry

__all__ = ["FILE_NAME", "Tracker", "adopt_in"]

FILE_NAME = "tracking.sqlite"

_SLURM_JOB = "SELECT 1 FROM slurm_jobs WHERE job_id = ? AND cluster IN (?, ?) LIMIT 1"
_TOKENS = "SELECT token, json_extract(extra, '$.submission') FROM jobs"
_GONE = "a job has been finished, or its claim freed, by another process"


class Tracker:
    """The open jobs of one dataset.

    Parameters
    ----------
    directory : Path
        Where the database lies, inside the repository's git directory.
    busy_timeout : float
        Seconds to wait for another process's transaction.
    """

    def __init__(self, directory: Path, busy_timeout: float = DEFAULT_BUSY_TIMEOUT) -> None:
        self.directory = directory
        self.database = Database(directory / FILE_NAME, busy_timeout)

    def claim(self, job: TrackedJob, *, check: bool = True) -> TrackedJob:
        """Claim the outputs of a job that is about to be submitted.

        Check and claim are one transaction, so of two that want the same
        output one gets it.

        Raises
        ------
        OutputConflictError
            When an open job claims one of the outputs, something below it, or
            something above it, or a glob that may match such a path. Names the
            job and the path or glob.
        """
        with self.database.transaction() as connection:
            return _claim(connection, job, check=check)

    def adopt(
        self, job: TrackedJob, slurm_job: SlurmJob, own_cluster: str = "", *, check: bool = True
    ) -> TrackedJob:
        """Track a job that Slurm has taken already.

        That it is not tracked yet is looked up in the same transaction: of
        two that want to track a job one does.

        Parameters
        ----------
        job : TrackedJob
            What it claims.
        slurm_job : SlurmJob
            What Slurm has taken.
        own_cluster : str
            Name of the cluster that jobs go to by default.
        check : bool
            Whether to refuse outputs that an open job claims.

        Raises
        ------
        AlreadyTrackedError
            When the job is tracked.
        OutputConflictError
            As for `claim`.
        """
        with self.database.transaction() as connection:
            return adopt_in(connection, job, slurm_job, own_cluster, check=check)

    def refuse_conflicts(self, outputs: Iterable[str]) -> None:
        """Make sure that no open job claims any of these outputs, as far as that lasts.

        Raises
        ------
        OutputConflictError
            As `claim` does.
        """
        with self.database.transaction() as connection:
            refuse_conflicts(connection, outputs)

    def claimants(self, paths: Iterable[str]) -> list[TrackedJob]:
        """Return the jobs, and claims, that claim paths, or part of what globs stand for."""
        with self.database.transaction() as connection:
            ids = {tracked_id for path in paths for tracked_id in holders(connection, path)}
            return [job for job in load(connection) if job.id in ids] if ids else []

    def note_submission(
        self,
        tracked_id: int,
        slurm_jobs: Sequence[SlurmJob],
        identities: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        contents: Mapping[str, bytes] | None = None,
    ) -> None:
        """Note the jobs that Slurm took; those that are noted already are brought up to date.

        Parameters
        ----------
        tracked_id : int
            The claim, or tracked job.
        slurm_jobs : sequence of SlurmJob
            What Slurm took.
        identities, extra : mapping, optional
            As for `note_identities` and `note_extra`, in the same transaction.
        contents : mapping, optional
            What to keep with it, by its SHA-256.

        Raises
        ------
        JobNotTrackedError
            When the claim, or tracked job, is gone.
        """
        with self.database.transaction() as connection:
            if not retries.note_submitted(connection, tracked_id, slurm_jobs):
                ids = ", ".join(str(job.job_id) for job in slurm_jobs)
                raise JobNotTrackedError(
                    f"job {ids} was submitted, but is not tracked any more; if that is not "
                    "because it has been finished, track it with `datalad slurm-schedule "
                    f"--job-id {slurm_jobs[0].job_id}` and its outputs"
                )
            if extra:
                _note_extra(connection, tracked_id, extra)
            if identities is not None:
                _note_identities(connection, tracked_id, identities)
            keep(connection, tracked_id, contents or {})

    def begin_retry(self, job: TrackedJob, retry: Retry) -> TrackedJob:
        """Make a job that has ended one that is about to be submitted again, with its claims.

        Raises
        ------
        JobNotTrackedError
            When it has been finished, closed or submitted again since it was read.
        """
        with self.database.transaction() as connection:
            retries.begin(connection, job, retry)
            return load(connection, ONE, job.id)[0]

    def note_extra(self, tracked_id: int, extra: Mapping[str, Any]) -> None:
        """Note more about a job, beside what was noted before.

        Raises
        ------
        JobNotTrackedError
            When the job is tracked no more.
        """
        with self.database.transaction() as connection:
            if not _note_extra(connection, tracked_id, extra):
                raise JobNotTrackedError(_GONE)

    def note_identities(self, tracked_id: int, identities: Mapping[str, Any]) -> None:
        """Note what inputs and script were at submission, in place of what was noted before.

        Raises
        ------
        JobNotTrackedError
            When the job is tracked no more.
        """
        with self.database.transaction() as connection:
            if not _note_identities(connection, tracked_id, identities):
                raise JobNotTrackedError(_GONE)

    def forget(self, tracked_ids: Iterable[int]) -> None:
        """Drop jobs with their claims."""
        with self.database.transaction() as connection:
            forget_rows(connection, tracked_ids)

    def release(self, tasks: Mapping[int, Iterable[TaskId]]) -> None:
        """Let tasks be open no more, by the tracked job; their claims end, the others' go on."""
        with self.database.transaction() as connection:
            for tracked_id, released in tasks.items():
                release_tasks(connection, tracked_id, released)

    def free(self, tracked_id: int) -> bool:
        """Drop a claim, unless a job was noted for it; return whether it is gone.

        A job that was to be submitted again becomes what it was before.
        """
        with self.database.transaction() as connection:
            return retries.free(connection, tracked_id)

    def open_jobs(
        self,
        names: Iterable[JobName] | None = None,
        own_cluster: Callable[[], str] = lambda: "",
    ) -> list[TrackedJob]:
        """Return the jobs that Slurm has taken, in the order of their scheduling.

        Parameters
        ----------
        names : iterable of JobName, optional
            Which ones, in the order wanted; all open jobs when not given.
        own_cluster : callable
            As for `select_jobs`.

        Raises
        ------
        JobNotTrackedError
            When a name is not that of an open job of this dataset.
        InvalidRequestError
            When a name is that of several.
        """
        with self.database.transaction() as connection:
            jobs = [job for job in load(connection) if job.is_submitted]
        return jobs if names is None else select_jobs(jobs, names, own_cluster)

    def tokens(self) -> set[str]:
        """Return the tokens of all claims and jobs, and of their latest attempts."""
        with self.database.transaction() as connection:
            return {token for row in connection.execute(_TOKENS) for token in row if token}

    @contextmanager
    def held(self) -> Iterator[list[TrackedJob]]:
        """Enter a time in which nobody else claims or forgets, or is answered; yields all jobs."""
        with self.database.transaction() as connection:
            yield load(connection)

    def claims_without_job(self) -> list[TrackedJob]:
        """Return claims for which no job id was noted: being submitted, or left by a crash."""
        with self.database.transaction() as connection:
            return load(connection, WITHOUT_SLURM_JOB)


def adopt_in(
    connection: sqlite3.Connection,
    job: TrackedJob,
    slurm_job: SlurmJob,
    own_cluster: str = "",
    *,
    check: bool = True,
) -> TrackedJob:
    """Track a job that Slurm has taken already, inside a transaction."""
    name = JobName(slurm_job.job_id, slurm_job.cluster)
    is_own = slurm_job.cluster in ("", own_cluster)
    clusters = ("", own_cluster) if is_own else (name.cluster, name.cluster)
    if connection.execute(_SLURM_JOB, (name.job_id, *clusters)).fetchone() is not None:
        raise AlreadyTrackedError(f"job {name} is tracked already; `datalad slurm-finish -l`")
    claim = _claim(connection, job, check=check)
    note_slurm_jobs(connection, claim.id, [slurm_job])
    return load(connection, ONE, claim.id)[0]


def _claim(connection: sqlite3.Connection, job: TrackedJob, *, check: bool) -> TrackedJob:
    if check:
        refuse_conflicts_of(connection, job)
    return load(connection, ONE, add(connection, job))[0]


def _extra(connection: sqlite3.Connection, tracked_id: int) -> dict[str, Any] | None:
    row = connection.execute("SELECT extra FROM jobs WHERE id = ?", (tracked_id,)).fetchone()
    return None if row is None else from_json(row[0])


def _note_extra(connection: sqlite3.Connection, tracked_id: int, extra: Mapping[str, Any]) -> bool:
    noted = _extra(connection, tracked_id)
    if noted is None:
        return False
    values = (to_json({**noted, **extra}), tracked_id)
    connection.execute("UPDATE jobs SET extra = ? WHERE id = ?", values)
    return True


def _note_identities(
    connection: sqlite3.Connection, tracked_id: int, identities: Mapping[str, Any]
) -> bool:
    values = (to_json(dict(identities)), tracked_id)
    return connection.execute("UPDATE jobs SET identities = ? WHERE id = ?", values).rowcount > 0
