"""``datalad slurm-reschedule``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from datalad_next.commands import (
    EnsureCommandParameterization,
    Parameter,
    ValidatedInterface,
    build_doc,
    datasetmethod,
    eval_results,
)
from datalad_next.constraints import EnsureChoice, EnsureStr

from datalad_slurm.commands.constraints import dataset_with_repository
from datalad_slurm.commands.results import run_flow
from datalad_slurm.commands.schedule import (
    alt_dir_parameter,
    assume_ready_parameter,
    message_parameter,
    render,
)

__all__ = ["Reschedule"]


@build_doc
class Reschedule(ValidatedInterface):
    """Submit a recorded Slurm job again.

    The command in the record of a commit that `slurm-finish` has made is
    submitted again, in the directory it ran in, with the inputs and scripts
    that the dataset holds now. Outputs of the earlier run are unlocked, or
    removed where their content is not here. When the new job has ended, it
    wants a `slurm-finish` as any other; its record names the commit it repeats.

    This runs a command that somebody has recorded: look at it first in a
    dataset that is not your own.
    """

    result_renderer = "tailored"
    on_failure = "stop"

    _validator_ = EnsureCommandParameterization(
        param_constraints={
            "revision": EnsureStr(min_len=1),
            "dataset": dataset_with_repository("reschedule a Slurm job"),
            "message": EnsureStr(),
            "assume_ready": EnsureChoice("inputs", "outputs", "both"),
            "alt_dir": EnsureStr(min_len=1),
        },
        validate_defaults=("dataset",),
    )

    _params_: ClassVar[dict[str, Parameter]] = {
        "revision": Parameter(
            args=("revision",),
            nargs="?",
            metavar="REVISION",
            doc="""commit with the record of the job. By default the one that is checked
            out.""",
        ),
        "dataset": Parameter(
            args=("-d", "--dataset"),
            metavar="DATASET",
            doc="""dataset that holds the commit. Without it, the one around the working
            directory.""",
        ),
        "message": message_parameter,
        "assume_ready": assume_ready_parameter,
        "alt_dir": alt_dir_parameter,
    }

    _examples_: ClassVar[list[dict[str, str]]] = [
        {
            "text": "Submit the job of the last commit again",
            "code_py": "slurm_reschedule()",
            "code_cmd": "datalad slurm-reschedule",
        },
        {
            "text": "Submit the job of an earlier commit again",
            "code_py": "slurm_reschedule('a8e4aa6')",
            "code_cmd": "datalad slurm-reschedule a8e4aa6",
        },
    ]

    @staticmethod
    @datasetmethod(name="slurm_reschedule")
    @eval_results
    def __call__(  # noqa: D102 - documented by the class
        revision: str | None = None,
        *,
        dataset: Any = None,
        message: str | None = None,
        assume_ready: str | None = None,
        alt_dir: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        from datalad_slurm.workflow.reschedule import reschedule

        yield from run_flow(
            "slurm-reschedule",
            dataset.ds,
            lambda ctx: reschedule(
                ctx,
                revision or "HEAD",
                message or "",
                assume_ready or "",
                str(alt_dir or ""),
            ),
        )

    @staticmethod
    def custom_result_renderer(res: dict[str, Any], **kwargs: Any) -> None:
        """Print a result."""
        render(res)
