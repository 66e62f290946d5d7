"""Take over the open jobs of an earlier datalad-slurm (0.2.x)."""

from __future__ import annotations

import glob
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datalad_slurm.dataset.paths import inside, normalise_output
from datalad_slurm.jobs.errors import (
    DatabaseError,
    InvalidRequestError,
    QueryFailedError,
    RecordError,
)
from datalad_slurm.jobs.logs import LogName
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.record import RunRecord, parse_record
from datalad_slurm.jobs.task_outputs import literally
from datalad_slurm.slurm import scontrol
from datalad_slurm.tracking import earlier
from datalad_slurm.workflow.context import Context, lgr

__all__ = ["take_over"]

_VERSION = "an earlier datalad-slurm (0.2.x)"


def take_over(context: Context, path: Path) -> None:
    """Move the open jobs of an earlier version's database into ours, and say so.

    What cannot be moved stays where it is, and is named in a warning.

    Parameters
    ----------
    context : Context
        The dataset.
    path : Path
        The database of the earlier version.
    """
    left: dict[Any, str] = {}
    ready: list[tuple[TrackedJob, SlurmJob]] = []
    try:
        for row in earlier.read(path):
            try:
                ready.append(_checked(context, row))
            except (RecordError, InvalidRequestError) as exc:
                left[row["slurm_job_id"]] = str(exc)
        moved = earlier.move(context.tracker.database, path, ready) if ready else None
    except DatabaseError as exc:
        lgr.warning(
            "the open jobs in %s, the database of %s, could not be taken over: %s; the next "
            "command tries again",
            path,
            _VERSION,
            exc,
        )
        return
    if moved is not None:
        left |= moved.left
        if moved.jobs:
            ids = ", ".join(job.label for job in moved.jobs)
            lgr.info("took over open job(s) %s of %s", ids, _VERSION)
            _describe(context, moved.jobs)
    if left:
        lgr.warning(
            "job(s) of %s were not taken over and stay in its database %s; finish or close them "
            "with that version: %s",
            _VERSION,
            path,
            "; ".join(f"job {job_id}: {reason}" for job_id, reason in left.items()),
        )


def _checked(context: Context, row: Mapping[str, Any]) -> tuple[TrackedJob, SlurmJob]:
    """Return what a row claims, with all of its paths checked."""
    if row.get("alt_dir"):
        raise RecordError(
            f"it ran in the directory {row['alt_dir']}, and only that version copies its outputs "
            "back from there"
        )
    record = parse_record(row)  # the columns are the keys of the record
    repo = context.repo
    pwd = inside(repo, f"{(repo.root / record.pwd).resolve()}/.")
    if pwd is None:
        raise RecordError(f"it ran in '{record.pwd}', which is outside the dataset")
    for path in (*record.inputs, *record.extra_inputs):
        if inside(repo, str(repo.root / pwd / path)) is None:
            raise RecordError(f"its input '{path}' is outside the dataset")
    locked = row["locked_names"]
    if not all(isinstance(name, str) for name in locked):
        raise RecordError("one of its locked names is not a text")
    outputs = tuple(
        dict.fromkeys(
            normalise_output(repo, glob.escape(output), repo.root)
            for output in (*record.declared_outputs, *locked)
        )
    )
    if not outputs:
        raise RecordError("it has no outputs")
    message = row.get("message")
    claim = TrackedJob(
        id=0,
        token=f"datalad-slurm-{uuid.uuid4().hex}",
        cmd=record.cmd,
        pwd=pwd or ".",
        dsid=context.dsid,
        outputs=outputs,
        declared_outputs=tuple(
            literally(os.path.relpath(output or ".", glob.escape(pwd) or ".")) for output in outputs
        ),
        inputs=record.inputs,
        extra_inputs=record.extra_inputs,
        message=message if isinstance(message, str) else "",
        chain=record.chain,
    )
    return claim, SlurmJob(record.slurm_job_id, logs=tuple(_logs(context, record, pwd)))


def _logs(context: Context, record: RunRecord, pwd: str) -> Iterator[LogName]:
    """Yield the logs in the dataset; those elsewhere slurmctld can tell, if it still knows."""
    root = context.repo.root
    for path in record.slurm_outputs:
        # the file of facts, which that version writes at submission, we write when it has ended
        if path.endswith(f"slurm-job-{record.slurm_job_id}.env.json"):
            continue
        absolute = os.path.normpath(root / pwd / path)
        if inside(context.repo, absolute):
            yield LogName(absolute)


def _describe(context: Context, jobs: Sequence[TrackedJob]) -> None:
    """Note what slurmctld knows of the jobs; of those it has forgotten we know enough."""
    for job in jobs:
        try:
            known = scontrol.describe(job.job_id, timeout=context.settings.query_timeout)
        except QueryFailedError as exc:
            if "Invalid job id" in str(exc):
                continue
            return  # does not answer; the finish asks again
        context.tracker.note_submission(job.id, [known])
