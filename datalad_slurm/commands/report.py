"""``datalad slurm-report``."""

from __future__ import annotations

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

from datalad_slurm.commands.constraints import EnsureTexts, dataset_with_repository, one_view
from datalad_slurm.commands.parameters import working_directory
from datalad_slurm.commands.results import render, run_flow
from datalad_slurm.jobs.job_choice import SORT_KEYS

__all__ = ["Report"]

_VIEWS = ("text", "html", "history")
_CHOICE = ("state", "name", "path", "sort", "reverse")


@build_doc
class Report(ValidatedInterface):
    """Tell what the Slurm jobs of a dataset cost, and where its files come from.

    This reads the records in the messages of commits that `slurm-finish`
    has made, and the files of facts beside the logs; Slurm is not asked. By
    default it prints a table, one job a line: its state, how many attempts
    it took, how long the last one waited and ran, which part of the
    allocated CPU time it used, the peak of its memory and what it asked
    for, its commit and its outputs. The last line adds up the CPU time.

    Open jobs are in it as OPEN, when no range is given: `slurm-finish
    --list-open-jobs` tells how they are. What a record does not tell is
    "-"; those of datalad-slurm 0.2 tell neither times nor resources.
    """

    result_renderer = "tailored"
    on_failure = "continue"

    _validator_ = EnsureCommandParameterization(
        param_constraints={
            "revision": EnsureStr(min_len=1),
            "dataset": dataset_with_repository("report on Slurm jobs"),
            "text": EnsureBool(),
            "html": EnsureStr(min_len=1),
            "history": EnsureStr(min_len=1),
            "state": EnsureTexts(),
            "name": EnsureTexts(),
            "path": EnsureTexts(),
            "sort": EnsureChoice(*SORT_KEYS),
            "reverse": EnsureBool(),
        },
        validate_defaults=("dataset",),
        joint_constraints={ParameterConstraintContext((*_VIEWS, *_CHOICE), "view"): one_view},
    )

    _params_: ClassVar[dict[str, Parameter]] = {
        "revision": Parameter(
            args=("revision",),
            nargs="?",
            metavar="REV|RANGE",
            doc="""commits to read, as `git log` has it: FROM..TO are those reachable from TO but
            not from FROM, TO all up to it, TO^! that one alone. By default all up to the commit
            that is checked out, and the open jobs.""",
        ),
        "dataset": Parameter(
            args=("-d", "--dataset"),
            metavar="DATASET",
            doc="""dataset to report on. Without it, the one around the working directory.""",
        ),
        "text": Parameter(
            args=("--text",),
            action="store_true",
            doc="""print a table. This is what happens anyway, unless another form is named.
            [CMD: With '-f json', one result record a job, and one with the totals. CMD]""",
        ),
        "html": Parameter(
            args=("--html",),
            metavar="FILE",
            doc="""write a page for a browser to FILE, which needs nothing else, and no network:
            when jobs waited and ran, how well they used what they were given, why they failed,
            their biggest outputs, and what was made from what. Of each job it holds script,
            record and the end of its log, where these are here. A FILE that exists is
            overwritten.""",
        ),
        "history": Parameter(
            args=("--history",),
            metavar="FILE",
            doc="""tell which job made a file of the dataset, or a directory's files, from which
            inputs, which jobs made these, and so on, back to what no job made.""",
        ),
        "state": Parameter(
            args=("--state",),
            metavar="STATE",
            action="append",
            doc="""only jobs in this state, such as FAILED or OPEN; can be given more than
            once.""",
        ),
        "name": Parameter(
            args=("--name",),
            metavar="PATTERN",
            action="append",
            doc="""only jobs of which the name matches, such as 'fit*'; can be given more than
            once.""",
        ),
        "path": Parameter(
            args=("--path",),
            metavar="PATH",
            action="append",
            doc="""only jobs with an output at PATH, below it, or that contains it; can be given
            more than once.""",
        ),
        "sort": Parameter(
            args=("--sort",),
            metavar="COLUMN",
            doc="""sort by 'job', 'name', 'state', 'attempts', 'submitted', 'waited', 'ran',
            'cpu' (efficiency), 'memory' (used) or 'outputs' (how many). What is not known comes
            last. By default, jobs are in the order of history.""",
        ),
        "reverse": Parameter(
            args=("--reverse",),
            action="store_true",
            doc="""the other way round.""",
        ),
    }

    _examples_: ClassVar[list[dict[str, str]]] = [
        {
            "text": "See what all jobs of the dataset cost",
            "code_py": "slurm_report()",
            "code_cmd": "datalad slurm-report",
        },
        {
            "text": "Find the jobs that made least of their CPUs, among those since a tag",
            "code_py": "slurm_report('v1..', sort='cpu')",
            "code_cmd": "datalad slurm-report v1.. --sort cpu",
        },
        {
            "text": "Find out what a figure was made from",
            "code_py": "slurm_report(history='fig1.svg')",
            "code_cmd": "datalad slurm-report --history fig1.svg",
        },
        {
            "text": "Write a page with all of it",
            "code_py": "slurm_report(html='jobs.html')",
            "code_cmd": "datalad slurm-report --html jobs.html",
        },
    ]

    @staticmethod
    @datasetmethod(name="slurm_report")
    @eval_results
    def __call__(  # noqa: D102 - documented by the class
        revision: str | None = None,
        *,
        dataset: Any = None,
        text: bool = False,
        html: str | None = None,
        history: str | None = None,
        state: tuple[str, ...] | None = None,
        name: tuple[str, ...] | None = None,
        path: tuple[str, ...] | None = None,
        sort: str | None = None,
        reverse: bool = False,
    ) -> Iterator[dict[str, Any]]:
        from datalad_slurm.jobs.job_choice import Choice
        from datalad_slurm.workflow import report
        from datalad_slurm.workflow.context import Context, Outcome

        here = working_directory(dataset)

        def flow(context: Context) -> Iterator[Outcome]:
            selection = report.select(revision)
            if history:
                from datalad_slurm.workflow.origins import tell_origins

                return tell_origins(context, selection, report.relative(context, history, here))
            if html:
                from datalad_slurm.workflow.page import write_page

                return write_page(context, selection, html, with_open=revision is None)
            choice = Choice(
                tuple(word.upper() for word in state or ()),
                tuple(name or ()),
                tuple(report.relative(context, each, here) for each in path or ()),
                sort or "",
                reverse,
            )
            return report.report(context, selection, choice, with_open=revision is None)

        yield from run_flow("slurm-report", dataset.ds, flow)

    @staticmethod
    def custom_result_renderer(res: dict[str, Any], **_: Any) -> None:
        """Print a result; jobs, totals and origins wait for the summary."""
        if res["status"] != "ok" or "html" in res:
            render(res)

    @staticmethod
    def custom_result_summary_renderer(results: list[dict[str, Any]]) -> None:
        """Print the table of jobs, or the tree of origins."""
        from datalad_next.uis import ui_switcher as ui

        from datalad_slurm.commands.report_table import report_table, totals_line

        told = [res for res in results if res["status"] == "ok"]
        jobs = [res for res in told if res["action"] == "slurm-report" and "label" in res]
        if jobs:
            ui.message(report_table(jobs))
        for res in told:
            if res["action"] == "slurm-report [totals]":
                ui.message(totals_line(res))
        origins = [res for res in told if res["action"] == "slurm-report [history]"]
        if origins:
            from datalad_slurm.commands.origins_tree import origins_tree

            ui.message(origins_tree(origins))
