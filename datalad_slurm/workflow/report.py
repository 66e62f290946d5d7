"""Tell what the jobs of a history cost, from their records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datalad_slurm.dataset.contents import Contents
from datalad_slurm.dataset.history import Change, Commit
from datalad_slurm.dataset.paths import inside
from datalad_slurm.jobs.errors import InvalidRequestError, RecordError
from datalad_slurm.jobs.job_choice import Choice, chosen
from datalad_slurm.jobs.job_summary import OPEN, Run, Summary, facts_files, summarise, wants_facts
from datalad_slurm.jobs.job_totals import totals
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.record import RunRecord, parse_ending
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.history import Selection, changes_of, commits_of, record_of

__all__ = [
    "REPORT_ACTION",
    "TOTALS_ACTION",
    "Finding",
    "open_summary",
    "read_jobs",
    "read_jobs_with_changes",
    "relative",
    "report",
    "select",
]

REPORT_ACTION = "slurm-report"
TOTALS_ACTION = "slurm-report [totals]"
#: No file of facts is longer: an array of a million tasks has 500 MB (bytes).
_LONGEST_FACTS = 2**30


@dataclass(frozen=True)
class Finding:
    """A job of the history, or why a commit tells of none."""

    commit: Commit
    record: RunRecord | None = None
    summary: Summary | None = None
    error: str = ""

    def outcome(self, action: str = REPORT_ACTION) -> Outcome:
        """Return the result of a commit from which no job could be read."""
        said = self.error or f"commit {self.commit.id[:10]} holds no record of a Slurm job"
        return Outcome(action, "error", said)


def select(text: str | None) -> Selection:
    """Return which commits are meant, as ``git log`` has it.

    Raises
    ------
    InvalidRequestError
        When it is a range that has no beginning.
    """
    if text is None:
        return Selection(since="")
    if "..." in text:
        raise InvalidRequestError(
            f"'{text}' has three dots; name commits by FROM..TO, or TO for all up to it"
        )
    if text.endswith("^!"):
        return Selection(text.removesuffix("^!"))
    since, dots, until = text.partition("..")
    if not dots:
        return Selection(text, "")
    return Selection(until or "HEAD", since or "HEAD")


def read_jobs(context: Context, selection: Selection, contents: Contents) -> Iterator[Finding]:
    """Yield the jobs of a history, the oldest first; one at a time is held.

    Raises
    ------
    InvalidRequestError
        When a revision names no commit.
    """
    for commit in commits_of(context, selection):
        finding = _find_job(context, commit, contents)
        if finding.summary or finding.error or not selection.is_range:
            yield finding


def read_jobs_with_changes(
    context: Context, selection: Selection, contents: Contents
) -> Iterator[tuple[Finding, list[Change]]]:
    """Yield what `read_jobs` does, the newest first, with what each commit has changed.

    Raises
    ------
    InvalidRequestError
        When a revision names no commit.
    """
    for commit, changes in changes_of(context, selection):
        finding = _find_job(context, commit, contents)
        if finding.summary or finding.error or not selection.is_range:
            yield finding, changes


def _find_job(context: Context, commit: Commit, contents: Contents) -> Finding:
    try:
        record = record_of(context, commit)
    except RecordError as exc:
        return Finding(commit, error=f"commit {commit.id[:10]}: {exc}")
    if record is None:
        return Finding(commit)
    return Finding(commit, record, _summary(contents, commit, record))


def _summary(contents: Contents, commit: Commit, record: RunRecord) -> Summary:
    facts = []
    for path in facts_files(record) if wants_facts(record) else ():
        raw = contents.read(f"{commit.id}:{path}", _LONGEST_FACTS)
        try:
            found = json.loads(raw or b"null")
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            facts.append(found)
    return summarise(
        record,
        ending=parse_ending(commit.message),
        commit=commit.id,
        date=commit.date,
        facts=facts,
    )


def open_summary(job: TrackedJob) -> Summary:
    """Return an open job in short: what was noted at its submission."""
    last = job.slurm_jobs[-1]
    run = Run(last.job_id, OPEN, submitted=last.submitted or job.claimed_at)
    earlier = [Run(entry["slurm_job_id"], entry.get("state", "")) for entry in job.attempts]
    return Summary(
        job_id=job.job_id,
        label=job.label,
        name=last.name,
        state=OPEN,
        last=run,
        runs=(*earlier, run),
        attempts=job.attempt,
        cluster=last.cluster,
        tasks=max(1, len(job.tasks)),
        outputs=tuple(path or "." for path in job.outputs),
        cmd=job.cmd,
    )


def report(
    context: Context, selection: Selection, choice: Choice, *, with_open: bool
) -> Iterator[Outcome]:
    """Yield the jobs that are wanted, each with what it cost.

    Parameters
    ----------
    context : Context
        The dataset.
    selection : Selection
        The commits.
    choice : Choice
        Which of their jobs, in which order.
    with_open : bool
        Whether open jobs are meant as well.

    Raises
    ------
    InvalidRequestError
        When a revision names no commit.
    """
    jobs: list[Summary] = []
    with Contents(context.repo) as contents:
        for finding in read_jobs(context, selection, contents):
            if finding.summary is None:
                yield finding.outcome()
            else:
                jobs.append(finding.summary)
    if with_open:
        jobs += (open_summary(job) for job in context.tracker.open_jobs() if job.is_submitted)
    wanted = chosen(jobs, choice)
    for job in wanted:
        yield Outcome(REPORT_ACTION, "ok", type="dataset", details=job.to_json())
    yield Outcome(TOTALS_ACTION, "ok", type="dataset", details=totals(wanted).to_json())


def relative(context: Context, path: str, cwd: Path) -> str:
    """Return a path that was typed as one relative to the dataset's root.

    Raises
    ------
    InvalidRequestError
        When it lies outside.
    """
    found = inside(context.repo, str(cwd / path))
    if found is None:
        raise InvalidRequestError(f"'{path}' is outside the dataset {context.repo.root}")
    return found
