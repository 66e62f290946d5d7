"""What is told of jobs that were committed, and of those that could not be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from datalad_slurm.dataset.stage import Staging
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.workflow.collect import Findings
from datalad_slurm.workflow.context import Outcome
from datalad_slurm.workflow.levels import Parcel
from datalad_slurm.workflow.verify import verified

__all__ = ["delivered", "details_of", "kept_open", "still_open", "unreadable"]


def details_of(job: TrackedJob) -> dict[str, object]:
    """Return what every result about a job has."""
    return {"slurm_job_id": job.job_id}


def unreadable(job: TrackedJob, exc: OSError) -> str:
    """Say that a job stays open, as a file cannot be read or written."""
    return still_open(job, f"{exc.strerror} ({exc.filename})")


def still_open(job: TrackedJob, reason: str) -> str:
    """Say that a job stays open."""
    return (
        f"Slurm job {job.label} was not committed and is still open: {reason}; mend that and run "
        "`datalad slurm-finish` again"
    )


def kept_open(findings: Findings, failed: Sequence[str], staging: Staging) -> Iterator[Outcome]:
    """Tell of files that could not be added, and of the job that stays open for them."""
    details = details_of(findings.job)
    for path in failed:
        yield Outcome("add", "error", staging.failures[path], path, "file", details)
    reason = f"{len(failed)} of its files could not be added, the first is '{failed[0]}'"
    yield Outcome("finish", "error", still_open(findings.job, reason), details=details)


def delivered(parcel: Parcel, commit: str, branch: str) -> Iterator[Outcome]:
    """Tell of a job that was committed, on a branch of its own where one is named."""
    findings = parcel.findings
    label = findings.job.label
    details = {**details_of(findings.job), "commit": commit}
    if branch:
        details["branch"] = branch
    added = [
        (f"{name}/{change.path}" if name else change.path, change)
        for name, changes in parcel.changes.items()
        for change in changes
    ]
    for number, (path, change) in enumerate(added):
        more = {"key": change.key} if change.key else {}
        rank = {"rank": number, "of": len(added)}
        yield Outcome("add", "ok", path=path, type="file", details=details | more | rank)
    state = {"slurm_state": findings.status.word, **findings.inputs.details()}
    said = [f"on branch {branch}"] if branch else []
    said += filter(None, [findings.inputs.message()])
    yield Outcome("save", "ok", "; ".join(said), type="dataset", details=details | state)
    yield from verified(findings, details)
    problems = dict.fromkeys(
        findings.missing, f"job {label} declared this output, but there is nothing"
    ) | dict.fromkeys(
        findings.not_committable,
        f"job {label} left something here that cannot be committed: a repository, a special "
        "file, or a link on the way that leads elsewhere",
    )
    for path, problem in problems.items():
        yield Outcome("add", "impossible", problem, path or None, details=details)
    for path, other in findings.logs_of_others.items():
        yield Outcome("add", "notneeded", f"it is a log of job {other}, which is open", path)
