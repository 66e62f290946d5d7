"""Submit a command and track its jobs: validate, claim, prepare, submit, note."""

from __future__ import annotations

import glob
import os
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datalad_slurm.dataset.paths import inside, normalise_output
from datalad_slurm.dataset.prepare import Prepared, is_annex_link, make_writable, undo
from datalad_slurm.jobs.errors import InvalidRequestError, QueryFailedError, SubmissionError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.sbatch_options import (
    chdir,
    directives,
    log_names,
    sbatch_calls,
    split_words,
)
from datalad_slurm.slurm import sbatch
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.placeholders import Placeholders
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

#: Larger files are no job scripts (bytes); sbatch itself refuses them above 4 MiB.
_LARGEST_SCRIPT = 4 * 2**20
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
            notes.mkdir(parents=True)
            submission = sbatch.submit(command(), request.cwd, claim.token, notes)
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
    placeholders = Placeholders(context.dataset, cwd, request.inputs, request.outputs)
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
        extra=request.extra,
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
        if not context.tracker.free(claim.id):
            raise  # its jobs are tracked, and the notes gone
        drop_notes(context, claim.token)
        for each in prepared:
            undo(context.repo, each)
        raise


def _made_writable(
    context: Context, request: Request, claim: TrackedJob, undoing: list[Prepared]
) -> Iterator[Outcome]:
    logs = _logs_to_overwrite(context, request)
    prepared = make_writable(context.repo, (*claim.outputs, *request.overwrites, *logs))
    undoing.append(prepared)
    removed = [path for path, _ in prepared.removed]
    if removed:
        context.tracker.note_extra(claim.id, {"removed_outputs": removed})
    for path in prepared.unlocked:
        yield Outcome("unlock", "ok", path=path, type="file")
    for path in removed:
        yield Outcome("remove", "ok", "its content is not here", path=path, type="file")


def _logs_to_overwrite(context: Context, request: Request) -> Iterator[str]:
    """Yield annexed files that the job is going to use as logs.

    A log of a fixed name that an earlier job's commit holds is locked, and the
    job would fail before its first line. slurmctld tells the names of logs,
    but only when the job may have started already.
    """
    for options, script in sbatch_calls(split_words(request.cmd)):
        words = [*options, *directives(_script_text(request.cwd / script))] if script else options
        directory = request.cwd / (chdir(words) or ".")
        for name in log_names(words):
            # what only the node knows may be anything, but stays in its directory
            pattern = re.sub(r"%\d*[a-zA-Z]", "*", glob.escape(name).replace("%%", "%"))
            for found in glob.iglob(os.path.join(glob.escape(str(directory)), pattern)):  # noqa: PTH118, PTH207
                path = inside(context.repo, found)
                if path and is_annex_link(context.repo, path):
                    yield path


def _script_text(path: Path) -> str:
    """Return what a file holds that may be a job script, or nothing when it cannot be one."""
    try:
        if path.is_file() and path.stat().st_size < _LARGEST_SCRIPT:
            return path.read_text(errors="replace")
    except (OSError, ValueError):
        pass  # a word of a command need not be a name that a file can have
    return ""


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
            "outputs": list(claim.outputs),
            "inputs": list(claim.inputs),
        },
    )
