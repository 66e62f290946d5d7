"""``datalad slurm-schedule``."""

from __future__ import annotations

from argparse import REMAINDER
from collections.abc import Iterator
from typing import Any, ClassVar

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
from datalad_next.constraints.exceptions import ConstraintError

from datalad_slurm.commands.constraints import (
    EnsureJobIds,
    EnsureParallelJobs,
    EnsureTexts,
    dataset_with_repository,
)
from datalad_slurm.commands.parameters import (
    alt_dir_parameter,
    assume_ready_parameter,
    jobs_parameter,
    joined,
    message_parameter,
    working_directory,
)
from datalad_slurm.commands.results import render, run_flow, show_dry_run
from datalad_slurm.jobs.names import JobName

__all__ = ["Schedule"]


def _one_job(**kwargs: Any) -> None:
    job_id = kwargs["job_id"]
    if job_id is not None and (kwargs["cmd"] or len(job_id) != 1):
        raise ConstraintError(
            EnsureJobIds(), kwargs, "--job-id takes the id of one job, and no command with it"
        )
    if job_id is not None and (kwargs["dry_run"] or kwargs["expand"]):
        raise ConstraintError(
            EnsureJobIds(), kwargs, "--job-id submits nothing, so it takes no --dry-run or --expand"
        )


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

    As long as the job waits and runs, nothing touches the repository. When it
    has ended, `slurm-finish` commits its outputs, its log files and a record
    with which `slurm-reschedule` can run it again.

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
            "check_outputs": EnsureBool(),
            "dry_run": EnsureChoice("basic", "command"),
            "jobs": EnsureParallelJobs(),
            "container_name": EnsureStr(min_len=1),
            "job_id": EnsureJobIds(),
        },
        validate_defaults=("dataset",),
        joint_constraints={
            ParameterConstraintContext(("cmd", "job_id", "dry_run", "expand"), "one job"): _one_job,
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
            '[?]' or '[[]'. [CMD: Can be given more than once. CMD]""",
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
        "check_outputs": Parameter(
            args=("--check-outputs",),
            metavar="BOOL",
            doc="""whether to refuse an output that another open job claims; by default 'yes'.
            With 'no', which of the jobs has written what is for you to know.""",
        ),
        "dry_run": Parameter(
            args=("--dry-run",),
            metavar="WHAT",
            doc="""submit nothing, and only show what would be: 'basic' the directory, the
            command, the inputs and the outputs, placeholders and globs replaced; 'command' the
            command only. Nothing is retrieved, unlocked or claimed, so globs in a subdataset
            that is not installed stay as they are.""",
        ),
        "jobs": jobs_parameter,
        "container_name": Parameter(
            args=("--container-name",),
            metavar="NAME",
            doc="""container that is registered in the dataset with datalad-container. Its image
            is an input of the job: retrieved first, and recorded. '{img}' in the command is the
            path of the image; what runs it is for the job script to say.""",
        ),
        "job_id": Parameter(
            args=("--job-id",),
            metavar="JOB",
            doc="""track the Slurm job of this id, which was submitted without this command,
            or has been lost with the tracking database. Nothing is submitted: command and
            directory are those that Slurm remembers. A job of another cluster is named
            'ID;CLUSTER', as by "sbatch --parsable".""",
        ),
    }

    _examples_: ClassVar[list[dict[str, str]]] = [
        {
            "text": "Schedule a job script that writes into the directory 'out'",
            "code_py": "slurm_schedule(['sbatch', 'job.sh'], outputs=['out'])",
            "code_cmd": "datalad slurm-schedule -o out/ sbatch job.sh",
        },
        {
            "text": "Schedule an array of jobs, with an input that is retrieved first",
            "code_py": (
                "slurm_schedule('sbatch --array=1-10 job.sh', inputs=['data.csv'], outputs=['sub'])"
            ),
            "code_cmd": "datalad slurm-schedule -i data.csv -o sub sbatch --array=1-10 job.sh",
        },
        {
            "text": "Schedule a job of whose files only some are to be kept, whatever their names",
            "code_py": "slurm_schedule('sbatch job.sh', outputs=['out/*.csv', 'sub-*/stats/**'])",
            "code_cmd": ("datalad slurm-schedule -o 'out/*.csv' -o 'sub-*/stats/**' sbatch job.sh"),
        },
        {
            "text": "Schedule a command without a script",
            "code_py": "slurm_schedule('sbatch --wrap \"hostname > host\"', outputs='host')",
            "code_cmd": "datalad slurm-schedule -o host sbatch --wrap 'hostname > host'",
        },
        {
            "text": "Run a job on a parallel file system, while the dataset lies elsewhere",
            "code_py": (
                "slurm_schedule('sbatch job.sh', inputs=['data.csv'], outputs=['out'], "
                "alt_dir='/scratch/me/run')"
            ),
            "code_cmd": (
                "datalad slurm-schedule -a /scratch/me/run -i data.csv -o out sbatch job.sh"
            ),
        },
        {
            "text": "See what would be submitted",
            "code_py": (
                "slurm_schedule('sbatch job.sh {inputs}', inputs=['*.csv'], outputs=['out'], "
                "dry_run='basic')"
            ),
            "code_cmd": (
                "datalad slurm-schedule --dry-run basic -i '*.csv' -o out sbatch job.sh '{inputs}'"
            ),
        },
    ]

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
        check_outputs: bool = True,
        dry_run: str | None = None,
        jobs: int | str | None = "auto",
        container_name: str | None = None,
        job_id: tuple[JobName, ...] | None = None,
    ) -> Iterator[dict[str, Any]]:
        from datalad_slurm.workflow.context import Context, Outcome
        from datalad_slurm.workflow.request import Request
        from datalad_slurm.workflow.schedule import schedule

        request = Request(
            cmd=joined(tuple(cmd or ())),
            cwd=working_directory(dataset),
            outputs=tuple(outputs or ()),
            inputs=tuple(inputs or ()),
            message=message or "",
            assume_ready=assume_ready or "",
            alt_dir=alt_dir or "",
            check_outputs=check_outputs,
            expand=expand or "",
            jobs=jobs,
        )

        def flow(context: Context) -> Iterator[Outcome]:
            wanted = request
            if job_id:
                from datalad_slurm.workflow.adopt import adopt_job

                return adopt_job(context, job_id[0], request)
            if container_name:
                from datalad_slurm.workflow.containers import in_container

                wanted = in_container(context, request, container_name)
            if dry_run:
                from datalad_slurm.workflow.preview import dry_run as preview

                return preview(context, wanted)
            return schedule(context, wanted)

        yield from run_flow("slurm-schedule", dataset.ds, flow)

    @staticmethod
    def custom_result_renderer(res: dict[str, Any], **kwargs: Any) -> None:
        """Print a result, without the path of the dataset for what is about a job."""
        if "dry_run_info" in res:
            show_dry_run(res, kwargs["dry_run"])
        else:
            render(res)
