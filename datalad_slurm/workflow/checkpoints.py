"""State files of jobs: claimed when a job is submitted, removed when it is committed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datalad_slurm.dataset.leftovers import known_to_git
from datalad_slurm.dataset.paths import normalise_output
from datalad_slurm.jobs.braces import literal
from datalad_slurm.jobs.checkpoints import (
    Checkpoint,
    state_claims,
    state_paths,
    with_states,
)
from datalad_slurm.jobs.claims import collide, covers
from datalad_slurm.jobs.errors import DatasetError, InvalidRequestError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.runner_options import RunnerOptions
from datalad_slurm.jobs.task_outputs import marked, names_task
from datalad_slurm.node.states import drop_kept
from datalad_slurm.workflow.context import Context, lgr
from datalad_slurm.workflow.expect import indices_expected
from datalad_slurm.workflow.placeholders import Placeholders
from datalad_slurm.workflow.stores import store_of

__all__ = ["drop_states", "options_again", "states_of", "with_runner"]


def with_runner(
    context: Context, claim: TrackedJob, options: RunnerOptions, placeholders: Placeholders
) -> TrackedJob:
    """Return a claim with what is to be done around the job's script, and its state files.

    Raises
    ------
    InvalidRequestError
        When a checkpoint cannot be one.
    """
    if options.checkpoint is None:
        return replace(claim, extra={**claim.extra, **options.to_json()})
    checkpoint = _resolved(context, claim, options.checkpoint, placeholders)
    _refuse_without_array(context, claim, checkpoint, placeholders)
    claims = state_claims(checkpoint)
    _refuse_outputs_below(claim, claims)
    if not options.node_local:
        _refuse_what_is_there(context, claim, claims)
    states = [state for state in claims if state not in claim.outputs]
    noted = options._replace(checkpoint=checkpoint).to_json()
    return replace(claim, extra={**claim.extra, **noted, "states": states})


def options_again(recorded: Mapping[str, Any]) -> RunnerOptions:
    """Return what a record holds, as it is asked for again: its paths have no placeholders."""
    options = RunnerOptions.read(recorded)
    if options.checkpoint is None:
        return options
    paths = tuple(map(literal, options.checkpoint.paths))
    return options._replace(checkpoint=options.checkpoint._replace(paths=paths))


def states_of(job: TrackedJob) -> tuple[str, ...]:
    """Return claims of all state files of a job, outputs or not."""
    checkpoint = RunnerOptions.read(job.extra).checkpoint
    return state_claims(checkpoint) if checkpoint else ()


def drop_states(context: Context, jobs: Iterable[TrackedJob]) -> None:
    """Remove the state files of jobs that have been committed, but what git knows, or is an output.

    Parameters
    ----------
    context : Context
        The dataset.
    jobs : iterable of TrackedJob
        Jobs with checkpoints, or parts of them.
    """
    for job in jobs:
        if job.leaving:
            drop_kept(store_of(context, job), {task.index for task in job.leaving})
        if job.is_node_local:
            continue
        checkpoint = RunnerOptions.read(job.extra).checkpoint
        paths = {
            path
            for path in (state_paths(checkpoint, job) if checkpoint else ())
            if not any(covers(output, path) for output in job.outputs)
        }
        try:
            gone = paths - known_to_git(context.hierarchy, paths)
        except DatasetError as exc:
            lgr.warning("the checkpoints of job %s are not removed: %s", job.label, exc)
            continue
        for path in gone:
            _remove(context.place_of(job).root / path)


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as exc:
        lgr.warning("the checkpoint %s cannot be removed: %s", path, exc.strerror)


def _resolved(
    context: Context, claim: TrackedJob, checkpoint: Checkpoint, placeholders: Placeholders
) -> Checkpoint:
    paths = tuple(placeholders.formatted(checkpoint.paths))
    cwd = context.repo.root / claim.pwd
    try:
        templates = [normalise_output(context.repo, marked(path), cwd) for path in paths]
    except InvalidRequestError as exc:
        raise InvalidRequestError(f"--checkpoint takes paths as --output does: {exc}") from exc
    return with_states(checkpoint._replace(paths=paths), templates)


def _refuse_without_array(
    context: Context, claim: TrackedJob, checkpoint: Checkpoint, placeholders: Placeholders
) -> None:
    """Refuse names for tasks of an array where there is none."""
    if not claim.cmd:
        return
    indices = indices_expected(context, claim, placeholders.preview(claim.cmd))
    named = next(filter(names_task, checkpoint.paths), None)
    if indices == () and named is not None:
        raise InvalidRequestError(
            f"the checkpoint '{named}' has sbatch's pattern %a, which names the tasks of an array, "
            "but the command submits no array; add --array, or type %%a for a percent sign and "
            "an a"
        )


def _refuse_outputs_below(claim: TrackedJob, states: Sequence[str]) -> None:
    """Refuse outputs in what is removed, and put back before another attempt."""
    for state in states:
        for output in claim.outputs:
            if collide(output, state) and not covers(output, state):
                raise InvalidRequestError(
                    f"the output '{output}' is in the checkpoint '{state}', which is removed when "
                    "the job is committed; let the job write them to different places"
                )


def _refuse_what_is_there(context: Context, claim: TrackedJob, states: Sequence[str]) -> None:
    """Refuse files at state files that are of another job, or the user's own."""
    root = context.place_of(claim).root
    found = (path for state in states for path in root.glob(state) if _holds_files(path))
    there = [str(path.relative_to(root)) for path in found]
    unknown = sorted(set(there) - known_to_git(context.hierarchy, there))
    if unknown:
        raise InvalidRequestError(
            f"the checkpoint '{unknown[0]}' is there already, so the job would begin with it, and "
            "remove it in the end, and git does not know it; remove it to begin from nothing, or "
            "save it to begin with it"
        )


def _holds_files(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        return any(files for _, _, files in os.walk(path))
    return True
