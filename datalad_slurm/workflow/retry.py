"""Submit jobs that have failed again, as further attempts at what they are tracked for."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datalad_slurm.jobs.archive import AS_RECORDED, SCRIPTS, recorded_scripts
from datalad_slurm.jobs.attempts import Retry, replaced_by_retry
from datalad_slurm.jobs.braces import literal
from datalad_slurm.jobs.commands import array_options, with_options
from datalad_slurm.jobs.errors import InvalidRequestError, JobNotTrackedError
from datalad_slurm.jobs.model import JobStatus, TrackedJob
from datalad_slurm.jobs.names import JobName, select_tasks
from datalad_slurm.jobs.notes import RELEASED
from datalad_slurm.jobs.parts import outputs_only_of
from datalad_slurm.jobs.tasks import TaskId, format_index_list
from datalad_slurm.workflow.as_recorded import changed_scripts
from datalad_slurm.workflow.checkpoints import states_of
from datalad_slurm.workflow.context import Context, Outcome, open_jobs
from datalad_slurm.workflow.leftovers import Stale
from datalad_slurm.workflow.logs import logs_by_job, logs_of
from datalad_slurm.workflow.observe import observe
from datalad_slurm.workflow.placeholders import Placeholders
from datalad_slurm.workflow.predecessors import for_another_attempt
from datalad_slurm.workflow.recovery import no_other_finisher
from datalad_slurm.workflow.relations import (
    attempts_that_count,
    relations_of,
    with_relations,
)
from datalad_slurm.workflow.request import Request
from datalad_slurm.workflow.retry_choice import refuse_changed_inputs, tasks_to_retry
from datalad_slurm.workflow.schedule import require_sbatch, submit_claim
from datalad_slurm.workflow.submissions import described, in_flight, settle_claims
from datalad_slurm.workflow.successors import REPOINT_ACTION, repoint_to_latest
from datalad_slurm.workflow.vain_waits import (
    as_cancelled,
    cancel_waiting,
    refuse_still_in_vain,
    with_vain_waits,
)

__all__ = ["RetryOptions", "retry"]

_ACTION = "slurm-reschedule"


@dataclass(frozen=True)
class RetryOptions:
    """What is the same for all jobs that are submitted again."""

    #: further options for sbatch
    further: tuple[str, ...] = ()
    #: "inputs", "outputs", "both" or empty
    assume_ready: str = ""
    #: how many downloads of inputs may run at a time
    jobs: int | str | None = None
    #: how many attempts at a job there may be; any number when None
    max_attempts: int | None = None


@dataclass(frozen=True)
class _Plan:
    """How a job is submitted again."""

    job: TrackedJob
    status: JobStatus
    #: the tasks that are run again
    again: frozenset[TaskId]
    retry: Retry
    request: Request
    stale: Stale
    #: of an array that is run in parts, the indices that are run again
    indices: str = ""
    #: whether the job will have ended well when these tasks have
    is_whole: bool = True


def retry(
    context: Context, names: Sequence[JobName] | None, options: RetryOptions
) -> Iterator[Outcome]:
    """Submit open jobs again that have not ended well; they keep their claims.

    All of them are looked at before the first is submitted.

    Parameters
    ----------
    context : Context
        The dataset.
    names : sequence of JobName, optional
        The jobs; all open ones that have failed when not given.
    options : RetryOptions
        How.

    Raises
    ------
    InvalidRequestError
        When a job is named that has not failed, or that cannot be submitted
        again; nothing was submitted.
    SubmissionError, QueryFailedError
        When a submission fails; those before it stand.
    """
    require_sbatch()
    settle_claims(context)
    with no_other_finisher(context):  # it would have files of failed jobs in its hands
        jobs = described(context, open_jobs(context, names))
    statuses = with_vain_waits(jobs, observe(context, jobs, for_record=True))
    chosen = select_tasks(jobs, names or ())
    plans: list[_Plan] = []
    left_out: list[Outcome] = []
    logs = frozenset(logs_of(context, ((job, None) for job in context.tracker.open_jobs())))
    for job in jobs:
        try:
            again = tasks_to_retry(job, statuses[job.id], chosen.get(job.id), options.max_attempts)
            refuse_changed_inputs(context, job, logs)
            plans.append(_plan(context, job, statuses[job.id], again, options, logs=logs))
        except InvalidRequestError as exc:
            if names is not None:
                said = f"job {job.label} is not submitted again: {exc}"
                raise InvalidRequestError(said) from exc
            left_out.append(_left_out(job, str(exc)))
    yield from left_out
    if not plans:
        yield Outcome(_ACTION, "notneeded", "there are no open jobs that have failed")
    run_again = {plan.job.token for plan in plans}
    stuck: list[Outcome] = []  # told last: a failure ends the command
    for plan in plans:
        try:
            for outcome in _submit(context, plan, run_again):
                if outcome.action == REPOINT_ACTION and outcome.status != "ok":
                    stuck.append(outcome)
                else:
                    yield outcome
        except JobNotTrackedError as exc:
            if names is not None:
                raise
            yield _left_out(plan.job, str(exc))
    yield from stuck


def _left_out(job: TrackedJob, reason: str) -> Outcome:
    said = f"job {job.label} is left out: {reason}"
    return Outcome(_ACTION, "notneeded", said, details={"slurm_job_id": job.job_id})


def _plan(
    context: Context,
    job: TrackedJob,
    status: JobStatus,
    again: frozenset[TaskId],
    options: RetryOptions,
    *,
    logs: frozenset[str],
) -> _Plan:
    """Return how a job that has failed is submitted again.

    Raises
    ------
    InvalidRequestError
        When it cannot be.
    """
    if status.of(again).never_starts:
        refuse_still_in_vain(context, job)
    cwd = context.repo.root / job.pwd
    if not cwd.is_dir():
        raise InvalidRequestError(f"its directory '{job.pwd}' is not there any more")
    cmd = with_options(job.cmd, options.further)
    indices: list[int] = []
    if len(again) < len(status.tasks) or job.extra.get(RELEASED):
        indices = sorted(task.index for task in again)
        submitted = with_options(
            job.cmd, [*options.further, *array_options(indices, _throttle(job))]
        )
    else:
        submitted = cmd
    logs_made = logs_by_job(context, job, status.of(again))
    kept, replaced = replaced_by_retry(job, as_cancelled(status, again), again, logs_made)
    made = {path for entry in replaced for path in entry.get("logs", ())}
    return _Plan(
        job,
        status,
        again,
        Retry(
            token=f"datalad-slurm-{uuid.uuid4().hex}",
            cmd=cmd,
            submitted_cmd=submitted,
            kept=kept,
            replaced=replaced,
            commit_at_submission=context.repo.head(),
        ),
        Request(
            cmd=submitted,
            cwd=cwd,
            outputs=job.declared_outputs,
            inputs=job.inputs,
            extra_inputs=job.extra_inputs,
            assume_ready=options.assume_ready,
            expand="inputs" if "expanded_inputs" in job.extra else "",
            jobs=options.jobs,
            stand_ins=attempts_that_count(context, job),
        ),
        Stale(
            outputs_only_of(job, again),
            {each["attempt"] for each in replaced},
            logs | made,
            states_of(job),
        ),
        format_index_list(indices),
        all(task.is_ok for task in status.tasks if task.task not in again),
    )


def _throttle(job: TrackedJob) -> int | None:
    """Return how many tasks of a job's array may run at a time, where that is limited."""
    text = job.slurm_jobs[-1].facts.get("ArrayTaskThrottle", "")
    return int(text) if text.isdigit() else None


def _submit(context: Context, plan: _Plan, run_again: Collection[str]) -> Iterator[Outcome]:
    job, request = plan.job, plan.request
    placeholders = Placeholders(
        context.dataset,
        request.cwd,
        tuple(map(literal, request.inputs)),
        tuple(map(literal, request.outputs)),
        context.temporary_directories / job.token,
        top=Path(job.alt_dir) if job.alt_dir else None,
    )
    command = placeholders.check_command(request.cmd)
    relations = for_another_attempt(context, job)
    changed = changed_scripts(context, recorded_scripts({"script": job.identities.get(SCRIPTS)}))
    with in_flight(job.token):
        with no_other_finisher(context):
            cancel_waiting(context, job, plan.status, plan.again)
            claim = context.tracker.begin_retry(job, plan.retry)
        if relations or relations_of(job):
            claim = with_relations(claim, relations)
        for outcome in submit_claim(
            context, request, claim, command, placeholders, stale=plan.stale
        ):
            if outcome.action != "slurm-schedule":
                yield outcome
                continue
            noun = "task" if plan.indices.isdigit() else "tasks"
            which = f"{noun} {plan.indices} of job" if plan.indices else "job"
            details = {"attempt": claim.attempt, "retried": [s.job_id for s in job.slurm_jobs]}
            details |= {"tasks": plan.indices} if plan.indices else {}
            said = "" if AS_RECORDED in job.extra else "".join(f"; {each}" for each in changed)
            yield outcome._replace(
                action=_ACTION,
                message=f"{outcome.message}: attempt {claim.attempt} at {which} {job.label}{said}",
                details={**outcome.details, **details},
            )
            yield from repoint_to_latest(
                context, job, claim.id, is_whole=plan.is_whole, run_again=run_again
            )
