"""Which flow a call of `slurm-schedule` is for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from datalad_slurm.jobs.names import JobName

if TYPE_CHECKING:
    from datalad_slurm.jobs.table import Table
    from datalad_slurm.workflow.context import Context, Outcome
    from datalad_slurm.workflow.request import Request

__all__ = ["Scheduling"]


class Scheduling(NamedTuple):
    """What is to be done with a request."""

    #: the command, in words
    words: tuple[str, ...]
    #: a job for each of its rows
    table: Table | None = None
    #: a job that was submitted already
    job_id: JobName | None = None
    container_name: str = ""
    dry_run: bool = False
    #: whether another job is to finish this one
    then_finish: bool = False
    #: sibling to which that one pushes
    then_push: str = ""

    def flow(self, context: Context, request: Request) -> Iterator[Outcome]:
        """Return the outcomes; modules are imported only for what is asked."""
        if self.dry_run:
            return self._planned(context, request)
        outcomes = self._tracked(context, request)
        if not (self.then_finish or self.then_push):
            return outcomes
        from datalad_slurm.workflow.then_finish import finished_later

        return finished_later(context, outcomes, self.then_push)

    def _planned(self, context: Context, request: Request) -> Iterator[Outcome]:
        if self.table is not None:
            from datalad_slurm.workflow.table import dry_run_table

            return dry_run_table(context, self.table, self.words, request, self.container_name)
        from datalad_slurm.workflow.preview import dry_run

        return dry_run(context, self._in_image(context, request))

    def _tracked(self, context: Context, request: Request) -> Iterator[Outcome]:
        if self.job_id is not None:
            from datalad_slurm.workflow.adopt import adopt_job

            return adopt_job(context, self.job_id, request)
        if self.table is not None:
            from datalad_slurm.workflow.table import schedule_table

            return schedule_table(context, self.table, self.words, request, self.container_name)
        from datalad_slurm.workflow.schedule import schedule

        return schedule(context, self._in_image(context, request))

    def _in_image(self, context: Context, request: Request) -> Request:
        if not self.container_name:
            return request
        from datalad_slurm.workflow.containers import in_container

        return in_container(context, request, self.container_name)
