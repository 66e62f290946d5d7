"""Ask Slurm about many jobs, a constant number of times."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

from datalad_slurm.jobs.endings import Ending
from datalad_slurm.jobs.errors import AccountingDisabledError, QueryFailedError
from datalad_slurm.jobs.model import Answer, JobStatus, SlurmJob, TaskStatus, TrackedJob
from datalad_slurm.jobs.slurm_rows import AccountingRow, QueueRow
from datalad_slurm.jobs.status import Observation, combine, resolve
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.slurm import sacct, squeue
from datalad_slurm.workflow.context import Context, lgr
from datalad_slurm.workflow.endings import noted_endings
from datalad_slurm.workflow.namesakes import without_namesakes

__all__ = ["observe"]

#: Seconds in which the accounting usually catches up with slurmctld.
_ACCOUNTING_LAG = 6.0
#: Seconds for which a job of which nobody knows may not have been heard of yet.
_NEW = 60.0


def observe(
    context: Context, jobs: Sequence[TrackedJob], *, for_record: bool = False
) -> dict[int, JobStatus]:
    """Return the status of tracked jobs, by their tracking id.

    Parameters
    ----------
    context : Context
        The dataset.
    jobs : sequence of TrackedJob
        Jobs to ask about.
    for_record : bool
        Whether all the accounting knows is wanted, which is worth a short wait
        when it lags behind slurmctld.
    """
    by_cluster: defaultdict[str, list[SlurmJob]] = defaultdict(list)
    for job in jobs:
        for slurm_job in job.slurm_jobs:
            by_cluster[slurm_job.cluster].append(slurm_job)
    seen = {
        cluster: _look(context, cluster, slurm_jobs, for_record=for_record)
        for cluster, slurm_jobs in by_cluster.items()
    }
    if for_record:
        for cluster, slurm_jobs in by_cluster.items():
            told = _await_accounting(context, cluster, slurm_jobs, seen[cluster])
            seen[cluster] = _with_earlier_runs(context, cluster, slurm_jobs, told)
    held = {
        row.task
        for observation in seen.values()
        for row in observation.queue
        if not (for_record and row.state.has_ended)
    }
    noted = noted_endings(context, jobs, held)
    rows = {cluster: _by_job(observation, noted) for cluster, observation in seen.items()}

    def status(job: SlurmJob) -> JobStatus:
        return resolve(job, rows[job.cluster](job.job_id))

    return {job.id: combine(map(status, job.slurm_jobs)) for job in jobs}


def _by_job(
    seen: Observation, noted: Mapping[int, Mapping[TaskId, Ending]] = MappingProxyType({})
) -> Callable[[int], Observation]:
    """Return a function that gives the part of an observation that is about one job."""
    queue: defaultdict[int, list[QueueRow]] = defaultdict(list)
    accounting: defaultdict[int, list[AccountingRow]] = defaultdict(list)
    runs: defaultdict[int, list[AccountingRow]] = defaultdict(list)
    for queue_row in seen.queue:
        queue[queue_row.task.job_id].append(queue_row)
    for accounting_row in seen.accounting:
        accounting[accounting_row.task.job_id].append(accounting_row)
    for run in seen.runs:
        runs[run.task.job_id].append(run)
    return lambda job_id: seen._replace(
        queue=queue.get(job_id, ()),
        accounting=accounting.get(job_id, ()),
        endings=noted.get(job_id, {}),
        runs=runs.get(job_id, ()),
    )


def _look(
    context: Context, cluster: str, slurm_jobs: Sequence[SlurmJob], *, for_record: bool
) -> Observation:
    """Ask slurmctld and, of jobs that it does not show to be going, or for a record, sacct."""
    ids = [job.job_id for job in slurm_jobs]
    timeout = context.settings.query_timeout
    submitted = [job.submitted for job in slurm_jobs]
    since = None if None in submitted else min(s for s in submitted if s is not None)
    seen = Observation(time=time.time())
    try:
        # slurmctld first: what it forgets in between, the accounting has
        seen = seen._replace(queue=squeue.show(ids, cluster, timeout))
    except QueryFailedError as exc:
        seen = seen._replace(queue_failure=str(exc))
    if not for_record:
        going = {row.task for row in seen.queue if not row.state.has_ended}
        ids = [job.job_id for job in slurm_jobs if not _is_going(job, going)]
    try:
        rows = sacct.show(ids, cluster, since, with_steps=for_record, timeout=timeout)
        seen = seen._replace(accounting=rows)
    except AccountingDisabledError:
        seen = seen._replace(has_accounting=False)
    except QueryFailedError as exc:
        seen = seen._replace(accounting_failure=str(exc))
    return without_namesakes(slurm_jobs, cluster, seen, timeout)


def _is_going(job: SlurmJob, going: Collection[TaskId]) -> bool:
    """Return whether all tasks of a job are among those that wait or run."""
    return bool(job.tasks) and all(task in going for task in job.tasks or ())


def _await_accounting(
    context: Context, cluster: str, slurm_jobs: Sequence[SlurmJob], seen: Observation
) -> Observation:
    """Ask the accounting again as long as it lags behind an ending slurmctld knows of."""
    deadline = time.monotonic() + _ACCOUNTING_LAG
    pause = 0.25
    while seen.has_accounting and not seen.accounting_failure and time.monotonic() < deadline:
        select = _by_job(seen)
        lagging = [
            job
            for job in slurm_jobs
            if any(_may_be_told_soon(job, task) for task in resolve(job, select(job.job_id)).tasks)
        ]
        if not lagging:
            break
        time.sleep(pause)
        pause *= 2
        later = _look(context, cluster, lagging, for_record=True)
        again = {job.job_id for job in lagging}
        seen = Observation(
            [*(row for row in seen.queue if row.task.job_id not in again), *later.queue],
            [*(row for row in seen.accounting if row.task.job_id not in again), *later.accounting],
            later.queue_failure,
            later.accounting_failure,
            time=later.time,
        )
    return seen


def _with_earlier_runs(
    context: Context, cluster: str, slurm_jobs: Sequence[SlurmJob], seen: Observation
) -> Observation:
    """Add the runs of jobs that Slurm has started again, which have a later submit time."""
    submitted = {job.job_id: job.submitted for job in slurm_jobs if job.submitted and job.tasks}
    rows: list[QueueRow | AccountingRow] = [*seen.queue, *seen.accounting]
    again = {
        row.task.job_id
        for row in rows
        if (moment := row.submitted) and moment > submitted.get(row.task.job_id, moment)
    }
    if not again or not seen.has_accounting:
        return seen
    since = min(submitted[job_id] for job_id in again)
    try:
        runs = sacct.show_all(again, cluster, since, context.settings.query_timeout)
    except QueryFailedError as exc:
        lgr.warning(
            "Slurm has started jobs again (%s), and what became of their earlier runs is not "
            "known: records of these jobs do not list them; %s",
            ", ".join(map(str, sorted(again))), exc,
        )  # fmt: skip
        return seen
    return seen._replace(runs=runs)


def _may_be_told_soon(job: SlurmJob, task: TaskStatus) -> bool:
    """Return whether the accounting is about to tell more of a task."""
    if task.answer is Answer.NOT_YET:
        is_new = job.submitted is None or job.submitted > time.time() - _NEW
        return bool(task.word) or is_new
    return task.has_ended and task.facts is None
