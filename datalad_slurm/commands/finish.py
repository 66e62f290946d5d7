"""``datalad slurm-finish``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
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
from datalad_next.constraints import EnsureBool, EnsureStr
from datalad_next.uis import ui_switcher as ui

from datalad_slurm.commands.constraints import EnsureJobIds, dataset_with_repository
from datalad_slurm.commands.parameters import message_parameter
from datalad_slurm.commands.results import render, run_flow
from datalad_slurm.jobs.names import JobName

__all__ = ["Finish"]

#: Files of one job that are named on a terminal; redirected output names them all.
_FILES_SHOWN = 10


class _Validator(EnsureCommandParameterization):
    def __init__(self) -> None:
        super().__init__(
            param_constraints={
                "job": EnsureJobIds(),
                "slurm_job_id": EnsureJobIds(),
                "dataset": dataset_with_repository("finish Slurm jobs"),
                "message": EnsureStr(),
                "list_open_jobs": EnsureBool(),
                "close_failed_jobs": EnsureBool(),
                "accept_failed_jobs": EnsureBool(),
                "commit_failed_jobs": EnsureBool(),
                "close_unknown_jobs": EnsureBool(),
                "branches": EnsureBool(),
                "octopus": EnsureBool(),
            },
            validate_defaults=("dataset",),
            joint_constraints={
                ParameterConstraintContext(
                    ("close_failed_jobs", "accept_failed_jobs", "commit_failed_jobs"),
                    "failed jobs",
                ): self._one_fate,
                ParameterConstraintContext(
                    ("list_open_jobs", "close_failed_jobs", "accept_failed_jobs"), "list"
                ): self._only_list,
                ParameterConstraintContext(
                    ("close_unknown_jobs", "job", "slurm_job_id"), "unknown jobs"
                ): self._named,
            },
        )

    def _one_fate(self, **kwargs: Any) -> None:
        accept = kwargs["accept_failed_jobs"] or kwargs["commit_failed_jobs"]
        if kwargs["close_failed_jobs"] and accept:
            self.raise_for(
                kwargs, "failed jobs can either be accepted or closed, not both; name the jobs"
            )

    def _only_list(self, **kwargs: Any) -> None:
        if kwargs["list_open_jobs"] and (
            kwargs["close_failed_jobs"] or kwargs["accept_failed_jobs"]
        ):
            self.raise_for(kwargs, "--list-open-jobs only lists, and changes nothing")

    def _named(self, **kwargs: Any) -> None:
        if kwargs["close_unknown_jobs"] and not (kwargs["job"] or kwargs["slurm_job_id"]):
            self.raise_for(kwargs, "--close-unknown-jobs is for jobs that are named one by one")


@build_doc
class Finish(ValidatedInterface):
    """Commit the outputs of Slurm jobs that have ended.

    Asks Slurm how each tracked job has ended. For one that has completed, its
    declared outputs, its log files and a file with what Slurm knows of it are
    committed, one commit a job, with a record that `slurm-reschedule` can run
    again. Nothing else is committed or staged, whatever has changed in the
    dataset.

    A job that waits or runs stays open. So does one that has failed, was
    cancelled or has timed out, until you say what to do with it:
    --accept-failed-jobs commits what it left, --close-failed-jobs forgets it
    and leaves its files as they are. A job array counts as one job: if one
    task has failed, it has failed.

    The exit status is 0 only if every job was committed or closed, and, of those
    submitted with `slurm-reschedule --verify`, gave the same outputs again.
    """

    result_renderer = "tailored"
    on_failure = "continue"

    _validator_ = _Validator()

    _params_: ClassVar[dict[str, Parameter]] = {
        "job": Parameter(
            args=("job",),
            nargs="*",
            metavar="JOB",
            doc="""id of a Slurm job to finish. Without any, all open jobs of the dataset. A
            job of another cluster is named 'ID;CLUSTER', as by "sbatch --parsable", where
            the id alone is not clear.""",
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
            doc="""the same as accept-failed-jobs.""",
        ),
        "close_unknown_jobs": Parameter(
            args=("--close-unknown-jobs",),
            action="store_true",
            doc="""forget the jobs named if Slurm answers, but knows nothing of them, as after
            a reset of its database, or if they are over and nobody knows how they ended.
            Commits nothing.""",
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
            "text": "Give up on two jobs that have failed",
            "code_py": "slurm_finish([123, 124], close_failed_jobs=True)",
            "code_cmd": "datalad slurm-finish 123 124 --close-failed-jobs",
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
        branches: bool = False,
        octopus: bool = False,
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

        failed_jobs = FailedJobs.CLOSE if close_failed_jobs else FailedJobs.KEEP_OPEN
        if accept_failed_jobs or commit_failed_jobs:
            failed_jobs = FailedJobs.ACCEPT
        shape = Shape.BRANCHES if branches else Shape.CHAIN
        if octopus:
            shape = Shape.OCTOPUS
        yield from run_flow(
            "finish",
            dataset.ds,
            lambda ctx: finish.finish(
                ctx,
                names,
                failed_jobs,
                message or "",
                close_unknown=close_unknown_jobs,
                shape=shape,
            ),
        )

    @staticmethod
    def custom_result_renderer(res: dict[str, Any], **kwargs: Any) -> None:
        """Print a result; entries of a list wait for the summary."""
        if kwargs.get("list_open_jobs") and res["status"] == "ok":
            return
        rank = res.get("rank", 0)
        if rank < _FILES_SHOWN or not sys.stdout.isatty():
            render(res)
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
