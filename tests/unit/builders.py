"""Short names for what tests of a job's status are made of."""

from __future__ import annotations

from typing import Any

from datalad_slurm.jobs.model import Answer, JobStatus, TaskStatus
from datalad_slurm.jobs.slurm_rows import AccountingRow, QueueRow
from datalad_slurm.jobs.states import JobState
from datalad_slurm.jobs.tasks import TaskId

#: when the job of the tests was submitted, in seconds since the epoch
SUBMITTED = 1_700_000_000
_JOB = TaskId(12)


def queued(word: str, task: TaskId = _JOB, **more: Any) -> QueueRow:
    """Return a row of squeue."""
    return QueueRow(task, JobState.parse(word), word, **{"submitted": SUBMITTED} | more)


def accounted(word: str, task: TaskId = _JOB, **more: Any) -> AccountingRow:
    """Return a row of sacct."""
    return AccountingRow(task, JobState.parse(word), word, **{"submitted": SUBMITTED} | more)


def known(word: str, task: TaskId = _JOB, **facts: Any) -> TaskStatus:
    """Return the status of a task that is known."""
    row = accounted(word, task, **facts) if facts else None
    return TaskStatus(task, JobState.parse(word), word, facts=row)


def unknown(
    task: TaskId = _JOB,
    answer: Answer = Answer.NOT_YET,
    word: str = "",
) -> TaskStatus:
    """Return the status of a task that is not known."""
    return TaskStatus(task, JobState.parse(word), word, answer)


def array(*words: str, job_id: int = 12) -> JobStatus:
    """Return the status of an array whose tasks are known; an empty word stands for unknown."""
    return JobStatus(
        tuple(
            known(word, TaskId(job_id, index)) if word else unknown(TaskId(job_id, index))
            for index, word in enumerate(words)
        )
    )
