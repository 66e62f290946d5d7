"""Have a runner do more around a job's script: what is done before its submission."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from datalad_slurm.jobs.errors import InvalidRequestError, QueryFailedError, TransferError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.runner_options import ONE_JOB, RunnerOptions, asked_of_sbatch, why_not
from datalad_slurm.jobs.sbatch_options import read_call, split_words
from datalad_slurm.node.runner import NodePlan
from datalad_slurm.slurm import scontrol
from datalad_slurm.workflow.context import Context, Outcome, lgr
from datalad_slurm.workflow.endings import have_endings_noted
from datalad_slurm.workflow.scripts import script_text
from datalad_slurm.workflow.stores import let_go, store_of

__all__ = ["place_in_runner", "refuse_unfit", "run_without"]

#: Slurm's default for what slurm.conf(5) calls KillWait (seconds).
_KILL_WAIT = 30


def refuse_unfit(context: Context, claim: TrackedJob, command: str) -> None:
    """Refuse what can be known to be refused before anything is done; the rest our sbatch sees.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        Not in the database yet; nothing is done for one that needs no runner.
    command : str
        With placeholders filled in.

    Raises
    ------
    InvalidRequestError
        When it cannot run as is wanted.
    """
    options = RunnerOptions.read(claim.extra)
    if not options:
        return
    if _configuration(context).get("ProctrackType") == "proctrack/pgid":
        raise InvalidRequestError(
            f"{options} cannot be used here: this Slurm tracks jobs by their process group "
            "(ProctrackType=proctrack/pgid), and would lose sight of the work"
        )
    words = split_words(command)
    calls = 0
    for start, word in enumerate(words):
        call = read_call(words[start + 1 :]) if word.rpartition("/")[2] == "sbatch" else None
        if call is None or call.only_tells:
            continue
        directory = context.run_directory(claim)
        script = script_text(call.options, call.script, directory) if call.script else ""
        problem = why_not(options, asked_of_sbatch(call, script or "", os.environ))
        if problem:
            raise InvalidRequestError(problem)
        calls += 1
    if options.checkpoint and calls > 1 and "||" not in words:
        raise InvalidRequestError(f"the command submits {calls} jobs, and {ONE_JOB}")


def _configuration(context: Context) -> dict[str, str]:
    try:
        return scontrol.configuration(context.settings.query_timeout)
    except QueryFailedError as exc:
        lgr.info("the configuration of this Slurm is not known: %s", exc)
        return {}


def place_in_runner(
    context: Context,
    claim: TrackedJob,
    inputs: Iterable[str],
    notes: Path,
    packed: dict[object, Path] | None = None,
) -> Iterator[Outcome]:
    """Have our sbatch submit a runner that does what is wanted around the job's script.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        In the database already.
    inputs : iterable of str
        Paths and globs, relative to the job's directory.
    notes : Path
        Where our sbatch will look for what it is to do.
    packed : dict, optional
        Archives of jobs that were placed before, which this one may share.

    Raises
    ------
    InvalidRequestError
        When an input cannot be packed.
    TransferError
        When something cannot be written.
    """
    options = RunnerOptions.read(claim.extra)
    store = store_of(context, claim)
    if options.needs_store:
        try:
            store.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise TransferError(f"{store} cannot be made: {exc.strerror}") from exc
    stage = None
    if options.node_local:
        from datalad_slurm.workflow.node_local import packed_inputs

        stage, said = packed_inputs(context, claim, inputs, packed)
        yield Outcome("pack", "ok", said, type="dataset")
    wait = _configuration(context).get("KillWait", "").split()
    plan = NodePlan(
        options,
        root=str(context.place_of(claim).root),
        store=str(store),
        kill_wait=int(wait[0]) if wait and wait[0].isdigit() else _KILL_WAIT,
        attempt=claim.attempt,
        stage=stage,
    )
    have_endings_noted(context, claim.token, notes, plan)


def run_without(context: Context, claim: TrackedJob) -> None:
    """Note of a job that our sbatch has not seen that no runner of ours is around its script."""
    lgr.warning(
        "the command calls sbatch in a way that datalad-slurm does not see: its job runs in the "
        "dataset, without %s",
        RunnerOptions.read(claim.extra),
    )
    let_go(context, [claim])
    context.tracker.note_extra(claim.id, dict.fromkeys(RunnerOptions.read(claim.extra).to_json()))
