"""Fill in patterns in outputs before the job exists that will fill them in itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.foresee import Foreseen, foresee
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.sbatch_options import Call
from datalad_slurm.jobs.task_outputs import claims_expected, names_own_id, names_task
from datalad_slurm.workflow.context import Context
from datalad_slurm.workflow.scripts import script_text

__all__ = ["indices_expected", "with_expected_claims"]


def with_expected_claims(context: Context, claim: TrackedJob, command: str) -> TrackedJob:
    """Return a claim of the outputs that a command's tasks will have, as far as that is known.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        What is claimed, with patterns.
    command : str
        The command with its placeholders filled in.

    Raises
    ------
    InvalidRequestError
        When a pattern will not stand for anything useful.
    """
    found = _foreseen(context, claim, command)
    for output in claim.declared_outputs:
        if found.indices == () and names_task(output):
            raise InvalidRequestError(
                f"output '{output}' has sbatch's pattern %a, which names the tasks of an array, "
                "but the command submits no array; add --array, or type %%a for a percent sign "
                "and an a"
            )
        if found.indices and names_own_id(output):
            raise InvalidRequestError(
                f"output '{output}' has sbatch's pattern %j, which in an array is the own id of "
                "each task, and known to nobody before that starts; the array's id is %A, the "
                "number of a task in it %a"
            )
    expected = claims_expected(claim.templates, found.indices, found.name, claim.token)
    return replace(claim, outputs=expected)


def indices_expected(context: Context, claim: TrackedJob, command: str) -> Sequence[int] | None:
    """Return which tasks an array will have: none if it is no array, None if nobody knows."""
    return _foreseen(context, claim, command).indices


def _foreseen(context: Context, claim: TrackedJob, command: str) -> Foreseen:
    cwd = context.repo.root / claim.pwd
    if claim.alt_dir:  # the script is not there yet
        command = command.replace(claim.alt_dir, str(context.repo.root))
    return foresee(command, os.environ, _reader(cwd))


def _reader(cwd: Path) -> Callable[[Call], str | None]:
    return lambda call: script_text(call.options, call.script, cwd)
