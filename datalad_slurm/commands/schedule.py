"""``datalad slurm-schedule``."""

from __future__ import annotations

from argparse import REMAINDER
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from datalad_next.commands import (
    EnsureCommandParameterization,
    Parameter,
    ParameterConstraintContext,
    ValidatedInterface,
    build_doc,
    datasetmethod,
    eval_results,
)
from datalad_next.constraints import EnsureBool, EnsureChoice, EnsureStr

from datalad_slurm.commands.constraints import (
    EnsureJobIds,
    EnsureParallelJobs,
    EnsureSignal,
    EnsureTable,
    EnsureTexts,
    EnsureWholeSeconds,
    dataset_with_repository,
    one_job,
)
from datalad_slurm.commands.parameters import (
    alt_dir_parameter,
    assume_ready_parameter,
    check_outputs_parameter,
    checkpoint_parameter,
    checkpoint_signal_parameter,
    container_name_parameter,
    dry_run_parameter,
    grace_parameter,
    job_id_parameter,
    jobs_parameter,
    joined,
    message_parameter,
    no_auto_dependency_parameter,
    node_local_dir_parameter,
    node_local_parameter,
    pack_only_parameter,
    pack_parameter,
    runner_options,
    table_parameter,
    then_finish_parameter,
    then_push_parameter,
    working_directory,
)
from datalad_slurm.commands.results import render, run_flow, show_dry_run
from datalad_slurm.commands.schedule_examples import EXAMPLES
from datalad_slurm.commands.scheduling import Scheduling
from datalad_slurm.jobs.names import JobName
from datalad_slurm.jobs.packs import Pack

if TYPE_CHECKING:
    from datalad_slurm.jobs.table import Table

__all__ = ["Schedule"]


@build_doc
class Schedule(ValidatedInterface):
    """Submit a Slurm job and track it until `slurm-finish` commits its outputs.

    Prefix the command that submits the job, in whatever form: sbatch with
    options, with --wrap or --array, a pipe in a quoted string, a script of
    your own that calls sbatch. The command is run as `datalad run` would run
    it, but what is recorded in the end is the job, not the submission.

    All that the job writes must be declared as outputs: files, directories
    in which files will be, or globs that will match them. An output that
    another open job claims is refused, so each file can be traced to the one
    job that made it; a glob claims every path that it could match. Declared
    outputs that exist already are unlocked, so that the job can write to them.

    A job whose input is an output of an open job waits for that one, by a
    dependency "afterok" that is joined with what else it depends on.

    As long as the job waits and runs, nothing touches the repository. When it
    has ended, `slurm-finish` commits its outputs, its log files and a record
    with which `slurm-reschedule` can run it again.

    Outputs can hold patterns of sbatch: %a for the number of an array's task, %A
    for the array's id, %j for that of a job that is no array, %x for the job's
    name; %4a has zeros in front, and %% is a percent sign. With %a each task has
    outputs of its own: two arrays can share a pattern if they share no task, and
    `slurm-finish --partial` commits what some tasks have left before the others.

    In the command, and in inputs and outputs, placeholders are filled in as
    by `datalad run`: {inputs}, {outputs}, {pwd}, {dspath}, {tmpdir} and those
    in configuration under "datalad.run.substitutions". A brace that stands for
    itself is typed twice.
    """

    result_renderer = "tailored"
    on_failure = "stop"

    _validator_ = EnsureCommandParameterization(
        param_constraints={
            "cmd": EnsureTexts(),
            "dataset": dataset_with_repository("schedule a Slurm job"),
            "inputs": EnsureTexts(),
            "outputs": EnsureTexts(),
            "message": EnsureStr(),
            "expand": EnsureChoice("inputs", "outputs", "both"),
            "assume_ready": EnsureChoice("inputs", "outputs", "both"),
            "alt_dir": EnsureStr(min_len=1),
            "node_local": EnsureBool(),
            "node_local_dir": EnsureStr(min_len=1),
            "grace": EnsureWholeSeconds(),
            "checkpoint": EnsureTexts(),
            "checkpoint_signal": EnsureSignal(),
            "pack": EnsureTexts(),
            "pack_only": EnsureBool(),
            "check_outputs": EnsureBool(),
            "dry_run": EnsureChoice("basic", "command"),
            "jobs": EnsureParallelJobs(),
            "container_name": EnsureStr(min_len=1),
            "job_id": EnsureJobIds(),
            "table": EnsureTable(),
            "no_auto_dependency": EnsureBool(),
            "then_finish": EnsureBool(),
            "then_push": EnsureStr(min_len=1),
        },
        validate_defaults=("dataset",),
        joint_constraints={
            ParameterConstraintContext(
                (
                    *("cmd", "job_id", "dry_run", "expand", "table", "then_finish", "then_push"),
                    *("node_local", "node_local_dir", "checkpoint", "checkpoint_signal"),
                    *("grace", "pack", "pack_only"),
                ),
                "one job",
            ): one_job,
        },
    )

    _params_: ClassVar[dict[str, Parameter]] = {
        "cmd": Parameter(
            args=("cmd",),
            nargs=REMAINDER,
            metavar="COMMAND",
            doc="""command that submits the job. A leading '--' can be used to disambiguate it
            from the options before it.""",
        ),
        "dataset": Parameter(
            args=("-d", "--dataset"),
            metavar="DATASET",
            doc="""dataset that tracks the job. Without it, the one around the working
            directory. With it, the command is run in the dataset's root directory.""",
        ),
        "inputs": Parameter(
            args=("-i", "--input"),
            dest="inputs",
            metavar="PATH",
            action="append",
            doc="""file or directory that the job reads; its content is retrieved before the
            job is submitted. Can be a glob. [CMD: Can be given more than once. CMD]""",
        ),
        "outputs": Parameter(
            args=("-o", "--output"),
            dest="outputs",
            metavar="PATH",
            action="append",
            doc="""file or directory that the job writes. At least one is required.
            Can be a glob, as for `datalad run`: '*', '?', '[a-c]', '[!x]', and '**' for
            any number of directories; it is expanded when the job is finished. Quote it,
            or the shell expands it at once. A '*', '?' or '[' in a name is typed '[*]',
            '[?]' or '[[]'. Patterns of sbatch are filled in, see above.
            [CMD: Can be given more than once. CMD]""",
        ),
        "message": message_parameter,
        "expand": Parameter(
            args=("--expand",),
            metavar="WHAT",
            doc="""have the record name what the globs in 'inputs', 'outputs' or 'both' match,
            instead of the globs: those in inputs when the job is submitted.""",
        ),
        "assume_ready": assume_ready_parameter,
        "alt_dir": alt_dir_parameter,
        "node_local": node_local_parameter,
        "node_local_dir": node_local_dir_parameter,
        "grace": grace_parameter,
        "checkpoint": checkpoint_parameter,
        "checkpoint_signal": checkpoint_signal_parameter,
        "pack": pack_parameter,
        "pack_only": pack_only_parameter,
        "check_outputs": check_outputs_parameter,
        "dry_run": dry_run_parameter,
        "jobs": jobs_parameter,
        "container_name": container_name_parameter,
        "no_auto_dependency": no_auto_dependency_parameter,
        "then_finish": then_finish_parameter,
        "then_push": then_push_parameter,
        "job_id": job_id_parameter,
        "table": table_parameter,
    }

    _examples_: ClassVar[list[dict[str, str]]] = EXAMPLES

    @staticmethod
    @datasetmethod(name="slurm_schedule")
    @eval_results
    def __call__(  # noqa: D102 - documented by the class
        cmd: list[str] | str | None = None,
        *,
        dataset: Any = None,
        inputs: list[str] | str | None = None,
        outputs: list[str] | str | None = None,
        message: str | None = None,
        expand: str | None = None,
        assume_ready: str | None = None,
        alt_dir: str | None = None,
        node_local: bool = False,
        node_local_dir: str | None = None,
        grace: int | None = None,
        checkpoint: tuple[str, ...] | None = None,
        checkpoint_signal: str | None = None,
        pack: list[str] | str | None = None,
        pack_only: bool = False,
        check_outputs: bool = True,
        dry_run: str | None = None,
        jobs: int | str | None = "auto",
        container_name: str | None = None,
        job_id: tuple[JobName, ...] | None = None,
        table: Table | None = None,
        no_auto_dependency: bool = False,
        then_finish: bool = False,
        then_push: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        from datalad_slurm.workflow.context import Context, Outcome
        from datalad_slurm.workflow.request import Request

        words = tuple(cmd or ())
        request = Request(
            cmd=joined(words),
            cwd=working_directory(dataset),
            outputs=tuple(outputs or ()),
            inputs=tuple(inputs or ()),
            message=message or "",
            assume_ready=assume_ready or "",
            alt_dir=alt_dir or "",
            check_outputs=check_outputs,
            expand=expand or "",
            jobs=jobs,
            auto_dependency=not no_auto_dependency,
            pack=Pack(tuple(pack), pack_only) if pack else None,
        )

        scheduling = Scheduling(
            words,
            table=table,
            job_id=job_id[0] if job_id else None,
            container_name=container_name or "",
            dry_run=dry_run is not None,
            then_finish=then_finish,
            then_push=then_push or "",
        )

        def flow(context: Context) -> Iterator[Outcome]:
            place = (node_local_dir or "") if node_local else None
            default = context.settings.grace
            runner = runner_options(default, grace, place, checkpoint, checkpoint_signal)
            return scheduling.flow(context, request._replace(runner=runner))

        yield from run_flow("slurm-schedule", dataset.ds, flow)

    @staticmethod
    def custom_result_renderer(res: dict[str, Any], **kwargs: Any) -> None:
        """Print a result, without the path of the dataset for what is about a job."""
        if "dry_run_info" in res:
            show_dry_run(res, kwargs["dry_run"])
        else:
            render(res)
