"""Jobs as rows of the database, and rows as jobs."""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from datalad_slurm.jobs.claims import beginning
from datalad_slurm.jobs.logs import LogName
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.notes import COMMITTED_IN, RELEASED
from datalad_slurm.jobs.task_outputs import with_claims
from datalad_slurm.jobs.tasks import TaskId, expand_tasks, fold_tasks
from datalad_slurm.tracking.contents import keep
from datalad_slurm.tracking.process import current_process, process_from_row, process_to_row
from datalad_slurm.tracking.schema import (
    all_from_json,
    from_json,
    path_from_row,
    path_to_row,
    to_json,
)

__all__ = [
    "ALL",
    "ONE",
    "WITHOUT_SLURM_JOB",
    "add",
    "forget_rows",
    "load",
    "note_slurm_jobs",
    "release_tasks",
]

#: Which jobs are meant, in a statement about `jobs`.
ALL = "TRUE"
ONE = "id = ?"
WITHOUT_SLURM_JOB = "NOT EXISTS (SELECT 1 FROM slurm_jobs WHERE slurm_jobs.job = jobs.id)"

_ADD_JOB = """
INSERT INTO jobs (
    token, cmd, pwd, dsid, message, declared_outputs, inputs, extra_inputs, chain,
    commit_at_submission, claimed_at, claimed_by, extra, identities, templates
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_ADD_CLAIM = "INSERT INTO claims (job, path, start) VALUES (?, ?, ?)"
#: Of tasks that are known, some may have been finished since somebody asked for them.
_UPDATE_SLURM_JOB = """
UPDATE slurm_jobs
SET attempt = ?, submitted = ?, name = ?, work_dir = ?, logs = ?,
    tasks = CASE WHEN tasks IS NULL OR tasks = 'null' THEN ? ELSE tasks END, facts = ?
WHERE job = ? AND job_id = ? AND cluster = ?"""
_ADD_SLURM_JOB = """
INSERT INTO slurm_jobs (
    attempt, submitted, name, work_dir, logs, tasks, facts, job, job_id, cluster
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_HAS_TEMPLATES = "SELECT 1 FROM jobs WHERE id = ? AND templates != '[]'"
_TASKS = "SELECT id, job_id, tasks FROM slurm_jobs WHERE job = ?"
_KEEP_TASKS = "UPDATE slurm_jobs SET tasks = ? WHERE id = ?"
#: First what is kept as it is, then what is JSON.
_JOBS = """
SELECT
    id, token, pwd, dsid, commit_at_submission, claimed_at,
    cmd, message, declared_outputs, inputs, extra_inputs, chain, claimed_by, extra, identities,
    templates
FROM jobs WHERE {which} ORDER BY id"""
_CLAIMS = """
SELECT job, path FROM claims WHERE job IN (SELECT id FROM jobs WHERE {which}) ORDER BY id"""
_SLURM_JOBS = """
SELECT
    job, job_id, cluster, attempt, submitted, work_dir,
    name, logs, coalesce(tasks, 'null'), facts
FROM slurm_jobs WHERE job IN (SELECT id FROM jobs WHERE {which}) ORDER BY id"""
#: Columns of both before those with JSON.
_PLAIN = 6


def add(connection: sqlite3.Connection, job: TrackedJob) -> int:
    """Add a job that this process claims now, with its claims; return its id."""
    values = (
        job.token,
        to_json(job.cmd),
        path_to_row(job.pwd),
        job.dsid,
        to_json(job.message),
        to_json(job.declared_outputs),
        to_json(job.inputs),
        to_json(job.extra_inputs),
        to_json(job.chain),
        job.commit_at_submission,
        int(time.time()),
        to_json(process_to_row(current_process())),
        to_json(dict(job.extra)),
        to_json(dict(job.identities)),
        to_json(job.templates),
    )
    tracked_id = connection.execute(_ADD_JOB, values).lastrowid
    assert tracked_id is not None  # noqa: S101 - a row was inserted
    _add_claims(connection, tracked_id, (*job.outputs, *job.states))
    keep(connection, tracked_id, job.contents)
    return tracked_id


def _add_claims(connection: sqlite3.Connection, tracked_id: int, claims: Iterable[str]) -> None:
    rows = [
        (tracked_id, path_to_row(path), path_to_row(beginning(path)))
        for path in dict.fromkeys(claims)
    ]
    connection.executemany(_ADD_CLAIM, rows)


def _renew_claims(connection: sqlite3.Connection, tracked_id: int) -> None:
    """Let a job claim what the tasks that it has now claim, where outputs have patterns."""
    if connection.execute(_HAS_TEMPLATES, (tracked_id,)).fetchone() is None:
        return
    (job,) = load(connection, ONE, tracked_id)
    claims = with_claims(job).outputs
    if claims != job.outputs:
        connection.execute("DELETE FROM claims WHERE job = ?", (tracked_id,))
        _add_claims(connection, tracked_id, (*claims, *job.states))


def note_slurm_jobs(
    connection: sqlite3.Connection, tracked_id: int, slurm_jobs: Sequence[SlurmJob]
) -> None:
    """Add the jobs that Slurm took, or bring them up to date."""
    for job in slurm_jobs:
        values = (
            job.attempt,
            job.submitted,
            to_json(job.name),
            path_to_row(job.work_dir),
            to_json([[log.pattern, log.index] for log in job.logs]),
            to_json(None if job.tasks is None else fold_tasks(job.tasks)),
            to_json(dict(job.facts)),
            tracked_id,
            job.job_id,
            job.cluster,
        )
        if connection.execute(_UPDATE_SLURM_JOB, values).rowcount == 0:
            connection.execute(_ADD_SLURM_JOB, values)
    _renew_claims(connection, tracked_id)


def forget_rows(connection: sqlite3.Connection, tracked_ids: Iterable[int]) -> None:
    """Drop jobs with their claims, inside a transaction."""
    connection.executemany("DELETE FROM jobs WHERE id = ?", [(each,) for each in tracked_ids])


def release_tasks(connection: sqlite3.Connection, tracked_id: int, tasks: Iterable[TaskId]) -> None:
    """Let tasks of a job be open no more, and claim nothing; with the last one it is forgotten."""
    noted = connection.execute("SELECT extra FROM jobs WHERE id = ?", (tracked_id,)).fetchone()
    if noted is None:
        return
    released = set(tasks)
    is_left, count = False, 0
    for row_id, job_id, folded in connection.execute(_TASKS, (tracked_id,)).fetchall():
        known = None if folded is None else from_json(folded)
        had = None if known is None else expand_tasks(job_id, known)
        if had is None:
            is_left = True
            continue
        left = [task for task in had if task not in released]
        connection.execute(_KEEP_TASKS, (to_json(fold_tasks(left)), row_id))
        count += len(had) - len(left)
        is_left |= bool(left)
    if not is_left:
        connection.execute("DELETE FROM jobs WHERE id = ?", (tracked_id,))
        return
    extra = {key: value for key, value in from_json(noted[0]).items() if key != COMMITTED_IN}
    extra[RELEASED] = extra.get(RELEASED, 0) + count
    connection.execute("UPDATE jobs SET extra = ? WHERE id = ?", (to_json(extra), tracked_id))
    _renew_claims(connection, tracked_id)


def load(connection: sqlite3.Connection, which: str = ALL, *values: int) -> list[TrackedJob]:
    """Return jobs, in the order of their claims.

    Parameters
    ----------
    connection : sqlite3.Connection
        A transaction.
    which : str
        Which ones: `ALL`, `ONE` or `WITHOUT_SLURM_JOB`.
    *values : int
        The id, for `ONE`.

    Raises
    ------
    ValueError
        When the database holds something else than jobs.
    """
    rows = connection.execute(_JOBS.format(which=which), values).fetchall()
    outputs: defaultdict[int, list[str]] = defaultdict(list)
    slurm_jobs: defaultdict[int, list[SlurmJob]] = defaultdict(list)
    try:
        for job, path in connection.execute(_CLAIMS.format(which=which), values):
            outputs[job].append(path_from_row(path))
        found = connection.execute(_SLURM_JOBS.format(which=which), values).fetchall()
        for row, values_of_row in _with_values(found):
            slurm_jobs[row[0]].append(_slurm_job(row, values_of_row))
        return [
            _tracked_job(row, values_of_row, outputs[row[0]], slurm_jobs[row[0]])
            for row, values_of_row in _with_values(rows)
        ]
    except (TypeError, KeyError, AttributeError) as exc:
        raise ValueError(f"a row does not hold what was written to it: {exc}") from exc


def _with_values(
    rows: Sequence[tuple[Any, ...]],
) -> Iterator[tuple[tuple[Any, ...], list[Any]]]:
    """Yield rows, each with what its JSON says."""
    parsed = iter(all_from_json([text for row in rows for text in row[_PLAIN:]]))
    for row in rows:
        yield row[:_PLAIN], list(islice(parsed, len(row) - _PLAIN))


def _slurm_job(row: tuple[Any, ...], values: list[Any]) -> SlurmJob:
    _, job_id, cluster, attempt, submitted, work_dir = row
    name, logs, tasks, facts = values
    return SlurmJob(
        job_id=job_id,
        cluster=cluster,
        submitted=submitted,
        attempt=attempt,
        name=name,
        work_dir=path_from_row(work_dir),
        logs=tuple(LogName(pattern, index) for pattern, index in logs),
        # None where a job is not known to be an array or none
        tasks=None if tasks is None else expand_tasks(job_id, tasks),
        facts=facts,
    )


def _tracked_job(
    row: tuple[Any, ...], values: list[Any], outputs: list[str], slurm_jobs: list[SlurmJob]
) -> TrackedJob:
    tracked_id, token, pwd, dsid, commit_at_submission, claimed_at = row
    (
        cmd,
        message,
        declared_outputs,
        inputs,
        extra_inputs,
        chain,
        claimed_by,
        extra,
        identities,
        templates,
    ) = values
    states = extra.get("states", ())
    return TrackedJob(
        id=tracked_id,
        token=token,
        cmd=cmd,
        pwd=path_from_row(pwd),
        dsid=dsid,
        outputs=tuple(path for path in outputs if path not in states),
        declared_outputs=tuple(declared_outputs),
        templates=tuple(templates),
        inputs=tuple(inputs),
        extra_inputs=tuple(extra_inputs),
        message=message,
        chain=tuple(chain),
        commit_at_submission=commit_at_submission,
        claimed_at=claimed_at,
        claimed_by=process_from_row(claimed_by),
        slurm_jobs=tuple(slurm_jobs),
        extra=extra,
        identities=identities,
    )
