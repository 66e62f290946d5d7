"""Find the logs of jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from datalad_slurm.dataset.paths import foreign_repository, inside
from datalad_slurm.dataset.subdatasets import Hierarchy
from datalad_slurm.jobs.logs import candidates, names_by_task
from datalad_slurm.jobs.model import JobStatus, TrackedJob
from datalad_slurm.workflow.context import Context, lgr

__all__ = ["earlier_logs", "find_logs", "first_node", "logs_by_job", "logs_of"]

#: where a job has run that was cancelled before; the accounting may have a start of it (22.05)
_NOWHERE = "None assigned"


def logs_of(
    context: Context, jobs: Iterable[tuple[TrackedJob, JobStatus | None]]
) -> dict[str, int]:
    """Return the paths in the dataset at which jobs have, or will have, their logs."""
    found: dict[str, int] = {}
    for job, status in jobs:
        found |= dict.fromkeys(_noted_logs(job), job.job_id)
        for path in _log_paths(job, status):
            relative = inside(context.place_of(job), path)
            if relative:
                found[relative] = job.job_id
    return found


def _log_paths(job: TrackedJob, status: JobStatus | None) -> Iterator[str]:
    for slurm_job in job.slurm_jobs:
        facts = {task.task: task.facts for task in status.tasks} if status else {}
        names = names_by_task(slurm_job.logs)
        for task in slurm_job.tasks or ():
            known = facts.get(task)
            for name in names(task):
                yield from candidates(name, task, known.raw_id if known else None, "")


def _noted_logs(job: TrackedJob) -> Iterator[str]:
    """Yield the logs of earlier attempts, relative to the root, or absolute outside of it."""
    for entry in job.attempts:
        yield from entry.get("logs", ())


def earlier_logs(context: Context, job: TrackedJob) -> tuple[list[str], list[str]]:
    """Return what there is of logs of earlier attempts, as `find_logs` does."""
    root = context.place_of(job).root
    there = [path for path in dict.fromkeys(_noted_logs(job)) if (root / path).is_file()]
    elsewhere = [path for path in there if path.startswith("/")]
    return [path for path in there if not path.startswith("/")], elsewhere


def find_logs(context: Context, job: TrackedJob, status: JobStatus) -> tuple[list[str], list[str]]:
    """Return logs where the job ran, relative to the root, and logs elsewhere, absolute."""
    within: dict[str, None] = {}
    elsewhere: dict[str, None] = {}
    for slurm_job in job.slurm_jobs:
        names = names_by_task(slurm_job.logs)
        for task in status.tasks:
            if task.task.job_id != slurm_job.job_id:
                continue
            known = task.facts
            raw_id, node = (known.raw_id, first_node(known.nodes)) if known else (None, "")
            for name in names(task.task):
                paths = candidates(name, task.task, raw_id, node)
                path = next((path for path in paths if Path(path).is_file()), None)
                if path is None:
                    if known and known.started and known.nodes != _NOWHERE:
                        lgr.warning("the log %s of job %s is not there", paths[0], task.task)
                    continue
                relative = inside(context.place_of(job), path)
                if relative and _is_ours(context.hierarchy, relative):
                    within[relative] = None
                else:
                    elsewhere[path] = None
    return list(within), list(elsewhere)


def logs_by_job(context: Context, job: TrackedJob, status: JobStatus) -> dict[int, list[str]]:
    """Return the logs of a job, as a record names them, by the ids of its Slurm jobs."""
    found = {
        slurm_job.job_id: find_logs(context, replace(job, slurm_jobs=(slurm_job,)), status)
        for slurm_job in job.slurm_jobs
    }
    return {job_id: [*within, *elsewhere] for job_id, (within, elsewhere) in found.items()}


def _is_ours(hierarchy: Hierarchy, path: str) -> bool:
    return (
        ".git" not in path.split("/")
        and foreign_repository(hierarchy, path.rpartition("/")[0]) is None
        and hierarchy.is_here(hierarchy.holder(path))
    )


def first_node(nodes: str) -> str:
    """Return the first name of a node list such as ``n[1-3],m2``."""
    head, bracket, rest = nodes.partition("[")
    if not bracket:
        return nodes.partition(",")[0]
    if "," in head:
        return head.partition(",")[0]
    return head + rest.replace("]", ",").replace("-", ",").partition(",")[0]
