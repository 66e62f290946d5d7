"""Claims and jobs: what the tracking database is asked and told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import and_, delete, or_, select
from sqlalchemy.orm import Session

from datalad_slurm.jobs.claims import beginning, bounds_of_prefix, collide, prefixes
from datalad_slurm.jobs.errors import (
    AlreadyTrackedError,
    JobNotTrackedError,
    OutputConflictError,
)
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.names import JobName, select_jobs
from datalad_slurm.tracking.database import DEFAULT_BUSY_TIMEOUT, Database
from datalad_slurm.tracking.rows import load, new_row, note_slurm_jobs
from datalad_slurm.tracking.schema import ClaimRow, JobRow, SlurmJobRow

__all__ = ["FILE_NAME", "Tracker"]

FILE_NAME = "tracking.sqlite"


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
        with self.database.transaction() as session:
            return _claim(session, job, check=check)

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
        with self.database.transaction() as session:
            return adopt_in(session, job, slurm_job, own_cluster, check=check)

    def refuse_conflicts(self, outputs: Iterable[str]) -> None:
        """Make sure that no open job claims any of these outputs, as far as that lasts.

        Raises
        ------
        OutputConflictError
            As `claim` does.
        """
        with self.database.transaction() as session:
            _refuse_conflicts(session, outputs)

    def claimants(self, paths: Iterable[str]) -> list[TrackedJob]:
        """Return the jobs, and claims, that claim a path or part of what a glob stands for.

        In the order of their claims.
        """
        with self.database.transaction() as session:
            ids = {tracked_id for path in paths for _, tracked_id in _colliding(session, path)}
            return load(session, JobRow.id.in_(ids)) if ids else []

    def note_submission(self, tracked_id: int, slurm_jobs: Sequence[SlurmJob]) -> None:
        """Note the jobs that Slurm took; those that are noted already are brought up to date.

        Raises
        ------
        JobNotTrackedError
            When the claim, or tracked job, is gone.
        """
        with self.database.transaction() as session:
            if session.get(JobRow, tracked_id) is None:
                ids = ", ".join(str(job.job_id) for job in slurm_jobs)
                raise JobNotTrackedError(
                    f"job {ids} was submitted, but is not tracked any more; if that is not "
                    "because it has been finished, track it with `datalad slurm-schedule "
                    f"--job-id {slurm_jobs[0].job_id}` and its outputs"
                )
            note_slurm_jobs(session, tracked_id, slurm_jobs)

    def note_extra(self, tracked_id: int, extra: Mapping[str, Any]) -> None:
        """Note more about a job, beside what was noted before.

        Raises
        ------
        JobNotTrackedError
            When the job is tracked no more.
        """
        with self.database.transaction() as session:
            row = _tracked(session, tracked_id)
            row.extra = {**row.extra, **extra}

    def note_identities(self, tracked_id: int, identities: Mapping[str, Any]) -> None:
        """Note what inputs and script were at submission, in place of what was noted before.

        Raises
        ------
        JobNotTrackedError
            When the job is tracked no more.
        """
        with self.database.transaction() as session:
            _tracked(session, tracked_id).identities = dict(identities)

    def forget(self, tracked_ids: Iterable[int]) -> None:
        """Drop jobs with their claims."""
        with self.database.transaction() as session:
            forget_rows(session, tracked_ids)

    def free(self, tracked_id: int) -> bool:
        """Drop a claim, unless a job was noted for it; return whether it is gone."""
        with self.database.transaction() as session:
            is_claim = JobRow.id == tracked_id, ~JobRow.slurm_jobs.any()
            return bool(session.execute(delete(JobRow).where(*is_claim).returning(JobRow.id)).all())

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
        with self.database.transaction() as session:
            jobs = [job for job in load(session) if job.is_submitted]
        return jobs if names is None else select_jobs(jobs, names, own_cluster)

    def tokens(self) -> set[str]:
        """Return the tokens of all claims and jobs."""
        with self.database.transaction() as session:
            return set(session.scalars(select(JobRow.token)))

    @contextmanager
    def held(self) -> Iterator[list[TrackedJob]]:
        """Enter a time in which nobody else claims or forgets; yields all jobs and claims.

        Inside of it nothing else can be asked of the database.
        """
        with self.database.transaction() as session:
            yield load(session)

    def claims_without_job(self) -> list[TrackedJob]:
        """Return claims for which no job id was noted: being submitted, or left by a crash."""
        with self.database.transaction() as session:
            return load(session, ~JobRow.slurm_jobs.any())


def adopt_in(
    session: Session,
    job: TrackedJob,
    slurm_job: SlurmJob,
    own_cluster: str = "",
    *,
    check: bool = True,
) -> TrackedJob:
    """Track a job that Slurm has taken already, inside a transaction."""
    name = JobName(slurm_job.job_id, slurm_job.cluster)
    clusters = {"", own_cluster} if slurm_job.cluster in ("", own_cluster) else {name.cluster}
    found = select(SlurmJobRow.id).where(
        SlurmJobRow.job_id == name.job_id, SlurmJobRow.cluster.in_(clusters)
    )
    if session.scalars(found.limit(1)).first() is not None:
        raise AlreadyTrackedError(f"job {name} is tracked already; `datalad slurm-finish -l`")
    claim = _claim(session, job, check=check)
    note_slurm_jobs(session, claim.id, [slurm_job])
    return load(session, JobRow.id == claim.id)[0]


def _claim(session: Session, job: TrackedJob, *, check: bool) -> TrackedJob:
    if check:
        _refuse_conflicts(session, job.outputs)
    row = new_row(job)
    session.add(row)
    session.flush()
    return load(session, JobRow.id == row.id)[0]


def _tracked(session: Session, tracked_id: int) -> JobRow:
    row = session.get(JobRow, tracked_id)
    if row is None:
        raise JobNotTrackedError("a job has been finished, or its claim freed, by another process")
    return row


def forget_rows(session: Session, tracked_ids: Iterable[int]) -> None:
    """Drop jobs with their claims, inside a transaction."""
    ids = list(tracked_ids)
    for start in range(0, len(ids), 500):  # SQLite bounds the number of parameters
        session.execute(delete(JobRow).where(JobRow.id.in_(ids[start : start + 500])))


def _colliding(session: Session, claim: str) -> Iterator[tuple[str, int]]:
    """Yield the claims in the database that collide with one, and whose they are."""
    start = beginning(claim)
    conditions: list[Any] = [ClaimRow.start.in_(prefixes(start))]
    bounds = bounds_of_prefix(start)
    if bounds is None:
        conditions.append(ClaimRow.start >= start)
    else:
        conditions.append(and_(ClaimRow.start >= bounds[0], ClaimRow.start < bounds[1]))
    # without globs the first that is found this way collides
    near = session.execute(select(ClaimRow.path, ClaimRow.job).where(or_(*conditions)))
    try:
        yield from ((row.path, row.job) for row in near if collide(claim, row.path))
    finally:
        near.close()


def _refuse_conflicts(session: Session, outputs: Iterable[str]) -> None:
    for output in outputs:
        hit = next(_colliding(session, output), None)
        if hit is None:
            continue
        path, tracked_id = hit
        (holder,) = load(session, JobRow.id == tracked_id)
        who = (
            f"job {holder.job_id}"
            if holder.is_submitted
            else f"a job that {holder.claimed_by} is submitting"
        )
        ways_on = "wait for that"
        if holder.is_submitted:
            ways_on = f"finish or close that job first (datalad slurm-finish {holder.job_id})"
        wanted = output or "."
        covers = "" if path == output else f", which claims '{path or '.'}'"
        raise OutputConflictError(
            f"output '{wanted}' conflicts with {who}{covers}; {ways_on}, or choose another output"
        )
