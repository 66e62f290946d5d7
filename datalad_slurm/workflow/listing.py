"""List the open jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from datalad_slurm.jobs.dependencies import DEPENDS_ON
from datalad_slurm.jobs.model import Answer, JobStatus, TrackedJob
from datalad_slurm.jobs.names import JobName
from datalad_slurm.jobs.notes import RELEASED
from datalad_slurm.jobs.states import JobState
from datalad_slurm.jobs.task_outputs import shown
from datalad_slurm.workflow.context import Context, Outcome, open_jobs
from datalad_slurm.workflow.observe import observe
from datalad_slurm.workflow.relations import relations_of
from datalad_slurm.workflow.submissions import settle_claims
from datalad_slurm.workflow.vain_waits import with_vain_waits

__all__ = ["LIST_ACTION", "list_open_jobs"]

LIST_ACTION = "list-open-jobs"


def list_open_jobs(context: Context, names: Sequence[JobName] | None = None) -> Iterator[Outcome]:
    """Yield each open job with its state, in the order of their scheduling.

    Raises
    ------
    InvalidRequestError
        When a job is named that is not open here, or jobs of several clusters are.
    """
    settle_claims(context)
    jobs = open_jobs(context, names)
    statuses = with_vain_waits(jobs, observe(context, jobs))
    for job in jobs:
        yield _entry(job, statuses[job.id])
    failures = dict.fromkeys(
        statuses[job.id].failure
        for job in jobs
        if any(task.answer is Answer.QUERY_FAILED for task in statuses[job.id].tasks)
    )
    for failure in failures:
        yield Outcome(LIST_ACTION, "error", f"Slurm did not tell all states: {failure}")


def _entry(job: TrackedJob, status: JobStatus) -> Outcome:
    submitted = job.slurm_jobs[0].submitted or job.claimed_at
    ended = [task for task in status.tasks if task.has_ended]
    running = [task for task in status.tasks if not task.has_ended] if ended else status.tasks
    elapsed = max((task.elapsed for task in running or status.tasks), key=_by_length, default="")
    done = sum(task.is_ok for task in ended)
    by_state: dict[str, int] = {}
    for task in status.tasks:
        word = task.word or JobState.UNKNOWN.value
        by_state[word] = by_state.get(word, 0) + 1
    released = job.extra.get(RELEASED, 0)
    before = f"{released} finished before" if released else ""
    return Outcome(
        LIST_ACTION,
        "ok",
        type="dataset",
        details={
            "slurm_job_id": job.job_id,
            "slurm_job_ids": [slurm_job.job_id for slurm_job in job.slurm_jobs],
            "slurm_job_status": status.word,
            "cluster": job.slurm_jobs[0].cluster,
            "name": job.slurm_jobs[0].name,
            "progress": ", ".join(filter(None, [status.progress, before])),
            "never_starts": status.never_starts,
            DEPENDS_ON: [relation.to_json() for relation in relations_of(job)],
            "tasks_total": len(status.tasks),
            "tasks_finished_before": released,
            "tasks_by_state": by_state,
            "tasks_done": done,
            "tasks_failed": len(ended) - done,
            "elapsed": elapsed,
            "reason": next((t.reason for t in running if t.reason not in ("", "None")), ""),
            "submitted": datetime.fromtimestamp(submitted, UTC).isoformat(),
            "cmd": job.cmd,
            "pwd": job.pwd,
            "alt_dir": job.alt_dir or None,
            "outputs": [path or "." for path in shown(job)],
        },
    )


def _by_length(elapsed: str) -> tuple[int, str]:
    return len(elapsed), elapsed
