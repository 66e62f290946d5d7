"""Rows of ``squeue`` and ``sacct``: what each tells of one task."""

from __future__ import annotations

from typing import NamedTuple

from datalad_slurm.jobs.states import JobState
from datalad_slurm.jobs.tasks import TaskId

__all__ = ["AccountingRow", "QueueRow"]


class QueueRow(NamedTuple):
    """What slurmctld says of one task, by way of ``squeue``."""

    task: TaskId
    state: JobState
    word: str
    reason: str = ""
    elapsed: str = ""
    submitted: int | None = None


class AccountingRow(NamedTuple):
    """What slurmdbd says of one task, by way of ``sacct``.

    Times are seconds since the epoch, `elapsed` seconds, memory bytes.
    """

    task: TaskId
    state: JobState
    word: str
    #: the task's own job id, where `task` is part of an array or het job
    raw_id: int | None = None
    #: slurmdbd has put the row together from a step, and does not know the job itself yet
    is_provisional: bool = False
    submitted: int | None = None
    started: int | None = None
    ended: int | None = None
    elapsed: int | None = None
    time_limit: str = ""
    exit_code: str = ""
    nodes: str = ""
    partition: str = ""
    cpus: int | None = None
    cpu_seconds: float | None = None
    requested_memory: str = ""
    peak_memory: int | None = None
    cluster: str = ""
    #: who told, where it was not the accounting
    source: str = ""
    #: numeric id of the user who cancelled the task
    cancelled_by: int | None = None
