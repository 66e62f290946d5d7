"""A tracked job that is submitted again: from one attempt to the next, or back.

Between the two it is a claim without a Slurm job, as before its first
submission, so whoever finds it left by a crash settles it in the same way.
Its notes hold what is to be put back (see `datalad_slurm.jobs.attempts`).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from datalad_slurm.jobs.errors import JobNotTrackedError
from datalad_slurm.jobs.logs import LogName
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.notes import COMMITTED_IN
from datalad_slurm.jobs.tasks import expand_tasks, fold_tasks
from datalad_slurm.tracking.process import current_process, process_to_row
from datalad_slurm.tracking.rows import ONE, WITHOUT_SLURM_JOB, load, note_slurm_jobs
from datalad_slurm.tracking.schema import from_json, to_json

if TYPE_CHECKING:
    from datalad_slurm.jobs.attempts import Retry

__all__ = ["begin", "free", "note_submitted"]

#: What is kept of a row while it is submitted again: columns with JSON, and others.
_JSON = ("cmd", "claimed_by", "identities", "extra")
_PLAIN = ("claimed_at", "commit_at_submission")
_READ = f"SELECT {', '.join((*_JSON, *_PLAIN))} FROM jobs WHERE id = ?"  # noqa: S608 - constants
_WRITE = f"UPDATE jobs SET {' = ?, '.join((*_JSON, *_PLAIN))} = ? WHERE id = ?"  # noqa: S608
_FREE = f"DELETE FROM jobs WHERE {ONE} AND {WITHOUT_SLURM_JOB}"  # noqa: S608 - constants
#: True of one attempt only.
_KEPT_OF_ONE_ATTEMPT = ("scripts", "environment")
_OF_ONE_ATTEMPT = ("began", "submitted_cmd", "untouched_outputs", COMMITTED_IN)


def begin(connection: sqlite3.Connection, job: TrackedJob, retry: Retry) -> None:
    """Make a tracked job a claim again.

    Raises
    ------
    JobNotTrackedError
        When its Slurm jobs are not those that it had when it was read.
    """
    found = load(connection, ONE, job.id)
    if not found or _tasks(found[0]) != _tasks(job):
        raise JobNotTrackedError(
            f"job {job.label} was finished, closed or submitted again by another command meanwhile"
        )
    before = _read(connection, job.id)
    extra = {name: value for name, value in before["extra"].items() if name not in _OF_ONE_ATTEMPT}
    began = before["extra"].get("began") or (before["claimed_at"] + 1) * 10**9
    pending = {
        "before": before,
        "slurm_jobs": [_noted(slurm_job) for slurm_job in found[0].slurm_jobs],
        "kept": [_noted(slurm_job) for slurm_job in retry.kept],
    }
    if retry.submitted_cmd != retry.cmd:
        extra["submitted_cmd"] = retry.submitted_cmd
    extra |= {
        "attempt": job.attempt + 1,
        "attempts": [*job.attempts, *map(dict, retry.replaced)],
        "beginnings": {**extra.get("beginnings", {}), str(job.attempt): began},
        "submission": retry.token,
        "retry": pending,
    }
    identities = {
        name: value
        for name, value in before["identities"].items()
        if name not in _KEPT_OF_ONE_ATTEMPT
    }
    now = {
        "cmd": retry.cmd,
        "identities": identities,
        "commit_at_submission": retry.commit_at_submission,
        "claimed_at": int(time.time()),
        "claimed_by": process_to_row(current_process()),
        "extra": extra,
    }
    _write(connection, job.id, before | now)
    connection.execute("DELETE FROM slurm_jobs WHERE job = ?", (job.id,))


def note_submitted(
    connection: sqlite3.Connection, tracked_id: int, slurm_jobs: Sequence[SlurmJob]
) -> bool:
    """Note the jobs that Slurm took for a claim, or tracked job; return whether that is there.

    With one that was submitted again, those Slurm jobs that stay are put back. Slurm
    jobs of earlier attempts, which a slow command may describe yet, are left out.

    Parameters
    ----------
    connection : sqlite3.Connection
        A transaction.
    tracked_id : int
        The tracked job.
    slurm_jobs : sequence of SlurmJob
        What Slurm took.
    """
    row = connection.execute("SELECT extra FROM jobs WHERE id = ?", (tracked_id,)).fetchone()
    if row is None:
        return False
    extra = from_json(row[0])
    pending = extra.get("retry", {})
    earlier = {entry["slurm_job_id"] for entry in extra.get("attempts", ())}
    new = [job for job in slurm_jobs if job.job_id not in earlier]
    kept: list[SlurmJob] = []
    if pending and new:
        kept = [_slurm_job(noted) for noted in pending["kept"]]
        left = {name: value for name, value in extra.items() if name != "retry"}
        connection.execute("UPDATE jobs SET extra = ? WHERE id = ?", (to_json(left), tracked_id))
    query = "SELECT job_id, attempt FROM slurm_jobs WHERE job = ?"
    attempts = dict(connection.execute(query, (tracked_id,)).fetchall())
    latest = extra.get("attempt", 1)
    numbered = [
        job._replace(attempt=attempts.get(job.job_id, max(job.attempt, latest))) for job in new
    ]
    note_slurm_jobs(connection, tracked_id, [*kept, *numbered])
    return True


def free(connection: sqlite3.Connection, tracked_id: int) -> bool:
    """Drop a claim, unless a job was noted for it, or put back a job that was to be run again.

    Returns whether that was done.
    """
    if _withdrawn(connection, tracked_id):
        return True
    return connection.execute(_FREE, (tracked_id,)).rowcount > 0


def _withdrawn(connection: sqlite3.Connection, tracked_id: int) -> bool:
    """Put a job back that was to be submitted again; return whether it was such a one."""
    now = _read(connection, tracked_id)
    pending = now["extra"].get("retry") if now else None
    if pending is None:
        return False
    _write(connection, tracked_id, pending["before"])
    slurm_jobs = [_slurm_job(noted) for noted in pending["slurm_jobs"]]
    note_slurm_jobs(connection, tracked_id, slurm_jobs)
    return True


def _read(connection: sqlite3.Connection, tracked_id: int) -> dict[str, Any]:
    """Return what may have to be put back, nothing when the job is tracked no more."""
    row = connection.execute(_READ, (tracked_id,)).fetchone()
    if row is None:
        return {}
    held = dict(zip((*_JSON, *_PLAIN), row, strict=True))
    return held | {name: from_json(held[name]) for name in _JSON}


def _write(connection: sqlite3.Connection, tracked_id: int, held: Mapping[str, Any]) -> None:
    values = (*(to_json(held[name]) for name in _JSON), *(held[name] for name in _PLAIN))
    connection.execute(_WRITE, (*values, tracked_id))


def _tasks(job: TrackedJob) -> list[tuple[int, str, Any]]:
    return [(each.job_id, each.cluster, each.tasks) for each in job.slurm_jobs]


def _noted(job: SlurmJob) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "cluster": job.cluster,
        "submitted": job.submitted,
        "attempt": job.attempt,
        "name": job.name,
        "work_dir": job.work_dir,
        "logs": [[log.pattern, log.index] for log in job.logs],
        "tasks": None if job.tasks is None else fold_tasks(job.tasks),
        "facts": dict(job.facts),
    }


def _slurm_job(noted: Mapping[str, Any]) -> SlurmJob:
    tasks = noted["tasks"]
    values = {
        **noted,
        "logs": tuple(LogName(pattern, index) for pattern, index in noted["logs"]),
        "tasks": None if tasks is None else expand_tasks(noted["job_id"], tasks),
    }
    return SlurmJob(**values)
