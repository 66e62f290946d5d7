"""Put together what slurmctld, the accounting and the job itself say of it.

slurmctld (``squeue``) is current but forgets a job MinJobAge after its end.
Accounting (``sacct``) remembers, but lags by seconds, shows some tasks of an
array before others, and may be down, switched off or closed to users. What the
job noted itself counts where slurmctld has forgotten it and the accounting
shows no ending.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from datalad_slurm.jobs.endings import Ending
from datalad_slurm.jobs.model import Answer, JobStatus, SlurmJob, TaskStatus
from datalad_slurm.jobs.slurm_rows import AccountingRow, QueueRow
from datalad_slurm.jobs.states import JobState
from datalad_slurm.jobs.tasks import TaskId

__all__ = ["Observation", "combine", "resolve"]

#: Clocks of login node and controller may differ; ids are not reused this fast (seconds).
_SUBMIT_TIME_SLACK = 300
#: Seconds after the last task's end until tasks that nobody mentions are believed to be gone.
_SETTLED = 60
#: The same for an array of which it is not known how many tasks it has.
_SETTLED_UNKNOWN_SIZE = 3600


class Observation(NamedTuple):
    """What one look at Slurm brought. A failure holds the reason, or is empty."""

    queue: Sequence[QueueRow] = ()
    accounting: Sequence[AccountingRow] = ()
    queue_failure: str = ""
    accounting_failure: str = ""
    #: False where Slurm was set up without accounting, which is no failure
    has_accounting: bool = True
    #: what jobs of the cluster whose slurmctld has answered noted themselves
    endings: Mapping[TaskId, Ending] = MappingProxyType({})
    #: every run of jobs that Slurm has started again, where that was asked for
    runs: Sequence[AccountingRow] = ()
    #: when it was taken, seconds since the epoch
    time: float = 0.0

    @property
    def is_whole(self) -> bool:
        """Whether both slurmctld and the accounting have answered."""
        return not self.queue_failure and not self.accounting_failure


def resolve(job: SlurmJob, seen: Observation) -> JobStatus:
    """Return the status of one Slurm job.

    Rows of other jobs, and rows of an earlier job that had the same id, are
    left out. Only a state that is certain is `Answer.KNOWN`.
    """
    queue = {row.task: row for row in seen.queue if _is_of(job, row.task, row.submitted)}
    accounting = {row.task: row for row in seen.accounting if _is_of(job, row.task, row.submitted)}
    noted = {task: note for task, note in seen.endings.items() if task.job_id == job.job_id}
    over = {task: note.as_row(note.state) for task, note in noted.items()} | accounting
    plain = (TaskId(job.job_id),)
    tasks = job.tasks
    is_complete = tasks is not None
    if tasks is None:
        tasks = tuple(sorted({*queue, *over})) or plain
        settled = _has_settled(over.values(), seen, _SETTLED_UNKNOWN_SIZE)
        is_forgotten = not queue and not seen.queue_failure
        is_complete = is_forgotten and bool(over) and (tasks == plain or settled)
    statuses = tuple(
        _resolve_task(task, queue.get(task), accounting.get(task), noted.get(task), seen)
        for task in tasks
    )
    if not queue and tasks != plain and _has_settled(over.values(), seen, _SETTLED):
        # seen on 22.05: of an array's task that is cancelled while it waits, nothing is kept
        statuses = tuple(map(_gone_if_unseen, statuses))
    if seen.runs or any(note.earlier for note in noted.values()):
        earlier = (
            _before(job, queue.get(task) or accounting.get(task), seen)
            or _noted_before(noted, task)
            for task in tasks
        )
        pairs = zip(statuses, earlier, strict=True)
        statuses = tuple(status._replace(earlier_runs=runs) for status, runs in pairs)
    failures = (seen.queue_failure, seen.accounting_failure)
    return JobStatus(statuses, is_complete, "; ".join(filter(None, failures)))


def _has_settled(rows: Iterable[AccountingRow], seen: Observation, seconds: float) -> bool:
    """Return whether all that is known of a job has ended, and that for some time."""
    rows = list(rows)
    # a run that noted nothing but its beginning is over all the same
    moments = [row.started if row.source and row.ended is None else row.ended for row in rows]
    return (
        bool(rows)
        and seen.is_whole
        and all(row.state.has_ended for row in rows)
        and all(moment is not None and moment < seen.time - seconds for moment in moments)
    )


def _gone_if_unseen(status: TaskStatus) -> TaskStatus:
    if status.answer is not Answer.NOT_YET or status.word:
        return status
    return TaskStatus(status.task, JobState.CANCELLED, JobState.CANCELLED.value)


def _before(
    job: SlurmJob, latest: QueueRow | AccountingRow | None, seen: Observation
) -> tuple[AccountingRow, ...]:
    """Return the runs of a task before the latest one; a change of its size begins no other."""
    if latest is None or latest.submitted is None or job.submitted is None:
        return ()
    return tuple(
        run
        for run in seen.runs
        if run.task == latest.task
        and run.submitted is not None
        and job.submitted <= run.submitted < latest.submitted
        and run.ended is not None
        and run.state is not JobState.RESIZING
    )


def _noted_before(noted: Mapping[TaskId, Ending], task: TaskId) -> tuple[AccountingRow, ...]:
    """Return the runs before the latest one, as the task itself has noted them."""
    # how such a run ended is what Slurm did to it, not what its script made of that
    return (
        tuple(run.as_row(JobState.REQUEUED) for run in noted[task].earlier) if task in noted else ()
    )


def combine(statuses: Iterable[JobStatus]) -> JobStatus:
    """Return the status of a command that submitted several Slurm jobs."""
    parts = list(statuses)
    if len(parts) == 1:
        return parts[0]
    return JobStatus(
        tuple(task for part in parts for task in part.tasks),
        all(part.is_complete for part in parts),
        next((part.failure for part in parts if part.failure), ""),
    )


def _is_of(job: SlurmJob, task: TaskId, submitted: int | None) -> bool:
    if task.job_id != job.job_id:
        return False
    if submitted is None or job.submitted is None:
        return True
    # A requeue moves the submit time forward, never back.
    return submitted >= job.submitted - _SUBMIT_TIME_SLACK


def _resolve_task(
    task: TaskId,
    queued: QueueRow | None,
    accounted: AccountingRow | None,
    noted: Ending | None,
    seen: Observation,
) -> TaskStatus:
    if queued is not None:
        # sacct's facts may be those of an earlier run, or not there yet
        is_current = accounted is not None and accounted.state is queued.state
        facts = accounted if accounted and is_current and not accounted.is_provisional else None
        if facts is None and noted is not None and queued.state.has_ended:
            facts = noted.as_row(queued.state)
        return TaskStatus(
            task, queued.state, queued.word, Answer.KNOWN, queued.reason, queued.elapsed, facts
        )
    if noted is not None and not seen.queue_failure:
        # slurmctld does not have the task any more, so there will be no other run of it
        is_told = accounted is not None and accounted.state.has_ended
        if not is_told and (noted.ended is not None or not seen.has_accounting):
            return TaskStatus(
                task,
                noted.state,
                noted.state.value,
                facts=noted.as_row(noted.state),
                is_unexplained=noted.ended is None,
            )
    if accounted is None:
        failed = seen.queue_failure or seen.accounting_failure
        answer = Answer.QUERY_FAILED if failed else Answer.NOT_YET
        return TaskStatus(task, JobState.UNKNOWN, "", answer)
    state = accounted.state
    answer = Answer.KNOWN
    if seen.queue_failure:
        if state.may_start_again:
            answer = Answer.QUERY_FAILED
    elif not state.has_ended:
        # slurmctld does not have it any more, so it has ended, but not known how
        answer = Answer.NOT_YET
    return TaskStatus(task, state, accounted.word, answer, facts=accounted)
