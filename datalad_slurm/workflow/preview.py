"""What a command would be, and what it would read and write, if it were submitted now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.notes import needs_runner
from datalad_slurm.jobs.packs import PACK
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.placeholders import Placeholders
from datalad_slurm.workflow.predecessors import find_predecessors
from datalad_slurm.workflow.request import Request, claim_of

__all__ = ["DRY_RUN_ACTION", "dry_run", "preview", "shown"]

DRY_RUN_ACTION = "slurm-schedule [dry-run]"


def dry_run(context: Context, request: Request) -> Iterator[Outcome]:
    """Say what `schedule` would submit; nothing is submitted, claimed or changed.

    The details have the keys of those of `datalad run --dry-run`.

    Raises
    ------
    InvalidRequestError
        When the request would be refused.
    """
    yield shown(context, request, *claim_of(context, request))


def shown(
    context: Context, request: Request, claim: TrackedJob, placeholders: Placeholders
) -> Outcome:
    """Return what a dry run says of a request; last, what `claim_of` has returned for it.

    Raises
    ------
    InvalidRequestError
        When the command has a placeholder that is unknown, or cannot run in a
        runner, where it is to.
    """
    previewed = preview(claim, placeholders)
    if needs_runner(claim):
        from datalad_slurm.workflow.runner_plan import refuse_unfit

        refuse_unfit(context, claim, previewed["cmd"])
    if PACK in claim.extra:
        from datalad_slurm.workflow.pack_checks import PackCheck

        PackCheck(context).refuse_unfit(claim)
    expand = {
        "both": ("inputs", "extra_inputs", "outputs"),
        "inputs": ("inputs", "extra_inputs"),
        "outputs": ("outputs",),
    }.get(request.expand, ())
    recorded = {
        "inputs": placeholders.inputs,
        "extra_inputs": list(request.extra_inputs),
        "outputs": placeholders.outputs,
    }
    return Outcome(
        DRY_RUN_ACTION,
        "ok",
        "Dry run",
        type="dataset",
        details={
            "run_info": {
                "cmd": claim.cmd,
                "chain": list(claim.chain),
                **{
                    name: placeholders.expand_for_record(paths) if name in expand else paths
                    for name, paths in recorded.items()
                },
                "pwd": claim.pwd,
                "dsid": claim.dsid,
            },
            "dry_run_info": {
                "cmd_expanded": previewed["cmd"],
                "pwd_full": str(context.run_directory(claim)),
                "inputs": previewed["inputs"],
                "outputs": previewed["outputs"],
                "depends_on": [
                    f"job {job.label}, which makes {' '.join(inputs)}"
                    for job, inputs in find_predecessors(context, claim)
                ],
            },
        },
    )


def preview(claim: TrackedJob, placeholders: Placeholders) -> dict[str, Any]:
    """Return command, inputs and outputs with placeholders filled in and globs replaced.

    Raises
    ------
    InvalidRequestError
        When the command has a placeholder that is unknown.
    """
    return {
        "cmd": placeholders.preview(claim.cmd),
        "pwd": claim.pwd,
        "inputs": placeholders.expand(placeholders.inputs),
        "outputs": placeholders.expand(placeholders.outputs),
    }
