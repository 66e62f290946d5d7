"""Jobs, their tasks, and what Slurm said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple

from datalad_slurm.jobs.logs import LogName
from datalad_slurm.jobs.process import Process
from datalad_slurm.jobs.slurm_rows import AccountingRow
from datalad_slurm.jobs.states import JobState
from datalad_slurm.jobs.tasks import TaskId, format_index_list, name_tasks

__all__ = [
    "NEVER_SATISFIED",
    "Answer",
    "JobStatus",
    "SlurmJob",
    "TaskStatus",
    "TrackedJob",
]

#: slurmctld's reason for a job whose dependency cannot be met any more
NEVER_SATISFIED = "DependencyNeverSatisfied"
#: Above this many tasks a message names ranges instead of every task.
_TASKS_NAMED_ONE_BY_ONE = 20


class Answer(Enum):
    """How much is known of a task's state."""

    KNOWN = "known"
    #: slurmctld has forgotten the task, or never had it, and accounting lags
    NOT_YET = "not known yet"
    QUERY_FAILED = "the query failed"


class TaskStatus(NamedTuple):
    """State of one task, and how sure it is."""

    task: TaskId
    state: JobState
    #: the state in Slurm's own word, which may be one we do not know
    word: str
    answer: Answer = Answer.KNOWN
    #: slurmctld's reason for waiting
    reason: str = ""
    elapsed: str = ""
    facts: AccountingRow | None = None
    #: it is over, but nobody knows how it ended
    is_unexplained: bool = False
    #: runs after which Slurm has started it again, oldest first, where those were asked for
    earlier_runs: tuple[AccountingRow, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether the task is known to have ended."""
        return self.answer is Answer.KNOWN and self.state.has_ended

    @property
    def is_ok(self) -> bool:
        """Whether the task is known to have completed."""
        return self.answer is Answer.KNOWN and self.state.is_ok

    @property
    def never_starts(self) -> bool:
        """Whether the task waits for a job that did not end as it should."""
        is_waiting = self.answer is Answer.KNOWN and self.state.waits
        return is_waiting and self.reason == NEVER_SATISFIED


class JobStatus(NamedTuple):
    """State of all tasks of one tracked job."""

    tasks: tuple[TaskStatus, ...]
    #: whether these are all tasks there are
    is_complete: bool = True
    #: why a query failed
    failure: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether every task is known to have ended."""
        return self.is_complete and bool(self.tasks) and all(t.has_ended for t in self.tasks)

    @property
    def is_ok(self) -> bool:
        """Whether every task is known to have completed."""
        return self.has_ended and all(task.is_ok for task in self.tasks)

    @property
    def never_starts(self) -> bool:
        """Whether all that has not ended waits in vain for another job."""
        going = [task for task in self.tasks if not task.has_ended]
        return bool(going) and all(task.never_starts for task in going)

    @property
    def is_unexplained(self) -> bool:
        """Whether every task is over, but of some it is not known how they ended."""
        return self.has_ended and any(task.is_unexplained for task in self.tasks)

    @property
    def is_answered(self) -> bool:
        """Whether the state of every task is known."""
        return bool(self.tasks) and all(task.answer is Answer.KNOWN for task in self.tasks)

    @property
    def is_unknown(self) -> bool:
        """Whether Slurm has answered, and knows nothing of any task."""
        return not self.failure and all(
            task.answer is Answer.NOT_YET and not task.word for task in self.tasks
        )

    @property
    def word(self) -> str:
        """One word for the whole job, in Slurm's terms.

        While it has not ended the liveliest state counts, afterwards the
        failure, if there was one: ``FAILED`` when tasks failed in several ways.
        """
        if not self.is_answered:
            return JobState.UNKNOWN.value
        open_words = [task.word for task in self.tasks if not task.state.has_ended]
        if open_words or not self.is_complete:
            begun = [t.word for t in self.tasks if not t.state.has_ended and not t.state.waits]
            if not begun and len(open_words) < len(self.tasks):
                return JobState.RUNNING.value  # some tasks have run, the others still wait
            words = begun or open_words
            return max(dict.fromkeys(words), key=words.count)
        bad = {task.state for task in self.tasks if not task.state.is_ok}
        if not bad:
            return JobState.COMPLETED.value
        return bad.pop().value if len(bad) == 1 else JobState.FAILED.value

    @property
    def progress(self) -> str:
        """How far an array is, such as ``3/10 done, 1 failed, 4 running``; empty for one task."""
        if len(self.tasks) < 2:
            return ""
        done = sum(task.is_ok for task in self.tasks)
        failed = sum(task.has_ended and not task.is_ok for task in self.tasks)
        waiting = [t for t in self.tasks if t.answer is Answer.KNOWN and not t.has_ended]
        open_words = Counter(task.word.lower() for task in waiting)
        told = [f"{failed} failed"] if failed else []
        told += [f"{count} {word}" for word, count in sorted(open_words.items())]
        return ", ".join([f"{done}/{len(self.tasks)} done", *told])

    def of(self, tasks: Collection[TaskId]) -> JobStatus:
        """Return the status of some of the tasks."""
        return self._replace(tasks=tuple(task for task in self.tasks if task.task in tasks))

    def describe(self) -> str:
        """Return each task with its state: ``12_0: COMPLETED, 12_1: TIMEOUT``."""
        if len(self.tasks) <= _TASKS_NAMED_ONE_BY_ONE:
            return ", ".join(f"{task.task}: {_state_text(task)}" for task in self.tasks)
        single = []
        groups: dict[tuple[int, str], list[int]] = {}
        for task in self.tasks:
            if task.task.index < 0:
                single.append(f"{task.task}: {_state_text(task)}")
                continue
            groups.setdefault((task.task.job_id, _state_text(task)), []).append(task.task.index)
        return ", ".join(
            single
            + [
                f"{job_id}_[{format_index_list(indices)}]: {text}"
                for (job_id, text), indices in groups.items()
            ]
        )


def _state_text(task: TaskStatus) -> str:
    if task.answer is Answer.KNOWN:
        return task.word
    return f"{task.answer.value} (last seen {task.word})" if task.word else task.answer.value


class SlurmJob(NamedTuple):
    """One job that Slurm took from a tracked command."""

    job_id: int
    #: cluster it was sent to with ``-M``; empty for the default one
    cluster: str = ""
    #: seconds since the epoch
    submitted: int | None = None
    #: number of the attempt, from 1
    attempt: int = 1
    name: str = ""
    work_dir: str = ""
    logs: tuple[LogName, ...] = ()
    #: every task the job has, but for those that were finished before the others; None as long
    #: as slurmctld could not be asked
    tasks: tuple[TaskId, ...] | None = None
    #: further answers of ``scontrol show job``, without names of users
    facts: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class TrackedJob:
    """One scheduled command, from its claim to its commit.

    Paths are relative to the dataset's root, except `declared_outputs` and
    `inputs`, which are as typed, relative to `pwd`.
    """

    id: int
    token: str
    cmd: str
    pwd: str
    dsid: str
    outputs: tuple[str, ...]
    declared_outputs: tuple[str, ...] = ()
    #: what the outputs are made of where some have patterns, see `jobs.task_outputs`
    templates: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    extra_inputs: tuple[str, ...] = ()
    message: str = ""
    #: commits this one repeats, oldest first
    chain: tuple[str, ...] = ()
    #: commit that was checked out at submission; empty in a new repository
    commit_at_submission: str = ""
    #: seconds since the epoch
    claimed_at: int = 0
    claimed_by: Process | None = None
    slurm_jobs: tuple[SlurmJob, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    #: what inputs and script were at submission
    identities: Mapping[str, Any] = field(default_factory=dict)
    #: what is to be kept with it when it is claimed, by its SHA-256; not read back with it
    contents: Mapping[str, bytes] = field(default_factory=dict)
    #: where this is about some tasks only: those that are done with when these are committed
    leaving: tuple[TaskId, ...] = ()

    @property
    def is_submitted(self) -> bool:
        """Whether at least one job id is known."""
        return bool(self.slurm_jobs)

    @property
    def attempts(self) -> Sequence[Mapping[str, Any]]:
        """What is known of earlier attempts at the job, oldest first; see `jobs.attempts`."""
        return tuple(self.extra.get("attempts", ()))

    @property
    def attempt(self) -> int:
        """Number of the latest attempt, from 1."""
        return int(self.extra.get("attempt", 1))

    @property
    def is_retry(self) -> bool:
        """Whether it is being submitted again: an attempt that has no job yet."""
        return "retry" in self.extra

    @property
    def submission(self) -> str:
        """Token of the latest attempt, by which its Slurm job is found."""
        return str(self.extra.get("submission") or self.token)

    @property
    def submitted_cmd(self) -> str:
        """The command of the latest attempt, which may run only some tasks of an array."""
        return str(self.extra.get("submitted_cmd") or self.cmd)

    @property
    def alt_dir(self) -> str:
        """Absolute path of the directory that stands for the dataset's root; empty for none."""
        return str(self.extra.get("alt_dir") or "")

    @property
    def is_node_local(self) -> bool:
        """Whether it runs in a directory of its node."""
        return bool(self.extra.get("node_local"))

    @property
    def states(self) -> tuple[str, ...]:
        """Claims of its state files, as far as these are no outputs."""
        return tuple(self.extra.get("states", ()))

    @property
    def tasks(self) -> tuple[TaskId, ...]:
        """The tasks that are open, as far as they are known."""
        return tuple(task for job in self.slurm_jobs for task in job.tasks or ())

    @property
    def job_id(self) -> int:
        """Id of the first job of the command; it names the tracked job."""
        return self.slurm_jobs[0].job_id

    @property
    def label(self) -> str:
        """How messages name the job."""
        if not self.slurm_jobs:
            return f"(no id yet, claim {self.token})"
        return name_tasks(self.job_id, self.tasks if self.leaving else ())
