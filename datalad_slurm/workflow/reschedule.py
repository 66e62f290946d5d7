"""Run recorded jobs again, or show them first."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from datalad_slurm.dataset.history import resolve
from datalad_slurm.jobs.archive import AS_RECORDED, recorded_scripts
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.script import Entry, render_script, told_after
from datalad_slurm.workflow.as_recorded import ChangedScript, changed_scripts
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.history import Recorded, Selection
from datalad_slurm.workflow.preview import preview
from datalad_slurm.workflow.replay import Options, Run, Skip, naming, plan
from datalad_slurm.workflow.schedule import schedule
from datalad_slurm.workflow.stand_ins import Submissions
from datalad_slurm.workflow.submissions import settle_claims

__all__ = ["REPORT_ACTION", "SCRIPT_ACTION", "report", "reschedule", "write_script"]

_ACTION = "slurm-reschedule"
REPORT_ACTION = "slurm-reschedule [report]"
SCRIPT_ACTION = "slurm-reschedule [script]"


def reschedule(context: Context, selection: Selection, options: Options) -> Iterator[Outcome]:
    """Submit the commands of records again, against the present tree.

    All of them are validated before the first is submitted.

    Raises
    ------
    InvalidRequestError
        When there is no such commit, or a job cannot be run here; when this is
        so for one of several, none is submitted.
    RecordError
        When a commit holds no usable record; the same holds.
    SubmissionError, QueryFailedError
        When a submission fails; those before it stand.
    """
    steps = plan(context, selection, options)
    runs = [step for step in steps if isinstance(step, Run)]
    settle_claims(context)
    for run in runs:
        with naming(run.found.commit.id, selection):
            context.tracker.refuse_conflicts(run.claim.outputs)
    submissions = Submissions()
    for step in steps:
        commit = step.found.commit.id
        if isinstance(step, Skip):
            said = f"commit {commit[:10]} is left out: {step.reason}"
            yield Outcome(_ACTION, "notneeded", said, type="dataset", details={"commit": commit})
            continue
        with naming(commit, selection):
            yield from _submit(context, step, submissions)
    yield from _nothing_to_do(selection, runs)


def _submit(context: Context, run: Run, submissions: Submissions) -> Iterator[Outcome]:
    request = run.request._replace(stand_ins=submissions.stand_ins(context, run))
    for outcome in schedule(context, request):
        is_job = outcome.action == "slurm-schedule"
        if is_job and outcome.status == "ok":
            submissions.add(run, outcome.details["slurm_job_ids"])
        details: dict[str, Any] = {"rescheduled_from": run.found.commit.id} if is_job else {}
        if is_job and outcome.status == "ok":
            changed = _changed_scripts(context, run)
            said = _about_scripts(changed, is_as_recorded=AS_RECORDED in request.extra)
            outcome = outcome._replace(message=outcome.message + said)  # noqa: PLW2901
            details["changed_scripts"] = [script.path for script in changed]
        yield outcome._replace(
            action=_ACTION if is_job else outcome.action,
            details={**outcome.details, **details},
        )


def _changed_scripts(context: Context, run: Run) -> list[ChangedScript]:
    return changed_scripts(context, recorded_scripts(run.record.slurm))


def _about_scripts(changed: Sequence[ChangedScript], *, is_as_recorded: bool) -> str:
    """Return what a message says of scripts that are not what they were."""
    if not changed:
        return ""
    said = " and ".join(map(str, changed))
    what = "what ran is submitted" if is_as_recorded else "--as-recorded submits what ran"
    return f"; {said}: {what}"


def report(context: Context, selection: Selection) -> Iterator[Outcome]:
    """Say of each commit with a record what `reschedule` would do; nothing is submitted.

    The details have the keys of those of `datalad rerun --report`.

    Raises
    ------
    InvalidRequestError, RecordError
        When `reschedule` would refuse all of it.
    """
    steps = plan(context, selection, Options())
    for step in steps:
        details = _told(step.found)
        if isinstance(step, Run):
            details |= {"rerun_action": "run", **preview(step.claim, step.placeholders)}
            details |= {"after": {commit: list(why) for commit, why in step.after.items()}}
            details |= {"changed_scripts": [each.path for each in _changed_scripts(context, step)]}
            yield Outcome(REPORT_ACTION, "ok", type="dataset", details=details)
        else:
            details |= {"rerun_action": "skip"}
            yield Outcome(REPORT_ACTION, "notneeded", step.reason, type="dataset", details=details)
    yield from _nothing_to_do(selection, [step for step in steps if isinstance(step, Run)])


def _told(found: Recorded) -> dict[str, Any]:
    commit, record = found.commit, found.record
    told: dict[str, Any] = {
        "commit": commit.id,
        "parents": list(commit.parents),
        "author": commit.author,
        "date": commit.date,
        "subject": commit.message.partition("\n")[0],
    }
    if record is not None:
        told |= {
            "run_message": found.words,
            "run_info": record.content(),
            "slurm_job_id": record.slurm_job_id,
            "slurm_state": found.ending,
        }
    return told


def write_script(context: Context, selection: Selection, target: str) -> Iterator[Outcome]:
    """Write the commands of records to a shell script; nothing is submitted.

    Parameters
    ----------
    context : Context
        The dataset.
    selection : Selection
        The commits.
    target : str
        Path of the file; ``-`` for a script that is in the outcome only.

    Raises
    ------
    InvalidRequestError, RecordError
        When `reschedule` would refuse all of it, or the file cannot be written.
    """
    steps = plan(context, selection, Options())
    nothing = list(_nothing_to_do(selection, [step for step in steps if isinstance(step, Run)]))
    if nothing:
        yield from nothing
        return
    made_by = ["datalad", "slurm-reschedule", f"--script={target}"]
    if selection.since is not None:
        made_by.append(f"--since={selection.since}")
    if selection.with_failed_jobs:
        made_by.append("--with-failed-jobs")
    made_by.append(resolve(context.repo, selection.revision))
    text = render_script(
        str(context.repo.root), context.dsid, made_by, [_entry(context, step) for step in steps]
    )
    if target == "-":
        yield Outcome(SCRIPT_ACTION, "ok", type="dataset", details={"script": text})
        return
    try:
        Path(target).write_bytes(os.fsencode(text))
    except OSError as exc:
        raise InvalidRequestError(f"cannot write the script {target}: {exc.strerror}") from exc
    yield Outcome(
        SCRIPT_ACTION, "ok", f"script written to {target}", str(Path(target).absolute()), "file"
    )


def _entry(context: Context, step: Run | Skip) -> Entry:
    found = step.found
    title = found.commit.message.partition("\n")[0].removeprefix("[DATALAD SLURM RUN] ")
    if isinstance(step, Skip):
        return Entry(found.commit.id, title, left_out=step.reason)
    # the script may be run at any time, so its directory is not one that a job of ours has
    tmpdir = Path(mkdtemp(prefix="datalad-run-")) if "{tmpdir}" in step.request.cmd else None
    command = step.placeholders.preview(step.request.cmd, tmpdir)
    told = [*told_after(step.after), *map(str, _changed_scripts(context, step))]
    text = "\n".join(filter(None, [title, found.words, *told]))
    return Entry(found.commit.id, text, command, step.claim.pwd)


def _nothing_to_do(selection: Selection, runs: Sequence[Run]) -> Iterator[Outcome]:
    """Yield a failure when no job is run: that is hardly what was meant."""
    if not runs:
        said = f"no commit of {selection} holds the record of a job that would be run again"
        yield Outcome(_ACTION, "impossible", said, type="dataset")
