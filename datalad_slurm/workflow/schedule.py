"""Submit a command and track its jobs: validate, claim, prepare, submit, note."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datalad.support.exceptions import IncompleteResultsError

from datalad_slurm.dataset.paths import normalise_output
from datalad_slurm.dataset.prepare import Prepared, make_writable, undo
from datalad_slurm.jobs.errors import InvalidRequestError, QueryFailedError, SubmissionError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.slurm import sbatch
from datalad_slurm.workflow.alt_dir import checked_alt_dir, place
from datalad_slurm.workflow.alt_notes import abandon, clean_up, drop_note
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.placeholders import Placeholders
from datalad_slurm.workflow.sbatch_calls import calls_elsewhere, logs_to_overwrite
from datalad_slurm.workflow.submissions import (
    adopt,
    drop_notes,
    find_by_token,
    in_flight,
    is_confirmed,
    jobs_past_shim,
    notes_directory,
    settle_claims,
)

__all__ = ["Request", "claim_of", "schedule", "scheduled"]

#: sbatch's words when it lost the controller in the middle; others are plain refusals
_LOST_CONTACT = re.compile(
    "timed out|socket|connect|contact|communication|transport|zero bytes", re.IGNORECASE
)


@dataclass(frozen=True)
class Request:
    """What a user wants to have run.

    `outputs`, `inputs` and `extra_inputs` are as typed, relative to `cwd`.
    """

    cmd: str
    cwd: Path
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    extra_inputs: tuple[str, ...] = ()
    message: str = ""
    chain: tuple[str, ...] = ()
    #: further paths, relative to the dataset's root, that the job will overwrite
    overwrites: tuple[str, ...] = ()
    #: "inputs", "outputs", "both" or empty
    assume_ready: str = ""
    check_outputs: bool = True
    #: directory to run in instead of the dataset, as typed
    alt_dir: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


def schedule(context: Context, request: Request) -> Iterator[Outcome]:
    """Submit a command and track its jobs.

    Raises
    ------
    InvalidRequestError
        When something about the request is wrong; nothing was changed.
    SubmissionError
        When no job was submitted; nothing is claimed.
    QueryFailedError
        When it is not known whether a job was submitted; its outputs stay
        claimed, and the next command finds out.
    """
    claim, command, placeholders = _validated(context, request)
    settle_claims(context)
    with in_flight(claim.token):
        claim = context.tracker.claim(claim, check=request.check_outputs)
        notes = notes_directory(context, claim.token)
        with _undone_unless_submitted(context, claim) as undoing:
            if request.assume_ready not in ("inputs", "both"):
                yield from placeholders.fetch_inputs(request.extra_inputs)
            if request.assume_ready not in ("outputs", "both"):
                yield from _made_writable(context, request, claim, undoing)
            text = command()
            if claim.alt_dir:
                inputs = (*placeholders.inputs, *request.extra_inputs)
                yield from place(context, claim, inputs, calls_elsewhere(context, claim, text))
            notes.mkdir(parents=True)
            submission = sbatch.submit(text, context.run_directory(claim), claim.token, notes)
            jobs = _settled(context, claim, submission)
    message = f"submitted Slurm job {', '.join(str(job.job_id) for job in jobs)}"
    if submission.exit_code:
        message += f", though the command ended with exit status {submission.exit_code}"
    yield scheduled(claim, jobs, message)


def _validated(
    context: Context, request: Request
) -> tuple[TrackedJob, Callable[[], str], Placeholders]:
    if "\0" in request.cmd:
        raise InvalidRequestError("a command cannot hold a null character")
    if not request.cmd.strip():
        raise InvalidRequestError("there is no command to submit, such as `sbatch job.sh`")
    if sbatch.sbatch_path() is None:
        raise InvalidRequestError(
            "sbatch is not on PATH; log in to a node of the cluster, or load the site's module "
            "for Slurm"
        )
    claim, placeholders = claim_of(context, request)
    return claim, placeholders.check_command(request.cmd), placeholders


def claim_of(context: Context, request: Request) -> tuple[TrackedJob, Placeholders]:
    """Return what a request claims, not yet in the database, and its placeholders.

    Raises
    ------
    InvalidRequestError
        When its outputs or its directory are not such as can be claimed.
    """
    if not request.outputs:
        raise InvalidRequestError(
            "at least one output must be declared with -o/--output: a file or directory that "
            "the job writes"
        )
    root = context.repo.root
    cwd = request.cwd.resolve()
    if not cwd.is_relative_to(root):
        raise InvalidRequestError(f"the working directory {cwd} is outside the dataset {root}")
    if not cwd.is_dir():
        raise InvalidRequestError(f"the working directory {cwd} does not exist")
    alt_dir = checked_alt_dir(context, request.alt_dir) if request.alt_dir else ""
    placeholders = Placeholders(
        context.dataset, cwd, request.inputs, request.outputs, Path(alt_dir) if alt_dir else None
    )
    outputs = [normalise_output(context.repo, out, cwd) for out in placeholders.outputs]
    claim = TrackedJob(
        id=0,
        token=f"datalad-slurm-{uuid.uuid4().hex}",
        cmd=request.cmd,
        pwd=os.path.relpath(cwd, root),
        dsid=context.dsid,
        outputs=tuple(dict.fromkeys(outputs)),
        declared_outputs=tuple(placeholders.outputs),
        inputs=tuple(placeholders.inputs),
        extra_inputs=request.extra_inputs,
        message=request.message,
        chain=request.chain,
        commit_at_submission=context.repo.ask("rev-parse", "-q", "--verify", "HEAD") or "",
        extra={**request.extra, "alt_dir": alt_dir} if alt_dir else request.extra,
    )
    return claim, placeholders


@contextmanager
def _undone_unless_submitted(context: Context, claim: TrackedJob) -> Iterator[list[Prepared]]:
    """Free the claim, and undo what was prepared, unless a job was or may have been submitted."""
    prepared: list[Prepared] = []
    try:
        yield prepared
    except QueryFailedError:
        raise  # a job may have been submitted
    except BaseException as exc:
        jobs, in_doubt = sbatch.read_notes(notes_directory(context, claim.token))
        if jobs or (in_doubt and not isinstance(exc, SubmissionError)):
            raise
        # a job that sbatch was not seen to submit may need what was copied for it
        unseen = claim.alt_dir and jobs_past_shim(context, claim)
        (drop_note if unseen else abandon)(context, claim.token)
        context.tracker.forget([claim.id])
        drop_notes(context, claim.token)
        clean_up(context)
        for each in prepared:
            undo(context.hierarchy, each)
        raise


def _made_writable(
    context: Context, request: Request, claim: TrackedJob, undoing: list[Prepared]
) -> Iterator[Outcome]:
    yield from _installed(context, claim.outputs)
    if claim.alt_dir:
        return  # what is in the dataset is replaced when the job is finished
    logs = logs_to_overwrite(context.repo, request.cmd, request.cwd)
    prepared = make_writable(context.hierarchy, (*claim.outputs, *request.overwrites, *logs))
    undoing.append(prepared)
    removed = [path for path, _ in prepared.removed]
    if removed:
        context.tracker.note_extra(claim.id, {"removed_outputs": removed})
    for path in prepared.unlocked:
        yield Outcome("unlock", "ok", path=path, type="file")
    for path in removed:
        yield Outcome("remove", "ok", "its content is not here", path=path, type="file")


def _installed(context: Context, outputs: Iterable[str]) -> Iterator[Outcome]:
    """Install the subdatasets that are to hold outputs and are not here yet."""
    for output in outputs:
        while not context.hierarchy.is_here(name := context.hierarchy.holder(output)):
            try:
                context.dataset.get(
                    context.repo.root / name, get_data=False, result_renderer="disabled"
                )
            except IncompleteResultsError as exc:
                raise InvalidRequestError(
                    f"output '{output}' is in the subdataset '{name}', which cannot be installed: "
                    f"{exc}"
                ) from exc
            yield Outcome("install", "ok", path=name, type="dataset")


def _settled(context: Context, claim: TrackedJob, done: sbatch.Submission) -> list[SlurmJob]:
    """Track the jobs that were submitted, or free the claim when there are none."""
    jobs = [SlurmJob(job.job_id, job.cluster, claim.claimed_at) for job in done.jobs]
    if not done.is_noted:
        jobs = [job for job in jobs if is_confirmed(context, claim, job)]
    if not jobs and done.is_in_doubt:
        # sbatch can fail after the controller took the job
        try:
            patient = _LOST_CONTACT.search(done.said) is not None
            found = find_by_token(context, claim, patient=patient)
            jobs = [SlurmJob(job_id, submitted=claim.claimed_at) for job_id in found]
        except QueryFailedError as exc:
            raise QueryFailedError(
                f"it is not known whether a job was submitted ({exc}); its outputs stay claimed "
                f"until Slurm answers the next command; the command said: {done.said}"
            ) from exc
    if jobs:
        return adopt(context, claim, jobs)
    unseen = jobs_past_shim(context, claim)
    said = f": {done.said}" if done.said else ""
    if claim.alt_dir:
        said += (
            f"; it ran in {context.run_directory(claim)}: what it reads there, besides the script "
            "that sbatch is given, must be declared as input"
        )
    if unseen:
        ids = ", ".join(map(str, unseen))
        raise SubmissionError(
            f"the command told of no job, but {ids} was submitted from here meanwhile; if it is "
            f"the command's, track it with `datalad slurm-schedule --job-id {unseen[0]}` and the "
            f"same outputs{said}"
        )
    raise SubmissionError(
        f"the command submitted no job (exit status {done.exit_code}){said}"
        if done.exit_code
        else f"the command ended well, but submitted no job{said}"
    )


def scheduled(claim: TrackedJob, jobs: Sequence[SlurmJob], message: str) -> Outcome:
    """Return the outcome that tells of tracked jobs."""
    return Outcome(
        "slurm-schedule",
        "ok",
        message,
        type="dataset",
        details={
            "slurm_job_id": jobs[0].job_id,
            "slurm_job_ids": [job.job_id for job in jobs],
            "cluster": jobs[0].cluster,
            "cmd": claim.cmd,
            "pwd": claim.pwd,
            "alt_dir": claim.alt_dir or None,
            "outputs": list(claim.outputs),
            "inputs": list(claim.inputs),
        },
    )
