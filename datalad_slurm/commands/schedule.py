"""``datalad slurm-schedule``."""

from __future__ import annotations

import logging
import shlex
from argparse import REMAINDER
from collections.abc import Iterator
from pathlib import Path
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
from datalad_next.constraints import EnsureChoice, EnsureStr
from datalad_next.constraints.exceptions import ConstraintError

from datalad_slurm.commands.constraints import EnsureJobIds, EnsureTexts, dataset_with_repository
from datalad_slurm.commands.results import run_flow

__all__ = ["Schedule", "working_directory"]

lgr = logging.getLogger("datalad.slurm")

assume_ready_parameter = Parameter(
    args=("--assume-ready",),
    metavar="WHAT",
    doc="""do not prepare 'inputs', 'outputs' or 'both': inputs are not retrieved, outputs
    not unlocked. Saves time where that is known to be unnecessary.""",
)
message_parameter = Parameter(
    args=("-m", "--message"),
    metavar="MESSAGE",
    doc="""text for the message of the job's commit.""",
)
alt_dir_parameter = Parameter(
    args=("-a", "--alt-dir"),
    metavar="DIR",
    doc="""let the job run below this directory, such as one on a parallel file system,
    instead of in the dataset. Inputs, and a script of the dataset that sbatch is given, are
    copied there to the same paths relative to the dataset's root, unless they are there
    already; the command runs in the directory that corresponds to the working directory.
    What else the job reads, or adds to, must be declared as input. `slurm-finish` brings
    outputs and logs back and removes what was copied. Jobs of one dataset can share DIR.""",
)


def _one_job(**kwargs: Any) -> None:
    job_id = kwargs["job_id"]
    if job_id is not None and (kwargs["cmd"] or len(job_id) != 1):
        raise ConstraintError(
            EnsureJobIds(), kwargs, "--job-id takes the id of one job, and no command with it"
        )


@build_doc
class Schedule(ValidatedInterface):
    """Submit a Slurm job and track it until `slurm-finish` commits its outputs.

    Prefix the command that submits the job, in whatever form: sbatch with
    options, with --wrap or --array, a pipe in a quoted string, a script of
    your own that calls sbatch. The command is run as `datalad run` would run
    it, but what is recorded in the end is the job, not the submission.

    All that the job writes must be declared as outputs: files, or directories
    in which files will be. An output that another open job claims is refused,
    so each file can be traced to the one job that made it. Declared outputs
    that exist already are unlocked, so that the job can write to them.

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
            "assume_ready": EnsureChoice("inputs", "outputs", "both"),
            "alt_dir": EnsureStr(min_len=1),
            "job_id": EnsureJobIds(),
        },
        validate_defaults=("dataset",),
        joint_constraints={
            ParameterConstraintContext(("cmd", "job_id"), "one job"): _one_job,
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
            [CMD: Can be given more than once. CMD]""",
        ),
        "message": message_parameter,
        "assume_ready": assume_ready_parameter,
        "alt_dir": alt_dir_parameter,
        "job_id": Parameter(
            args=("--job-id",),
            metavar="JOB",
            doc="""track the Slurm job of this id, which was submitted without this command,
            or has been lost with the tracking database. Nothing is submitted: command and
            directory are those that Slurm remembers.""",
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
        assume_ready: str | None = None,
        alt_dir: str | None = None,
        job_id: tuple[int, ...] | None = None,
    ) -> Iterator[dict[str, Any]]:
        from datalad_slurm.workflow.adopt import adopt_job
        from datalad_slurm.workflow.schedule import Request, schedule

        request = Request(
            cmd=joined(tuple(cmd or ())),
            cwd=working_directory(dataset),
            outputs=tuple(outputs or ()),
            inputs=tuple(inputs or ()),
            message=message or "",
            assume_ready=assume_ready or "",
            alt_dir=str(alt_dir or ""),
        )
        yield from run_flow(
            "slurm-schedule",
            dataset.ds,
            lambda ctx: adopt_job(ctx, job_id[0], request) if job_id else schedule(ctx, request),
        )

    @staticmethod
    def custom_result_renderer(res: dict[str, Any], **kwargs: Any) -> None:
        """Print a result, without the path of the dataset for what is about a job."""
        render(res)


def joined(cmd: tuple[str, ...]) -> str:
    """Return a command as the text that a shell is given, as `datalad run` does it.

    A single text is a shell command already; several are its words.
    """
    words = cmd[1:] if cmd and cmd[0] == "--" else cmd
    return words[0] if len(words) == 1 and len(cmd) == 1 else shlex.join(words)


def working_directory(dataset: Any) -> Path:
    """Return where a command runs: in a dataset that was named, its root, else here."""
    return Path(dataset.ds.path) if dataset.original is not None else Path.cwd()


def render(res: dict[str, Any]) -> None:
    """Print one result as DataLad does; results about jobs come without a path."""
    from datalad_next.commands import generic_result_renderer
    from datalad_next.uis import ui_switcher as ui

    about_job = res["action"] == "finish" or res["action"].startswith("slurm-")
    if about_job and res.get("path") == res.get("refds"):
        res = {key: value for key, value in res.items() if key not in ("path", "type")}
    if res["status"] == "notneeded" and res.get("message"):
        # the generic renderer is silent about these, but somebody has asked
        ui.message(f"{res['action']}({res['status']}): [{res['message']}]")
    else:
        generic_result_renderer(res)
