"""``datalad slurm-export``."""

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
from datalad_next.constraints import EnsureBool, EnsureChoice, EnsureStr

from datalad_slurm.commands.constraints import dataset_with_repository
from datalad_slurm.commands.results import render, run_flow

__all__ = ["Export"]


@build_doc
class Export(ValidatedInterface):
    """Write what Slurm jobs have read and written in a form that others read.

    This reads the records in the messages of commits that `slurm-finish`
    has made; Slurm is not asked. The export tells of each job who committed
    it, its command, script and container, what it has read and written, when
    it ran, with which resources, and how it ended; of each file its annex
    key, checksum and size, and where it can be had. The files themselves are
    not part of it.

    An RO-Crate follows the profile Process Run Crate of Workflow Run
    RO-Crate. W3C PROV is written as PROV-JSON or PROV-N. Both need libraries:
    `pip install '.[export]'` in a clone of datalad-slurm.
    """

    result_renderer = "tailored"
    on_failure = "continue"

    _validator_ = EnsureCommandParameterization(
        param_constraints={
            "revision": EnsureStr(min_len=1),
            "dataset": dataset_with_repository("export the provenance of Slurm jobs"),
            "format": EnsureChoice("ro-crate", "prov"),
            "output": EnsureStr(min_len=1),
            "force": EnsureBool(),
        },
        validate_defaults=("dataset",),
    )

    _params_: ClassVar[dict[str, Parameter]] = {
        "revision": Parameter(
            args=("revision",),
            nargs="?",
            metavar="REV|RANGE",
            doc="""commits to export, as `git log` has it: FROM..TO are those reachable from TO
            but not from FROM, TO all up to it, TO^! that one alone. By default all up to the
            commit that is checked out.""",
        ),
        "dataset": Parameter(
            args=("-d", "--dataset"),
            metavar="DATASET",
            doc="""dataset to export from. Without it, the one around the working directory.""",
        ),
        "format": Parameter(
            args=("--format",),
            metavar="FORMAT",
            required=True,
            doc="""'ro-crate' or 'prov'.""",
        ),
        "output": Parameter(
            args=("-o", "--output"),
            metavar="PATH",
            required=True,
            doc="""where to write: for 'ro-crate' a directory, in which `ro-crate-metadata.json`
            is written; for 'prov' a file with a name that ends in `.json` or `.provn`.""",
        ),
        "force": Parameter(
            args=("--force",),
            action="store_true",
            doc="""replace an export that is there.""",
        ),
    }

    _examples_: ClassVar[list[dict[str, str]]] = [
        {
            "text": "Describe all jobs of the dataset as an RO-Crate",
            "code_py": "slurm_export('ro-crate', 'crate')",
            "code_cmd": "datalad slurm-export --format ro-crate -o crate",
        },
        {
            "text": "Write the provenance of what was done since a tag as PROV-JSON",
            "code_py": "slurm_export('prov', 'jobs.json', revision='v1..')",
            "code_cmd": "datalad slurm-export v1.. --format prov -o jobs.json",
        },
    ]

    @staticmethod
    @datasetmethod(name="slurm_export")
    @eval_results
    def __call__(  # noqa: D102 - documented by the class
        format: str,
        output: str,
        *,
        revision: str | None = None,
        dataset: Any = None,
        force: bool = False,
    ) -> Iterator[dict[str, Any]]:
        from datalad_slurm.workflow.context import Context, Outcome
        from datalad_slurm.workflow.export import export
        from datalad_slurm.workflow.report import select

        def flow(context: Context) -> Iterator[Outcome]:
            return export(context, select(revision), format, output, force=force)

        yield from run_flow("slurm-export", dataset.ds, flow)

    @staticmethod
    def custom_result_renderer(res: dict[str, Any], **_: Any) -> None:
        """Print a result."""
        render(res)
