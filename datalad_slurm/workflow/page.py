"""Write a page about the jobs of a history."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datalad_slurm.dataset.contents import Contents
from datalad_slurm.dataset.history import Change
from datalad_slurm.dataset.tree import SUBDATASET_MODE
from datalad_slurm.jobs.claims import is_below
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.job_summary import Summary, facts_files
from datalad_slurm.jobs.job_totals import totals
from datalad_slurm.jobs.origins import reads_of
from datalad_slurm.jobs.record import RunRecord, parse_words
from datalad_slurm.page import PageWriter
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.history import Selection
from datalad_slurm.workflow.report import Finding, open_summary, read_jobs_with_changes

__all__ = ["HTML_ACTION", "write_page"]

HTML_ACTION = "slurm-report [html]"
#: The page stays below 10 MB: from so many bytes on, jobs come without their logs, then
#: without their records, then without scripts and single files.
_WITH_LOGS, _WITH_RECORDS, _WITH_ALL = 4_000_000, 6_500_000, 8_000_000
_LOGS, _LOG_BYTES, _SCRIPT_BYTES = 3, 4_000, 20_000
#: so many files of a job are named
_FILES = 1_000


def write_page(
    context: Context, selection: Selection, target: str, *, with_open: bool
) -> Iterator[Outcome]:
    """Write a page for a browser; one job at a time is held.

    Raises
    ------
    InvalidRequestError
        When a revision names no commit, or the file cannot be written.
    """
    repo = context.repo
    path = Path(target).absolute()
    part = path.with_name(f"{path.name}.part")
    head = {"name": repo.root.name, "selection": _words(selection), "made": int(time.time())}
    count = 0
    try:
        with part.open("wb") as file, Contents(repo) as contents:
            writer = PageWriter(file, head)
            if with_open:
                for tracked in reversed(context.tracker.open_jobs()):
                    if tracked.is_submitted:
                        count += 1
                        reads = [*tracked.inputs, *tracked.extra_inputs]
                        writer.add(_job(open_summary(tracked)) | {"reads": reads})
            for finding, changes in read_jobs_with_changes(context, selection, contents):
                if finding.record is None:
                    yield finding.outcome()
                else:
                    count += 1
                    _add(writer, contents, finding, changes)
            writer.close()
        part.replace(path)
    except OSError as exc:
        raise InvalidRequestError(f"cannot write the page {target}: {exc.strerror}") from exc
    finally:
        part.unlink(missing_ok=True)
    said = f"{count} job{'' if count == 1 else 's'} in {target}"
    yield Outcome(HTML_ACTION, "ok", said, str(path), "file", {"html": str(path), "jobs": count})


def _words(selection: Selection) -> str:
    if not selection.is_range:
        return f"commit {selection.revision}"
    return str(selection) if selection.since else f"all up to {selection.revision}"


def _add(
    writer: PageWriter, contents: Contents, finding: Finding, changes: Sequence[Change]
) -> None:
    record, summary, commit = finding.record, finding.summary, finding.commit
    if record is None or summary is None:
        return
    job = _job(summary) | {"said": parse_words(commit.message)}
    if writer.size < _WITH_ALL:
        scripts = [(state.path, str(state.noted.get("blob", ""))) for state in record.scripts]
        job["scripts"] = scripts
        job["texts"] = {
            blob: _text(raw)
            for _, blob in scripts
            if blob and (raw := contents.read(blob, _SCRIPT_BYTES)) is not None
        }
        job["makes"] = _makes(contents, record, changes)
        job["reads"] = [read.path for read in reads_of(record)][:_FILES]
    if writer.size < _WITH_LOGS:
        job["logs"] = _log_ends(contents, commit.id, record)
    try:
        writer.add(job | ({"record": record.content()} if writer.size < _WITH_RECORDS else {}))
    except ValueError:
        writer.add(job)  # the record holds a number such as NaN, which is no JSON


def _job(job: Summary) -> dict[str, Any]:
    cost = totals([job])
    return {
        "id": job.job_id,
        "label": job.label,
        "name": job.name,
        "state": job.state,
        "exit": job.exit_code,
        "attempts": job.attempts,
        "tasks": job.tasks,
        "cluster": job.cluster,
        "waited": job.waited,
        "ran": job.ran,
        "cpu": job.cpu_efficiency,
        "mem": job.memory_efficiency,
        "used": job.memory_used,
        "asked": job.memory_asked,
        "given": cost.allocated,
        "spent": cost.used,
        "vain": cost.in_vain,
        "runs": [
            [run.job_id, run.state, run.submitted, run.started, run.ended] for run in job.runs
        ],
        "out": list(job.outputs[:_FILES]),
        "cmd": job.cmd,
        "commit": job.commit,
        "date": job.date,
        "said": "",
        "makes": [],
        "reads": [],
        "scripts": [],
        "texts": {},
        "logs": [],
    }


def _makes(
    contents: Contents, record: RunRecord, changes: Sequence[Change]
) -> list[tuple[str, int | None]]:
    """Return the files that a commit has of the outputs of its job, with their sizes."""
    outputs = record.declared_outputs
    made: list[tuple[str, int | None]] = []
    for change in changes:
        if change.is_removal:
            continue
        if change.mode == SUBDATASET_MODE:
            made += ((path, None) for path in outputs if is_below(path, change.path))
        elif change.path not in record.slurm_outputs and any(
            output == "." or is_below(change.path, output) for output in outputs
        ):
            made.append((change.path, contents.size(change.mode, change.blob)))
        if len(made) >= _FILES:
            break
    return made


def _log_ends(contents: Contents, commit: str, record: RunRecord) -> list[tuple[str, str]]:
    facts = facts_files(record)
    logs = [path for path in record.slurm_outputs if path not in facts]
    found = []
    for path in logs[-_LOGS:]:
        raw = contents.read(f"{commit}:{path}", _LOG_BYTES)
        if raw is not None:
            found.append((path, _text(raw)))
    return found


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace").replace("\0", "�")
