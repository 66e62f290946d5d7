"""Run a recorded job again."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from datalad_slurm.dataset.sidecar import read_sidecar
from datalad_slurm.jobs.claims import is_below
from datalad_slurm.jobs.errors import InvalidRequestError, RecordError
from datalad_slurm.jobs.record import RunRecord, Sidecar, parse_message, parse_record
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.schedule import Request, schedule

__all__ = ["reschedule"]


def reschedule(
    context: Context,
    revision: str = "HEAD",
    message: str = "",
    assume_ready: str = "",
    alt_dir: str = "",
) -> Iterator[Outcome]:
    """Submit the command of a commit's record again, against the present tree.

    Parameters
    ----------
    context : Context
        The dataset.
    revision : str
        Names the commit.
    message : str
        For the new commit.
    assume_ready, alt_dir : str
        As for `schedule`; that the recorded job ran in an alternative directory
        does not matter.

    Raises
    ------
    InvalidRequestError
        When there is no such commit, or its record is of another dataset.
    RecordError
        When the commit holds no usable record.
    """
    commit, record = _read(context, revision)
    if record.dsid and context.dsid and record.dsid != context.dsid:
        raise InvalidRequestError(
            f"the record in commit {commit[:10]} is that of another dataset ({record.dsid}); "
            "run it again there"
        )
    cwd = context.repo.root / record.pwd
    request = Request(
        cmd=record.cmd,
        cwd=cwd,
        outputs=_outputs(record),
        inputs=_literal(record.inputs),
        extra_inputs=record.extra_inputs,
        message=message,
        chain=(*record.chain, commit),
        overwrites=(*_files_made(context, commit, record), *_logs_of_fixed_name(record)),
        assume_ready=assume_ready,
        alt_dir=alt_dir,
    )
    if not cwd.is_dir():
        raise InvalidRequestError(
            f"the job ran in the directory '{record.pwd}', which is not there any more"
        )
    for outcome in schedule(context, request):
        details = {"rescheduled_from": commit} if outcome.action == "slurm-schedule" else {}
        yield replace(
            outcome,
            action=outcome.action.replace("slurm-schedule", "slurm-reschedule"),
            details={**outcome.details, **details},
        )


def _read(context: Context, revision: str) -> tuple[str, RunRecord]:
    repo = context.repo
    commit = repo.ask("rev-parse", "--verify", "-q", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise InvalidRequestError(f"there is no commit '{revision}' in the dataset {repo.root}")
    text = os.fsdecode(repo.run("show", "-s", "--format=%B", "--no-show-signature", commit))
    try:
        found = parse_message(text)
        if isinstance(found, Sidecar):
            found = parse_record(
                json.loads(read_sidecar(repo, found, context.settings.record_directory))
            )
    except RecordError as exc:
        raise RecordError(f"commit {commit[:10]}: {exc}") from exc
    except ValueError as exc:
        raise RecordError(f"commit {commit[:10]}: its record is not valid JSON") from exc
    if found is None:
        raise RecordError(
            f"commit {commit[:10]} holds no record of a Slurm job; `git log --grep='DATALAD SLURM "
            "RUN'` shows those that do"
        )
    return commit, found


def _outputs(record: RunRecord) -> tuple[str, ...]:
    """Return the declared outputs as they are typed in the record's directory."""
    declared = record.slurm.get("declared_outputs")
    if isinstance(declared, list) and declared and all(isinstance(path, str) for path in declared):
        return _literal(declared)
    outputs = tuple(os.path.relpath(path, record.pwd) for path in record.declared_outputs)
    if not outputs:
        raise RecordError("the record names no outputs besides log files")
    return _literal(outputs)


def _files_made(context: Context, commit: str, record: RunRecord) -> Iterator[str]:
    """Yield the outputs that a commit added or changed: its job will write them again."""
    listed = context.repo.run(
        "diff-tree", "-r", "-z", "--root", "--no-commit-id", "--name-only", "--no-renames",
        "--diff-filter=d", commit,
    )  # fmt: skip
    outputs = ["" if path == "." else path for path in record.declared_outputs]
    for raw in filter(None, listed.split(b"\0")):
        path = os.fsdecode(raw)
        if any(is_below(path, output) for output in outputs) and path not in record.slurm_outputs:
            yield path


def _logs_of_fixed_name(record: RunRecord) -> tuple[str, ...]:
    """Return the logs that the new job will write again: those not named after the old one."""
    ids = {str(job_id) for job_id in (record.slurm_job_id, *record.slurm.get("jobs", ()))}
    return tuple(
        path
        for path in record.slurm_outputs
        if path in record.outputs
        and ids.isdisjoint(re.findall(r"\d+", path))
        and not path.endswith(".env.json")
    )


def _literal(paths: Iterable[str]) -> tuple[str, ...]:
    """Return paths in which braces are no placeholders; a record has them filled in."""
    return tuple(path.replace("{", "{{").replace("}", "}}") for path in paths)
