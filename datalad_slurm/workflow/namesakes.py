"""Tell a tracked job from a later one that got the same id.

Ids begin again after MaxJobId, or when a site sets up slurmctld anew; the
accounting then holds several jobs of one id, and shows the latest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.model import SlurmJob
from datalad_slurm.jobs.slurm_rows import AccountingRow, QueueRow
from datalad_slurm.jobs.status import Observation
from datalad_slurm.slurm import sacct, squeue

__all__ = ["without_namesakes"]


def without_namesakes(
    slurm_jobs: Sequence[SlurmJob], cluster: str, seen: Observation, timeout: float
) -> Observation:
    """Return an observation in which every row is of the job that is meant.

    A row that was submitted later than the job may be of a further run of it:
    a requeue and, in the accounting, a change of size set a new submit time.
    Only such rows cost further queries, the same few for any number of them.

    Parameters
    ----------
    slurm_jobs : sequence of SlurmJob
        The jobs that are meant, all of one cluster.
    cluster : str
        Its name, empty for the default one.
    seen : Observation
        What Slurm said of their ids.
    timeout : float
        Seconds to wait for each query.
    """
    submitted = {
        job.job_id: job.submitted
        for job in slurm_jobs
        # before slurmctld has told it, the time is that of another clock
        if job.submitted is not None and job.tasks is not None
    }
    in_queue = _first_later(seen.queue, submitted)
    in_accounting = _first_later(seen.accounting, submitted)
    if not in_queue and not in_accounting:
        return seen
    try:
        known = squeue.find_restarted(in_queue, cluster, timeout) if in_queue else set()
    except QueryFailedError as exc:
        known = set()
        seen = seen._replace(queue_failure=str(exc))
    namesakes = {job_id: moment for job_id, moment in in_queue.items() if job_id not in known}
    queue = [row for row in seen.queue if row.task.job_id not in namesakes]
    seen = seen._replace(queue=queue)
    try:
        since = _first_others({*in_accounting, *namesakes}, cluster, submitted, timeout)
        since = namesakes | since
        earlier = sacct.show(since, cluster, before=since, timeout=timeout)
    except QueryFailedError as exc:
        since, earlier = namesakes | in_accounting, []
        seen = seen._replace(accounting_failure=str(exc))
    rest = [row for row in seen.accounting if row.task.job_id not in since]
    return seen._replace(accounting=[*rest, *earlier])


def _first_later(
    rows: Sequence[QueueRow] | Sequence[AccountingRow], submitted: Mapping[int, int]
) -> dict[int, int]:
    """Return when the first later run of each id was submitted, where there is one."""
    found: dict[int, int] = {}
    for row in rows:
        job_id, moment = row.task.job_id, row.submitted
        if moment is not None and moment > submitted.get(job_id, moment):
            found[job_id] = min(moment, found.get(job_id, moment))
    return found


def _first_others(
    job_ids: set[int], cluster: str, submitted: Mapping[int, int], timeout: float
) -> dict[int, int]:
    """Return when ids were first given to other jobs, by what the accounting has of each run.

    A further run of a job has the submit line and directory of the first one,
    in which there is our token.
    """
    runs = [run for run in sacct.show_runs(job_ids, cluster, timeout) if run.job_id in job_ids]
    own: defaultdict[int, set[str]] = defaultdict(set)
    for run in runs:
        if run.submitted == submitted[run.job_id]:
            own[run.job_id].add(run.submission)
    found: dict[int, int] = {}
    for run in runs:
        is_later = run.submitted > submitted[run.job_id]
        if is_later and own[run.job_id] and run.submission not in own[run.job_id]:
            found[run.job_id] = min(run.submitted, found.get(run.job_id, run.submitted))
    return found
