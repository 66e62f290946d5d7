"""Why jobs have failed, in words, and what would help."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from datalad_slurm.jobs.model import JobStatus, SlurmJob, TaskStatus, TrackedJob
from datalad_slurm.jobs.quantities import (
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)
from datalad_slurm.jobs.states import JobState
from datalad_slurm.jobs.tasks import format_index_list

__all__ = ["Reason", "helpful_options", "reasons"]


@dataclass(frozen=True)
class Reason:
    """Why some tasks of a job have failed."""

    text: str
    state: str
    tasks: tuple[TaskStatus, ...]

    @property
    def ids(self) -> str:
        """The tasks, in short: ``12_[3,7-9]``."""
        names = [str(task.task) for task in self.tasks if task.task.index < 0]
        arrays: dict[int, list[int]] = {}
        for task in self.tasks:
            if task.task.index >= 0:
                arrays.setdefault(task.task.job_id, []).append(task.task.index)
        return ",".join([*names, *(_array(job_id, found) for job_id, found in arrays.items())])


def _array(job_id: int, indices: list[int]) -> str:
    listed = format_index_list(indices)
    return f"{job_id}_{listed}" if listed.isdigit() else f"{job_id}_[{listed}]"


def reasons(job: TrackedJob, status: JobStatus, user_name: Callable[[int], str]) -> list[Reason]:
    """Return why the tasks of a job have failed, those alike together.

    Parameters
    ----------
    job : TrackedJob
        The job.
    status : JobStatus
        How it ended.
    user_name : callable
        Returns how a user of this numeric id is called.
    """
    slurm_jobs = {each.job_id: each for each in job.slurm_jobs}
    groups: dict[tuple[str, str], list[TaskStatus]] = {}
    for task in status.tasks:
        if task.has_ended and not task.is_ok:
            text = _text(task, slurm_jobs.get(task.task.job_id), user_name)
            groups.setdefault((text, task.state.value), []).append(task)
    return [Reason(text, state, tuple(tasks)) for (text, state), tasks in groups.items()]


def _text(task: TaskStatus, job: SlurmJob | None, user_name: Callable[[int], str]) -> str:
    facts = task.facts
    limit, nodes = (facts.time_limit, facts.nodes) if facts else ("", "")
    by = facts.cancelled_by if facts else None
    where = f" on {nodes}" if nodes and not nodes.startswith("None") else ""
    match task.state:
        case JobState.OUT_OF_MEMORY:
            text = f"out of memory{_memory(task, job)}"
        case JobState.TIMEOUT:
            text = "it reached its time limit" + (f" of {limit}" if limit else "")
        case JobState.NODE_FAIL | JobState.BOOT_FAIL:
            text = f"a node failed{where}"
        case JobState.CANCELLED:
            text = "cancelled" + (f" by {user_name(by)}" if by is not None else "")
        case JobState.PREEMPTED:
            text = f"preempted for another job{where}"
        case JobState.DEADLINE:
            text = "it could not be done before its deadline"
        case JobState.FAILED if task.is_unexplained:
            text = "no ending was noted"
        case JobState.FAILED:
            text = _exit(facts.exit_code if facts else "")
        case _:
            text = task.word
    return text


def _exit(code: str) -> str:
    """Return in words what sacct writes as ``status:signal``."""
    status, _, number = code.partition(":")
    if number.isdigit() and int(number):
        try:
            return f"signal {number} ({signal.Signals(int(number)).name})"
        except ValueError:
            return f"signal {number}"
    if status.isdigit() and int(status):
        return f"exit code {status}"
    return "how is not known" if not code else "it could not be started"


def _memory(task: TaskStatus, job: SlurmJob | None) -> str:
    used = task.facts.peak_memory if task.facts else None
    _, asked = _asked_memory(task, job)
    told = f"used {format_size(used)}" if used is not None else ""
    if asked:
        told += f"{' of' if told else 'had'} {format_size(asked)}{' asked for' if told else ''}"
    return f" ({told})" if told else ""


def _asked_memory(task: TaskStatus, job: SlurmJob | None) -> tuple[str, int | None]:
    """Return with which option memory was asked for, and how much (bytes)."""
    known = job.facts if job else {}
    for option, key in (("--mem-per-cpu", "MinMemoryCPU"), ("--mem", "MinMemoryNode")):
        size = parse_size(known.get(key, ""))
        if size:
            return option, size
    text = task.facts.requested_memory if task.facts else ""
    return ("--mem-per-cpu" if text.endswith("c") else "--mem"), parse_size(text) or None


def helpful_options(job: TrackedJob, found: Iterable[Reason]) -> list[str]:
    """Return options with which a job might come to a good end: twice of what it lacked."""
    slurm_jobs = {each.job_id: each for each in job.slurm_jobs}
    memory: dict[str, int] = {}
    seconds = 0
    for task in (task for reason in found for task in reason.tasks):
        if task.state is JobState.OUT_OF_MEMORY:
            option, size = _asked_memory(task, slurm_jobs.get(task.task.job_id))
            if size:
                memory[option] = max(2 * size, memory.get(option, 0))
        elif task.state is JobState.TIMEOUT and task.facts:
            seconds = max(seconds, 2 * int(parse_duration(task.facts.time_limit) or 0))
    options = [f"{option}={_as_typed(size)}" for option, size in memory.items()]
    return options + ([f"--time={format_duration(seconds)}"] if seconds else [])


def _as_typed(size: int) -> str:
    megabytes = -(-size // 2**20)
    return f"{megabytes // 1024}G" if megabytes % 1024 == 0 else f"{megabytes}M"
