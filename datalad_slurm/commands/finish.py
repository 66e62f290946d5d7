"""``datalad slurm-finish``."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any, ClassVar

from datalad_next.commands import (
    Parameter,
    ValidatedInterface,
    build_doc,
    datasetmethod,
    eval_results,
)
from datalad_next.uis import ui_switcher as ui

from datalad_slurm.commands.finish_validation import FinishValidator
from datalad_slurm.commands.parameters import (
    log_lines_parameter,
    message_parameter,
    show_log_parameter,
    timeout_parameter,
    wait_parameter,
)
from datalad_slurm.commands.results import render, run_flow, show_log_ends
from datalad_slurm.jobs.names import JobName

__all__ = ["Finish"]

#: Files of one job that are named on a terminal; redirected output names them all.
_FILES_SHOWN = 10


@build_doc
class Finish(ValidatedInterface):
    """Commit the outputs of Slurm jobs that have ended.

    Asks Slurm how each tracked job has ended. For one that has completed, its
    declared outputs, its log files and a file with what Slurm knows of it are
    committed, one commit a job, with a record that `slurm-reschedule` can run
    again. Nothing else is committed or staged, whatever has changed in the
    dataset.

    A job that waits or runs stays open. So does one that has failed, was
    cancelled or has timed out: why is said, and it is for you to say what to do
    with it. `slurm-reschedule --retry` submits it again, --accept-failed-jobs
    commits what it left, --close-failed-jobs forgets it and leaves its files as
    they are. A job array counts as one job: if one task has failed, it has
    failed.

    An array whose tasks have outputs of their own, declared as '-o sub-%a', can
    be finished in parts: --partial commits what tasks have left that completed,
    in one commit a job, and leaves the others open. A task is named 123_7, several
    123_[1-5,8]; then nothing else of the job is touched. Outputs that all tasks
    share are committed with the last ones.

    Jobs are committed in the order in which one reads what another writes. A job
    stays open, if one that makes its inputs does: its record could not say what
    it has read. A job that Slurm will never start, as one that it waits for did not
    end well, counts as failed; --close-failed-jobs cancels it.

    The exit status is 0 only if every job was committed or closed, and, of those
    submitted with `slurm-reschedule --verify`, gave the same outputs again.
    """

    result_renderer = "tailored"
    on_failure = "continue"

    _validator_ = FinishValidator()

    _params_: ClassVar[dict[str, Parameter]] = {
        "job": Parameter(
            args=("job",),
            nargs="*",
            metavar="JOB",
            doc="""id of a Slurm job to finish, or tasks of an array: 123_7, '123_[1-5,8]'.
            Without any, all open jobs of the dataset. A job of another cluster is named
            'ID;CLUSTER', as by "sbatch --parsable", where the id alone is not clear.""",
        ),
        "slurm_job_id": Parameter(
            args=("--slurm-job-id",),
            metavar="JOB",
            action="append",
            doc="""the same as JOB. [CMD: Can be given more than once. CMD]""",
        ),
        "dataset": Parameter(
            args=("-d", "--dataset"),
            metavar="DATASET",
            doc="""dataset that tracks the jobs. Without it, the one around the working
            directory.""",
        ),
        "message": message_parameter,
        "list_open_jobs": Parameter(
            args=("-l", "--list-open-jobs"),
            action="store_true",
            doc="""only list the open jobs with their states.""",
        ),
        "close_failed_jobs": Parameter(
            args=("--close-failed-jobs",),
            action="store_true",
            doc="""forget jobs that have failed, were cancelled or have timed out, and commit
            nothing of them. Never touches a job that has not ended.""",
        ),
        "accept_failed_jobs": Parameter(
            args=("--accept-failed-jobs",),
            action="store_true",
            doc="""commit what failed jobs left as if they had completed; the record says how
            they ended. Never touches a job that has not ended.""",
        ),
        "commit_failed_jobs": Parameter(
            args=("--commit-failed-jobs",),
            action="store_true",
            doc="""the same as --accept-failed-jobs.""",
        ),
        "close_unknown_jobs": Parameter(
            args=("--close-unknown-jobs",),
            action="store_true",
            doc="""forget the jobs named if Slurm answers, but knows nothing of them, as after
            a reset of its database, or if they are over and nobody knows how they ended.
            Commits nothing.""",
        ),
        "partial": Parameter(
            args=("--partial",),
            action="store_true",
            doc="""of arrays with outputs declared for each task, commit those of the tasks
            that have completed, and their logs; the others stay open. With
            --accept-failed-jobs or --close-failed-jobs, that is done to each task that
            failed.""",
        ),
        "branches": Parameter(
            args=("--branches",),
            action="store_true",
            doc="""put the commit of each job on a new branch of its own,
            'slurm-job-branch-<id>', that starts where you are. Your branch and its files stay
            as they are: what a job has left is on its branch, and no more in the working
            tree. In subdatasets, jobs are committed one after the other as always.""",
        ),
        "octopus": Parameter(
            args=("--octopus",),
            action="store_true",
            doc="""put the commits of the jobs side by side and merge them into your branch,
            up to 15 at a time, which is git's own limit. No branches remain.""",
        ),
        "show_log": show_log_parameter,
        "log_lines": log_lines_parameter,
        "wait": wait_parameter,
        "timeout": timeout_parameter,
    }

    _examples_: ClassVar[list[dict[str, str]]] = [
        {
            "text": "Commit the outputs of all jobs that have completed",
            "code_py": "slurm_finish()",
            "code_cmd": "datalad slurm-finish",
        },
        {
            "text": "See how the open jobs are doing",
            "code_py": "slurm_finish(list_open_jobs=True)",
            "code_cmd": "datalad slurm-finish --list-open-jobs",
        },
        {
            "text": "Commit what the tasks of an array have left that have completed by now",
            "code_py": "slurm_finish([125], partial=True)",
            "code_cmd": "datalad slurm-finish --partial 125",
        },
        {
            "text": "Give up on one task of an array that has failed",
            "code_py": "slurm_finish(['125_7'], close_failed_jobs=True)",
            "code_cmd": "datalad slurm-finish 125_7 --close-failed-jobs",
        },
        {
            "text": "Give up on two jobs that have failed",
            "code_py": "slurm_finish([123, 124], close_failed_jobs=True)",
            "code_cmd": "datalad slurm-finish 123 124 --close-failed-jobs",
        },
        {
            "text": "Wait for all jobs, at most an hour, and commit each when it has ended",
            "code_py": "slurm_finish(wait=True, timeout=3600)",
            "code_cmd": "datalad slurm-finish --wait --timeout 3600",
        },
    ]

    # the summary comes after the results of a list, too
    custom_result_summary_renderer_pass_summary = True

    @staticmethod
    @datasetmethod(name="slurm_finish")
    @eval_results
    def __call__(  # noqa: D102 - documented by the class
        job: Sequence[JobName] | None = None,
        *,
        slurm_job_id: Sequence[JobName] | None = None,
        dataset: Any = None,
        message: str | None = None,
        list_open_jobs: bool = False,
        close_failed_jobs: bool = False,
        accept_failed_jobs: bool = False,
        commit_failed_jobs: bool = False,
        close_unknown_jobs: bool = False,
        partial: bool = False,
        branches: bool = False,
        octopus: bool = False,
        show_log: bool = False,
        log_lines: int = 10,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Iterator[dict[str, Any]]:
        names = [*(job or ()), *(slurm_job_id or ())] or None
        if list_open_jobs:
            from datalad_slurm.workflow import listing

            yield from run_flow(
                "finish", dataset.ds, lambda ctx: listing.list_open_jobs(ctx, names)
            )
            return

        from datalad_slurm.jobs.plan import FailedJobs, Shape
        from datalad_slurm.workflow import finish
        from datalad_slurm.workflow.context import Context, Outcome

        failed_jobs = FailedJobs.CLOSE if close_failed_jobs else FailedJobs.KEEP_OPEN
        if accept_failed_jobs or commit_failed_jobs:
            failed_jobs = FailedJobs.ACCEPT
        shape = Shape.BRANCHES if branches else Shape.CHAIN
        if octopus:
            shape = Shape.OCTOPUS

        def flow(context: Context) -> Iterator[Outcome]:
            def finish_jobs(
                some: Sequence[JobName] | None, only: Collection[int] | None = None
            ) -> Iterator[Outcome]:
                return finish.finish(
                    context,
                    some,
                    failed_jobs,
                    message or "",
                    close_unknown=close_unknown_jobs,
                    partial=partial,
                    shape=shape,
                    log_lines=log_lines if show_log else 0,
                    only=only,
                )

            if not wait:
                return finish_jobs(names)
            from datalad_slurm.workflow.wait import Wishes, finish_as_they_end

            wishes = Wishes(lambda ids: finish_jobs(None, ids), failed_jobs, close_unknown_jobs)
            return finish_as_they_end(context, names, wishes, timeout)

        yield from run_flow("finish", dataset.ds, flow)

    @staticmethod
    def custom_result_renderer(res: dict[str, Any], **kwargs: Any) -> None:
        """Print a result; entries of a list wait for the summary."""
        if kwargs.get("list_open_jobs") and res["status"] == "ok":
            return
        rank = res.get("rank", 0)
        if rank < _FILES_SHOWN or not sys.stdout.isatty():
            render(res)
            show_log_ends(res)
        elif rank == _FILES_SHOWN:
            ui.message(f"  [{res['of'] - rank} more files of job {res['slurm_job_id']}]")

    @staticmethod
    def custom_result_summary_renderer(
        results: list[dict[str, Any]], action_summary: dict[str, dict[str, int]]
    ) -> None:
        """Print the table of open jobs, or how many results there were of each kind."""
        from datalad.interface.utils import render_action_summary

        from datalad_slurm.commands.table import open_jobs_table
        from datalad_slurm.workflow.listing import LIST_ACTION

        entries = [res for res in results if res["action"] == LIST_ACTION and res["status"] == "ok"]
        if entries:
            ui.message(open_jobs_table(entries))
        elif not results:
            ui.message("There are no open jobs.")
        elif sum(sum(counts.values()) for counts in action_summary.values()) > 1:
            render_action_summary(action_summary)
