"""How a job went, for its record and for the file of facts beside its log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from datalad_slurm.jobs.dependencies import DEPENDS_ON, read_relations
from datalad_slurm.jobs.model import (
    JobStatus,
    SlurmJob,
    TaskStatus,
    TrackedJob,
)
from datalad_slurm.jobs.slurm_rows import AccountingRow
from datalad_slurm.jobs.task_outputs import has_patterns as is_pattern
from datalad_slurm.jobs.tasks import format_index_list

__all__ = ["job_facts", "run_facts", "task_rows"]


def job_facts(job: TrackedJob, status: JobStatus) -> dict[str, Any]:
    """Return what the record's key ``slurm`` holds.

    Times are in UTC, durations in seconds, memory in bytes. Of several tasks
    `elapsed` is the time from the first start to the last end, `cpu_seconds`
    the sum, `peak_memory` the largest. What is not known is left out. `array_tasks`
    is there when these are not all tasks of the array.
    """
    has_patterns = any(map(is_pattern, job.declared_outputs))
    facts = run_facts(job.slurm_jobs, status) | {
        "commit": job.commit_at_submission,
        "container": job.extra.get("container"),
        "depends_on": [each.to_json() for each in read_relations(job.extra.get(DEPENDS_ON))],
        "declared_outputs": [] if has_patterns else list(job.declared_outputs),
        "name": job.slurm_jobs[0].name,
        "output_patterns": list(job.declared_outputs) if has_patterns else [],
    }
    if len(job.slurm_jobs) > 1:
        facts["jobs"] = [slurm_job.job_id for slurm_job in job.slurm_jobs]
    if job.leaving:
        facts["array_tasks"] = format_index_list(sorted({task.index for task in job.tasks}))
    if len(status.tasks) > 1 or job.leaving:
        facts["tasks"] = _task_groups(status.tasks)
    return {key: value for key, value in facts.items() if value not in (None, "", [])}


def run_facts(slurm_jobs: Sequence[SlurmJob], status: JobStatus) -> dict[str, Any]:
    """Return what is known of some runs, in the terms of `job_facts`."""
    rows = [task.facts for task in status.tasks if task.facts]
    start = min((row.started for row in rows if row.started), default=None)
    end = max((row.ended for row in rows if row.ended), default=None)
    elapsed = rows[0].elapsed if len(rows) == 1 else None
    if elapsed is None and start is not None and end is not None:
        elapsed = end - start
    facts: dict[str, Any] = {
        "cluster": _common(row.cluster for row in rows) or slurm_jobs[0].cluster,
        "cpu_seconds": _sum(row.cpu_seconds for row in rows),
        "cpus": max((row.cpus for row in rows if row.cpus is not None), default=None),
        "elapsed": elapsed,
        "end": _time(end),
        "exit_code": _common(row.exit_code for row in rows),
        "nodes": ",".join(dict.fromkeys(row.nodes for row in rows if row.nodes)),
        "partition": _common(row.partition for row in rows),
        "peak_memory": max(
            (r.peak_memory for r in rows if r.peak_memory is not None), default=None
        ),
        "requested_memory": _common(row.requested_memory for row in rows),
        "source": _common(row.source for row in rows),
        "start": _time(start),
        "state": status.word,
        "submit": _time(min((s.submitted for s in slurm_jobs if s.submitted), default=None)),
        "time_limit": _common(row.time_limit for row in rows),
    }
    return {key: value for key, value in facts.items() if value not in (None, "")}


def _task_groups(tasks: Iterable[TaskStatus]) -> list[dict[str, Any]]:
    """Return tasks that ended alike as one entry each: ids, state, exit code."""
    groups: dict[tuple[int, str, str], list[TaskStatus]] = {}
    for task in tasks:
        code = task.facts.exit_code if task.facts else ""
        groups.setdefault((task.task.job_id, task.word, code), []).append(task)
    entries = []
    for (job_id, state, code), members in groups.items():
        indices = [member.task.index for member in members if member.task.index >= 0]
        name = (
            f"{job_id}_[{format_index_list(indices)}]"
            if indices
            else ",".join(str(member.task) for member in members)
        )
        entry = {"ids": name, "state": state, "count": len(members)}
        entries.append(entry | ({"exit_code": code} if code else {}))
    return entries


def task_rows(status: JobStatus, job_id: int) -> list[dict[str, Any]]:
    """Return what the accounting said of each task of a Slurm job, without names of users."""
    return [
        {"task": str(task.task), "state": task.word} | (_row(task.facts) if task.facts else {})
        for task in status.tasks
        if task.task.job_id == job_id
    ]


def _row(row: AccountingRow) -> dict[str, Any]:
    content = {
        "job_id": row.raw_id,
        "submit": _time(row.submitted),
        "start": _time(row.started),
        "end": _time(row.ended),
        "elapsed": row.elapsed,
        "time_limit": row.time_limit,
        "exit_code": row.exit_code,
        "nodes": row.nodes,
        "partition": row.partition,
        "cpus": row.cpus,
        "cpu_seconds": row.cpu_seconds,
        "requested_memory": row.requested_memory,
        "peak_memory": row.peak_memory,
        "source": row.source,
    }
    return {key: value for key, value in content.items() if value not in (None, "")}


def _time(moment: int | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()


def _common(values: Iterable[str]) -> str:
    """Return the one value there is, or all of them, joined."""
    return ",".join(dict.fromkeys(value for value in values if value))


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known), 3) if known else None
