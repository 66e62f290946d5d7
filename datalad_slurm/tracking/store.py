"""Claims and jobs: what the tracking database is asked and told."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import and_, delete, or_, select
from sqlalchemy.orm import Session

from datalad_slurm.jobs.claims import beginning, bounds_of_prefix, collide, prefixes
from datalad_slurm.jobs.errors import JobNotTrackedError, OutputConflictError
from datalad_slurm.jobs.logs import LogName
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.tasks import expand_tasks, fold_tasks
from datalad_slurm.tracking.database import DEFAULT_BUSY_TIMEOUT, Database
from datalad_slurm.tracking.process import current_process, process_from_row, process_to_row
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
        row = JobRow(
            token=job.token,
            cmd=job.cmd,
            pwd=job.pwd,
            dsid=job.dsid,
            message=job.message,
            declared_outputs=list(job.declared_outputs),
            inputs=list(job.inputs),
            extra_inputs=list(job.extra_inputs),
            chain=list(job.chain),
            commit_at_submission=job.commit_at_submission,
            claimed_at=int(time.time()),
            claimed_by=process_to_row(current_process()),
            extra=dict(job.extra),
            claims=[
                ClaimRow(path=path, start=beginning(path)) for path in dict.fromkeys(job.outputs)
            ],
        )
        with self.database.transaction() as session:
            if check:
                _refuse_conflicts(session, job.outputs)
            session.add(row)
            session.flush()
            return _load(session, JobRow.id == row.id)[0]

    def refuse_conflicts(self, outputs: Iterable[str]) -> None:
        """Make sure that no open job claims any of these outputs, as far as that lasts.

        Raises
        ------
        OutputConflictError
            As `claim` does.
        """
        with self.database.transaction() as session:
            _refuse_conflicts(session, outputs)

    def note_submission(self, tracked_id: int, slurm_jobs: Sequence[SlurmJob]) -> None:
        """Note the jobs that Slurm took; those that are noted already are brought up to date."""
        with self.database.transaction() as session:
            known = {
                (row.job_id, row.cluster): row
                for row in session.scalars(select(SlurmJobRow).where(SlurmJobRow.job == tracked_id))
            }
            for job in slurm_jobs:
                row = known.get((job.job_id, job.cluster))
                if row is None:
                    row = SlurmJobRow(job=tracked_id, job_id=job.job_id, cluster=job.cluster)
                    session.add(row)
                row.attempt = job.attempt
                row.submitted = job.submitted
                row.name = job.name
                row.work_dir = job.work_dir
                row.logs = [[log.pattern, log.index] for log in job.logs]
                row.tasks = None if job.tasks is None else fold_tasks(job.tasks)
                row.facts = dict(job.facts)

    def note_extra(self, tracked_id: int, extra: Mapping[str, Any]) -> None:
        """Note more about a job, beside what was noted before."""
        with self.database.transaction() as session:
            row = session.get_one(JobRow, tracked_id)
            row.extra = {**row.extra, **extra}

    def forget(self, tracked_ids: Iterable[int]) -> None:
        """Drop jobs with their claims."""
        with self.database.transaction() as session:
            forget_rows(session, tracked_ids)

    def open_jobs(self, job_ids: Iterable[int] | None = None) -> list[TrackedJob]:
        """Return the jobs that Slurm has taken, in the order of their scheduling.

        Parameters
        ----------
        job_ids : iterable of int, optional
            Slurm's ids; all open jobs when not given.

        Raises
        ------
        JobNotTrackedError
            When an id is not that of an open job of this dataset.
        """
        with self.database.transaction() as session:
            jobs = [job for job in _load(session) if job.is_submitted]
        if job_ids is None:
            return jobs
        wanted = list(dict.fromkeys(job_ids))
        by_id: defaultdict[int, list[TrackedJob]] = defaultdict(list)  # clusters may share ids
        for job in jobs:
            for slurm in job.slurm_jobs:
                by_id[slurm.job_id].append(job)
        missing = [job_id for job_id in wanted if job_id not in by_id]
        if missing:
            names = ", ".join(map(str, missing))
            raise JobNotTrackedError(
                f"no open job {names} in this dataset; "
                "`datalad slurm-finish --list-open-jobs` shows those there are"
            )
        return list({job.id: job for job_id in wanted for job in by_id[job_id]}.values())

    @contextmanager
    def held(self) -> Iterator[list[TrackedJob]]:
        """Enter a time in which nobody else claims or forgets; yields all jobs and claims.

        Inside of it nothing else can be asked of the database.
        """
        with self.database.transaction() as session:
            yield _load(session)

    def claims_without_job(self) -> list[TrackedJob]:
        """Return claims for which no job id was noted: being submitted, or left by a crash."""
        with self.database.transaction() as session:
            return _load(session, ~JobRow.slurm_jobs.any())


def forget_rows(session: Session, tracked_ids: Iterable[int]) -> None:
    """Drop jobs with their claims, inside a transaction."""
    ids = list(tracked_ids)
    for start in range(0, len(ids), 500):  # SQLite bounds the number of parameters
        session.execute(delete(JobRow).where(JobRow.id.in_(ids[start : start + 500])))


def _refuse_conflicts(session: Session, outputs: Iterable[str]) -> None:
    for output in outputs:
        start = beginning(output)
        conditions: list[Any] = [ClaimRow.start.in_(prefixes(start))]
        bounds = bounds_of_prefix(start)
        if bounds is None:
            conditions.append(ClaimRow.start >= start)
        else:
            conditions.append(and_(ClaimRow.start >= bounds[0], ClaimRow.start < bounds[1]))
        # without globs the first that is found this way collides
        near = session.execute(select(ClaimRow.path, ClaimRow.job).where(or_(*conditions)))
        hit = next((row for row in near if collide(output, row.path)), None)
        near.close()
        if hit is None:
            continue
        path, tracked_id = hit
        (holder,) = _load(session, JobRow.id == tracked_id)
        who = (
            f"job {holder.job_id}"
            if holder.is_submitted
            else f"a job that {holder.claimed_by} is submitting"
        )
        wanted = output or "."
        covers = "" if path == output else f", which claims '{path or '.'}'"
        raise OutputConflictError(
            f"output '{wanted}' conflicts with {who}{covers}; finish or close that job first, "
            "or choose another output"
        )


#: Plain tuples are read: at ten thousand jobs, mapped objects would cost seconds.
_JOB_COLUMNS = tuple(JobRow.__table__.columns)
_SLURM_JOB_COLUMNS = tuple(SlurmJobRow.__table__.columns)


def _load(session: Session, *conditions: Any) -> list[TrackedJob]:
    rows = session.execute(select(*_JOB_COLUMNS).where(*conditions).order_by(JobRow.id)).all()
    chosen = select(JobRow.id).where(*conditions)
    outputs: defaultdict[int, list[str]] = defaultdict(list)
    for job, path in session.execute(
        select(ClaimRow.job, ClaimRow.path).where(ClaimRow.job.in_(chosen)).order_by(ClaimRow.id)
    ):
        outputs[job].append(path)
    slurm_jobs: defaultdict[int, list[SlurmJob]] = defaultdict(list)
    for row in session.execute(
        select(*_SLURM_JOB_COLUMNS).where(SlurmJobRow.job.in_(chosen)).order_by(SlurmJobRow.id)
    ):
        slurm_jobs[row.job].append(_slurm_job(row))
    return [_tracked_job(row, outputs[row.id], slurm_jobs[row.id]) for row in rows]


def _slurm_job(row: Any) -> SlurmJob:
    return SlurmJob(
        job_id=row.job_id,
        cluster=row.cluster,
        submitted=row.submitted,
        attempt=row.attempt,
        name=row.name,
        work_dir=row.work_dir,
        logs=tuple(LogName(pattern, index) for pattern, index in row.logs),
        tasks=None if row.tasks is None else expand_tasks(row.job_id, row.tasks),
        facts=row.facts,
    )


def _tracked_job(row: Any, outputs: list[str], slurm_jobs: list[SlurmJob]) -> TrackedJob:
    return TrackedJob(
        id=row.id,
        token=row.token,
        cmd=row.cmd,
        pwd=row.pwd,
        dsid=row.dsid,
        outputs=tuple(outputs),
        declared_outputs=tuple(row.declared_outputs),
        inputs=tuple(row.inputs),
        extra_inputs=tuple(row.extra_inputs),
        message=row.message,
        chain=tuple(row.chain),
        commit_at_submission=row.commit_at_submission,
        claimed_at=row.claimed_at,
        claimed_by=process_from_row(row.claimed_by),
        slurm_jobs=tuple(slurm_jobs),
        extra=row.extra,
    )
