"""``datalad slurm-checkpoint``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from datalad_next.commands import (
    EnsureCommandParameterization,
    Parameter,
    ValidatedInterface,
    build_doc,
    datasetmethod,
    eval_results,
)

from datalad_slurm.commands.constraints import EnsureJobIds, dataset_with_repository
from datalad_slurm.commands.results import render, run_flow

if TYPE_CHECKING:
    from datalad_slurm.jobs.names import JobName

__all__ = ["AskCheckpoint"]


@build_doc
class AskCheckpoint(ValidatedInterface):
    """Ask running Slurm jobs to write a checkpoint now.

    Jobs that were scheduled with `slurm-schedule --checkpoint` are sent the
    signal that asks their work for one, and go on. What they write is kept
    as soon as it is whole: another attempt begins with it. `slurm-reschedule
    --retry` makes one, and Slurm does, when it requeues the job.
    """

    result_renderer = "tailored"
    on_failure = "continue"

    _validator_ = EnsureCommandParameterization(
        param_constraints={
            "dataset": dataset_with_repository("ask Slurm jobs for checkpoints"),
            "job": EnsureJobIds(),
        },
        validate_defaults=("dataset",),
    )

    _params_: ClassVar[dict[str, Parameter]] = {
        "job": Parameter(
            args=("job",),
            nargs="*",
            metavar="JOB",
            doc="""Slurm job id of an open job, or tasks of an array, as in '4711_3' or
            '4711_[2-5]'. All open jobs that run and have checkpoints when none is named.""",
        ),
        "dataset": Parameter(
            args=("-d", "--dataset"),
            metavar="DATASET",
            doc="""dataset that tracks the jobs. Without it, the one around the working
            directory.""",
        ),
    }

    _examples_: ClassVar[list[dict[str, str]]] = [
        {
            "text": "Ask all jobs that run for a checkpoint, as before a maintenance",
            "code_py": "slurm_checkpoint()",
            "code_cmd": "datalad slurm-checkpoint",
        },
        {
            "text": "Ask one task of an array",
            "code_py": "slurm_checkpoint('4711_3')",
            "code_cmd": "datalad slurm-checkpoint 4711_3",
        },
    ]

    @staticmethod
    @datasetmethod(name="slurm_checkpoint")
    @eval_results
    def __call__(  # noqa: D102 - documented by the class
        job: tuple[JobName, ...] | None = None, *, dataset: Any = None
    ) -> Iterator[dict[str, Any]]:
        from datalad_slurm.workflow.ask_checkpoint import ACTION, ask_for_checkpoints

        yield from run_flow(
            ACTION, dataset.ds, lambda context: ask_for_checkpoints(context, job or None)
        )

    @staticmethod
    def custom_result_renderer(res: dict[str, Any], **_: Any) -> None:
        """Print a result."""
        render(res)
