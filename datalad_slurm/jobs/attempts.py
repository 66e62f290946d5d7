"""The attempts at a job: what becomes of its Slurm jobs when some of it is submitted again.

The notes of a tracked job (`TrackedJob.extra`) hold

``attempt``
    the number of the latest attempt, where that is not the first;
``attempts``
    an entry for each run of a Slurm job that a later attempt has replaced, in whole or in some
    of its tasks, oldest first;
``submission``
    the token of the latest attempt;
``submitted_cmd``
    its command, where that differs from the job's, as it runs only some tasks;
``began``
    when the command of the latest attempt was run, by the clock of the dataset's file system
    (ns since the epoch);
``beginnings``
    the same of earlier attempts, by their numbers;
``retry``
    as long as that attempt has no Slurm job: what is to be put back if it comes to nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from datalad_slurm.jobs.archive import SCRIPTS
from datalad_slurm.jobs.facts import run_facts
from datalad_slurm.jobs.model import JobStatus, SlurmJob, TaskStatus, TrackedJob
from datalad_slurm.jobs.tasks import TaskId, expand_index_list, format_index_list

__all__ = ["Retry", "recorded_attempts", "replaced_by_retry"]


@dataclass(frozen=True)
class Retry:
    """A further attempt at a tracked job, about to be submitted."""

    #: token of the submission
    token: str
    #: command that the job has from now on
    cmd: str
    #: command that is run, where that differs
    submitted_cmd: str
    #: Slurm jobs, with those of their tasks that are not run again
    kept: tuple[SlurmJob, ...]
    #: entries for what is run again
    replaced: tuple[Mapping[str, Any], ...]
    commit_at_submission: str = ""


def replaced_by_retry(
    job: TrackedJob,
    status: JobStatus,
    tasks: Collection[TaskId],
    logs: Mapping[int, Sequence[str]],
) -> tuple[tuple[SlurmJob, ...], tuple[dict[str, Any], ...]]:
    """Return which Slurm jobs stay, with which tasks, and entries for what is run again.

    Parameters
    ----------
    job : TrackedJob
        The job.
    status : JobStatus
        How it has ended.
    tasks : collection of TaskId
        What is run again.
    logs : mapping
        Log files of what is run again, by the ids of the Slurm jobs.
    """
    kept: list[SlurmJob] = []
    entries: list[dict[str, Any]] = []
    for slurm_job in job.slurm_jobs:
        own = _tasks(slurm_job, status)
        again = [task for task in own if task in tasks]
        if len(again) < len(own) or not own:
            staying = tuple(task for task in own if task not in tasks)
            kept.append(slurm_job._replace(tasks=staying))
        if again:
            common = {"cmd": job.submitted_cmd}
            if SCRIPTS in job.identities:
                common[SCRIPTS] = job.identities[SCRIPTS]
            runs = [each | common for each in _entries(slurm_job, status, again)]
            own_logs = list(logs.get(slurm_job.job_id, ()))
            entries += [*runs[:-1], runs[-1] | ({"logs": own_logs} if own_logs else {})]
    return tuple(kept), tuple(entries)


def _tasks(slurm_job: SlurmJob, status: JobStatus) -> Sequence[TaskId]:
    if slurm_job.tasks is not None:
        return slurm_job.tasks
    return [each.task for each in status.tasks if each.task.job_id == slurm_job.job_id]


def _entries(
    slurm_job: SlurmJob, status: JobStatus, tasks: Collection[TaskId]
) -> Iterator[dict[str, Any]]:
    """Yield an entry for each run of a Slurm job: those that Slurm has cut short come first."""
    latest = status.of(tasks)
    earlier: dict[tuple[int, str], list[TaskStatus]] = {}
    for task in latest.tasks:
        for number, row in enumerate(task.earlier_runs):
            run = TaskStatus(task.task, row.state, row.word, facts=row)
            earlier.setdefault((number, row.word), []).append(run)
    for _, runs in sorted(earlier.items()):
        yield _run(slurm_job, JobStatus(tuple(runs)))
    yield _run(slurm_job, latest) if earlier else _entry(slurm_job, status, tasks)


def _run(slurm_job: SlurmJob, status: JobStatus) -> dict[str, Any]:
    """Return the entry of one of several runs, each of which has a submit time of its own."""
    moments = [task.facts.submitted for task in status.tasks if task.facts]
    submitted = min(filter(None, moments), default=slurm_job.submitted)
    tasks = [task.task for task in status.tasks]
    return _entry(slurm_job._replace(submitted=submitted), status, tasks)


def _entry(slurm_job: SlurmJob, status: JobStatus, tasks: Collection[TaskId]) -> dict[str, Any]:
    entry = {
        "attempt": slurm_job.attempt,
        "slurm_job_id": slurm_job.job_id,
        **run_facts([slurm_job], status.of(tasks)),
    }
    indices = [task.index for task in tasks if task.index >= 0]
    return entry | ({"tasks": format_index_list(indices)} if indices else {})


def _concerns(entry: Mapping[str, Any], indices: Set[int]) -> bool:
    """Return whether an earlier attempt was one at some tasks."""
    tasks = entry.get("tasks")
    return tasks is None or not indices.isdisjoint(expand_index_list(tasks))


def recorded_attempts(
    job: TrackedJob, status: JobStatus, logs: Collection[str]
) -> list[dict[str, Any]]:
    """Return all attempts for the record, the committed one last; none where there was but one.

    A run after which Slurm has started the job again is an entry of the same attempt.

    Parameters
    ----------
    job : TrackedJob
        The job.
    status : JobStatus
        How its present Slurm jobs have ended.
    logs : collection of str
        Log files of those. What an earlier attempt has written there is gone, or is
        followed by what they wrote: its entry lists them as ``overwritten_logs``.
    """
    indices = {task.index for task in job.tasks}
    earlier = [dict(entry) for entry in job.attempts if _concerns(entry, indices)]
    if not earlier and not any(task.earlier_runs for task in status.tasks):
        return []
    present = [
        entry | ({"cmd": job.submitted_cmd} if slurm_job.attempt == job.attempt else {})
        for slurm_job in job.slurm_jobs
        if (tasks := _tasks(slurm_job, status))
        for entry in _entries(slurm_job, status, tasks)
    ]
    entries = sorted([*earlier, *present], key=lambda entry: entry["attempt"])
    later = set(logs)
    for entry in reversed(entries):
        if entry.get("cmd") == job.cmd:
            del entry["cmd"]
        scripts = entry.pop(SCRIPTS, ())
        if scripts and scripts != job.identities.get(SCRIPTS):
            entry["script"] = scripts[0] if len(scripts) == 1 else scripts
        own = entry.pop("logs", [])
        told = {
            "logs": [path for path in own if path not in later],
            "overwritten_logs": [path for path in own if path in later],
        }
        entry.update((key, paths) for key, paths in told.items() if paths)
        later.update(own)
    return entries
