"""``datalad slurm-reschedule``."""

from __future__ import annotations

import os
import sys
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
from datalad_next.constraints import EnsureBool, EnsureChoice, EnsureInt, EnsureRange, EnsureStr

from datalad_slurm.commands.constraints import (
    EnsureParallelJobs,
    EnsureRetries,
    dataset_with_repository,
    only_retry,
)
from datalad_slurm.commands.parameters import (
    alt_dir_parameter,
    assume_ready_parameter,
    jobs_parameter,
    message_parameter,
)
from datalad_slurm.commands.results import render, run_flow, show_recorded
from datalad_slurm.jobs.names import JobName

__all__ = ["Reschedule"]

#: What belongs to the job of a commit, or to one that has failed, not to both.
_OF_COMMITS = (
    *("retry", "retry_with", "max_attempts", "revision", "since", "message", "report", "script"),
    *("with_failed_jobs", "verify", "as_recorded", "alt_dir"),
)


@build_doc
class Reschedule(ValidatedInterface):
    """Submit a recorded Slurm job again.

    The command in the record of a commit that `slurm-finish` has made is
    submitted again, in the directory it ran in, with the inputs and scripts
    that the dataset holds now; a script that differs from the one that ran
    is named, and with --as-recorded that one is submitted. Outputs of the
    earlier run are unlocked, or removed where their content is not here.
    When the new job has ended, it wants a `slurm-finish` as any other; its
    record names the commit it repeats.

    With --since, the jobs of a range of commits are submitted, in the order of
    history. All records are read and checked first: nothing is submitted when
    one of them cannot be used. Of such a range are left out, and named: commits
    of `datalad run`, jobs that did not complete, jobs of another dataset, and
    jobs that a later one of the range repeats, by its record or because it is
    the same command with the same outputs. Two other jobs that write the same
    output are refused, as they would run at the same time. A job that reads what
    an earlier one of the range writes waits for that one, as with `slurm-schedule`.
    In a dependency that the command itself names, the new jobs take the place of
    those that they repeat; jobs that are long over are left out of it.

    With --retry, jobs are submitted again that are open because they have
    failed, were cancelled or have timed out.

    This runs commands that somebody has recorded, with your rights. In a
    dataset that is not your own look at them first: --report shows them, and
    --script writes them to a file; both submit nothing.
    """

    result_renderer = "tailored"
    on_failure = "stop"

    _validator_ = EnsureCommandParameterization(
        param_constraints={
            "revision": EnsureStr(min_len=1),
            "dataset": dataset_with_repository("reschedule a Slurm job"),
            "message": EnsureStr(),
            "since": EnsureStr(),
            "report": EnsureBool(),
            "script": EnsureStr(min_len=1),
            "with_failed_jobs": EnsureBool(),
            "retry": EnsureRetries(),
            "retry_with": EnsureStr(min_len=1),
            "max_attempts": EnsureInt() & EnsureRange(min=1),
            "verify": EnsureBool(),
            "as_recorded": EnsureBool(),
            "assume_ready": EnsureChoice("inputs", "outputs", "both"),
            "alt_dir": EnsureStr(min_len=1),
            "jobs": EnsureParallelJobs(),
        },
        validate_defaults=("dataset",),
        joint_constraints={ParameterConstraintContext(_OF_COMMITS, "retry"): only_retry},
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
        "since": Parameter(
            args=("--since",),
            metavar="REVISION",
            doc="""submit the jobs of all commits that are reachable from REVISION (by default
            the commit that is checked out), but not from this one, as in `git log
            SINCE..REVISION`. If it is empty (--since=), those of all commits reachable from
            REVISION.""",
        ),
        "message": Parameter(
            args=message_parameter.cmd_args,
            metavar="MESSAGE",
            doc="""text for the messages of the commits of all jobs that are submitted. By
            default, what was said in those they repeat.""",
        ),
        "report": Parameter(
            args=("--report",),
            action="store_true",
            doc="""only show what would be submitted: of each commit its command, directory,
            inputs and outputs, placeholders filled in. [CMD: With '-f json', one result record a
            commit, with the whole record as "run_info". CMD]""",
        ),
        "script": Parameter(
            args=("--script",),
            metavar="FILE",
            doc="""only write the commands to a shell script, with comments that name their
            commits. '-' stands for standard output. A file that exists is overwritten.""",
        ),
        "with_failed_jobs": Parameter(
            args=("--with-failed-jobs",),
            action="store_true",
            doc="""of a range, also submit jobs whose commits say that they have failed, were
            cancelled or have timed out. The job of a single commit is always submitted.""",
        ),
        "retry": Parameter(
            args=("--retry",),
            metavar="JOB",
            action="append",
            doc="""instead of the job of a commit, submit this open one again, which has failed:
            'all' stands for all that have. [CMD: Can be given more than once. CMD] The job keeps
            its claims, and becomes a further attempt at the same; in the end there is one commit,
            with a record that lists every attempt. Inputs are retrieved; what the failed attempt
            left of its outputs is removed, and what git knows there put back, once the new one
            is submitted ('--assume-ready outputs' keeps all as it is). Its log files stay.""",
        ),
        "retry_with": Parameter(
            args=("--retry-with",),
            metavar="OPTIONS",
            doc="""options of sbatch for a --retry, in one text: '--mem=8G --time=2:00:00'. They
            win over those that the job had, and are part of the command from then on.""",
        ),
        "max_attempts": Parameter(
            args=("--max-attempts",),
            metavar="N",
            doc="""with --retry, leave a job alone that has had so many attempts. With 'all' it is
            named, and the others are submitted.""",
        ),
        "verify": Parameter(
            args=("--verify",),
            action="store_true",
            doc="""when the new job is finished, compare its outputs with those in the commit
            it repeats. `slurm-finish` names each that is different, missing or new, notes it in
            the record, and fails unless all are identical; the job is committed in any case.
            Outputs are identical when their content is; an output that the job has left as it
            was is missing. Not with --report or --script.""",
        ),
        "as_recorded": Parameter(
            args=("--as-recorded",),
            action="store_true",
            doc="""submit the script that the job ran with, as it was archived with its commit,
            also if the present one differs. Command, inputs and environment are the present
            ones. Not with --report or --script.""",
        ),
        "assume_ready": assume_ready_parameter,
        "alt_dir": alt_dir_parameter,
        "jobs": jobs_parameter,
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
        {
            "text": "See which commands all of history holds, before running them again",
            "code_py": "slurm_reschedule(since='', report=True)",
            "code_cmd": "datalad slurm-reschedule --since= --report",
        },
        {
            "text": "Submit the jobs of the last five commits again",
            "code_py": "slurm_reschedule(since='HEAD~5')",
            "code_cmd": "datalad slurm-reschedule --since=HEAD~5",
        },
        {
            "text": "See whether the job of the last commit gives the same outputs again",
            "code_py": "slurm_reschedule(verify=True)",
            "code_cmd": "datalad slurm-reschedule --verify",
        },
        {
            "text": "Submit an open job again that ran out of memory, with more of it",
            "code_py": "slurm_reschedule(retry=123, retry_with='--mem=8G')",
            "code_cmd": "datalad slurm-reschedule --retry 123 --retry-with=--mem=8G",
        },
        {
            "text": "Let all jobs go on that were interrupted, but none for a fifth time",
            "code_py": "slurm_reschedule(retry='all', max_attempts=4)",
            "code_cmd": "datalad slurm-reschedule --retry all --max-attempts 4",
        },
    ]

    @staticmethod
    @datasetmethod(name="slurm_reschedule")
    @eval_results
    def __call__(  # noqa: D102 - documented by the class
        revision: str | None = None,
        *,
        dataset: Any = None,
        since: str | None = None,
        message: str | None = None,
        report: bool = False,
        script: str | None = None,
        with_failed_jobs: bool = False,
        retry: tuple[JobName | str, ...] | None = None,
        retry_with: str | None = None,
        max_attempts: int | None = None,
        verify: bool = False,
        as_recorded: bool = False,
        assume_ready: str | None = None,
        alt_dir: str | None = None,
        jobs: int | str | None = "auto",
    ) -> Iterator[dict[str, Any]]:
        from datalad_slurm.jobs.commands import parse_further_options
        from datalad_slurm.jobs.errors import InvalidRequestError
        from datalad_slurm.workflow import reschedule
        from datalad_slurm.workflow.context import Context, Outcome
        from datalad_slurm.workflow.history import Selection
        from datalad_slurm.workflow.replay import Options
        from datalad_slurm.workflow.retry import RetryOptions
        from datalad_slurm.workflow.retry import retry as submit_again

        selection = Selection(revision or "HEAD", since, with_failed_jobs)

        def flow(context: Context) -> Iterator[Outcome]:
            if retry:
                names = [name for name in retry if isinstance(name, JobName)]
                further = parse_further_options(retry_with) if retry_with else ()
                how = RetryOptions(further, assume_ready or "", jobs, max_attempts)
                return submit_again(context, None if "all" in retry else names, how)
            if (verify or as_recorded) and (script or report):
                name = "--verify" if verify else "--as-recorded"
                raise InvalidRequestError(
                    f"{name} is of no use with --report or --script, which submit nothing"
                )
            if script:
                return reschedule.write_script(context, selection, script)
            if report:
                return reschedule.report(context, selection)
            options = Options(
                message or "",
                assume_ready or "",
                jobs,
                alt_dir or "",
                verify=verify,
                as_recorded=as_recorded,
            )
            return reschedule.reschedule(context, selection, options)

        yield from run_flow("slurm-reschedule", dataset.ds, flow)

    @staticmethod
    def custom_result_renderer(res: dict[str, Any], **kwargs: Any) -> None:
        """Print a result; of a script on standard output nothing but the script."""
        if kwargs.get("script") == "-" and "script" in res:
            sys.stdout.flush()
            sys.stdout.buffer.write(os.fsencode(res["script"]))
            sys.stdout.buffer.flush()
        elif "rerun_action" in res:
            show_recorded(res)
        else:
            render(res)
