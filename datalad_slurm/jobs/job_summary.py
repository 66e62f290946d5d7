"""A job in short: what it cost, how it went, what it has made.

What a record holds is anybody's text; what is not of its kind counts as not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from datalad_slurm.jobs.efficiency import asked_memory, count_nodes, share
from datalad_slurm.jobs.record import RunRecord
from datalad_slurm.jobs.tasks import expand_index_list

__all__ = ["OPEN", "Run", "Summary", "facts_files", "summarise", "wants_facts"]

#: Stands for the state of a job that was not finished yet: Slurm is not asked.
OPEN = "OPEN"


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt at a job. Times are seconds since the epoch."""

    job_id: int
    state: str
    submitted: int | None = None
    started: int | None = None
    ended: int | None = None
    #: time that its CPUs were allocated, summed up (s)
    allocated: float | None = None
    #: time that they were used (s)
    used: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the attempt for a result."""
        return {
            "slurm_job_id": self.job_id,
            "slurm_state": self.state,
            "submitted": _iso(self.submitted),
            "started": _iso(self.started),
            "ended": _iso(self.ended),
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """A job, committed or open. Times are seconds since the epoch, memory is in bytes."""

    job_id: int
    #: the id, with the tasks in question when these are not all
    label: str
    name: str
    state: str
    #: the attempt that counts; of an array with tasks that were run again, all of it
    last: Run
    #: each attempt, or each part of one
    runs: tuple[Run, ...]
    attempts: int = 1
    cluster: str = ""
    exit_code: str = ""
    tasks: int = 1
    #: how long the last attempt ran, of an array from first start to last end (s)
    ran: int | None = None
    cpus: int | None = None
    nodes: int = 0
    memory_used: int | None = None
    memory_asked: int | None = None
    outputs: tuple[str, ...] = ()
    cmd: str = ""
    #: empty for an open job
    commit: str = ""
    date: str = ""

    @property
    def waited(self) -> int | None:
        """Seconds from the submission of the last attempt to its start."""
        run = self.last
        if run.submitted is None or run.started is None:
            return None
        return max(0, run.started - run.submitted)

    @property
    def cpu_efficiency(self) -> float | None:
        """The part of the CPU time allocated to the last attempt that it has used."""
        return share(self.last.used, self.last.allocated)

    @property
    def memory_efficiency(self) -> float | None:
        """The part of the memory asked for that was used.

        Slurm tells the peak of single tasks; on several nodes nobody knows the sum.
        """
        return share(self.memory_used, self.memory_asked) if self.nodes <= 1 else None

    def to_json(self) -> dict[str, Any]:
        """Return the job for a result; what is not known is None."""
        run = self.last
        return {
            "slurm_job_id": self.job_id,
            "label": self.label,
            "cluster": self.cluster,
            "name": self.name,
            "slurm_state": self.state,
            "exit_code": self.exit_code or None,
            "attempts": self.attempts,
            "runs": [each.to_json() for each in self.runs],
            "tasks": self.tasks,
            "submitted": _iso(run.submitted),
            "started": _iso(run.started),
            "ended": _iso(run.ended),
            "waited": self.waited,
            "ran": self.ran,
            "cpus": self.cpus,
            "cpu_seconds": run.used,
            "cpu_seconds_allocated": run.allocated,
            "cpu_efficiency": self.cpu_efficiency,
            "memory_used": self.memory_used,
            "memory_asked": self.memory_asked,
            "memory_efficiency": self.memory_efficiency,
            "outputs": list(self.outputs),
            "cmd": self.cmd,
            "commit": self.commit or None,
            "date": self.date or None,
        }


def wants_facts(record: RunRecord) -> bool:
    """Return whether only the file of facts tells how long each task ran."""
    return isinstance(record.slurm.get("tasks"), list)


def facts_files(record: RunRecord) -> list[str]:
    """Return the paths of a job's files of facts."""
    return [path for path in record.slurm_outputs if path.endswith(".env.json")]


def summarise(
    record: RunRecord,
    *,
    ending: str,
    commit: str,
    date: str,
    facts: Iterable[Mapping[str, Any]] = (),
) -> Summary:
    """Return a committed job in short.

    Parameters
    ----------
    record : RunRecord
        Its record. One of datalad-slurm 0.2 tells neither times nor resources.
    ending : str
        How it ended, as the commit's first line has it.
    commit, date : str
        Id of the commit, and when it was made.
    facts : iterable of mapping
        What its files of facts hold, where `wants_facts`.
    """
    slurm = record.slurm
    state = _text(slurm.get("state")) or ending.upper().replace(" ", "_") or "UNKNOWN"
    array_tasks = _text(slurm.get("array_tasks"))
    last = _run(dict(slurm) | {"slurm_job_id": record.slurm_job_id, "state": state})
    tasks = sum(_count(each.get("count")) or 0 for each in _objects(slurm.get("tasks"))) or 1
    if wants_facts(record):
        last = replace(last, allocated=_allocated(facts, array_tasks, tasks))
    entries = _objects(slurm.get("attempts"))
    nodes = count_nodes(_text(slurm.get("nodes")))
    return Summary(
        job_id=record.slurm_job_id,
        label=f"{record.slurm_job_id}_[{array_tasks}]" if array_tasks else str(record.slurm_job_id),
        name=_text(slurm.get("name")),
        state=state,
        last=last,
        runs=tuple(map(_run, entries)) or (last,),
        attempts=max((_count(each.get("attempt")) or 1 for each in entries), default=1),
        cluster=_text(slurm.get("cluster")),
        exit_code=_text(slurm.get("exit_code")),
        tasks=tasks,
        ran=_count(slurm.get("elapsed")),
        cpus=_count(slurm.get("cpus")),
        nodes=nodes,
        memory_used=_count(slurm.get("peak_memory")),
        memory_asked=asked_memory(
            _text(slurm.get("requested_memory")), _count(slurm.get("cpus")), nodes
        ),
        outputs=record.declared_outputs,
        cmd=record.cmd,
        commit=commit,
        date=date,
    )


def _run(entry: Mapping[str, Any]) -> Run:
    elapsed, cpus = _count(entry.get("elapsed")), _count(entry.get("cpus"))
    # tasks run side by side, and of several only their own rows tell how long each ran
    is_one = elapsed is not None and cpus is not None and not entry.get("tasks")
    return Run(
        job_id=_count(entry.get("slurm_job_id")) or 0,
        state=_text(entry.get("state")),
        submitted=_moment(entry.get("submit")),
        started=_moment(entry.get("start")),
        ended=_moment(entry.get("end")),
        allocated=float((elapsed or 0) * (cpus or 0)) if is_one else None,
        used=_amount(entry.get("cpu_seconds")),
    )


def _allocated(facts: Iterable[Mapping[str, Any]], array_tasks: str, tasks: int) -> float | None:
    """Return the CPU time allocated to tasks together (s), if it is known of all of them."""
    try:
        wanted = set(expand_index_list(array_tasks)) if array_tasks else None
    except ValueError:
        return None
    total, count = 0.0, 0
    for row in (row for each in facts for row in _objects(each.get("accounting"))):
        index = _text(row.get("task")).rpartition("_")[2]
        if wanted is not None and not (index.isdigit() and int(index) in wanted):
            continue
        elapsed, cpus = _count(row.get("elapsed")), _count(row.get("cpus"))
        if elapsed is None or cpus is None:
            return None
        total += elapsed * cpus
        count += 1
    return total if count == tasks else None


def _objects(value: object) -> Sequence[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _amount(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 2**63 else None


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < 2**63 else None


def _moment(value: object) -> int | None:
    try:
        return int(datetime.fromisoformat(_text(value)).timestamp())
    except (ValueError, OverflowError, OSError):
        return None


def _iso(moment: int | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()
