"""How a task's latest run went, as the runner around its job script has noted it."""

from __future__ import annotations

from dataclasses import dataclass

from datalad_slurm.jobs.slurm_rows import AccountingRow
from datalad_slurm.jobs.states import JobState
from datalad_slurm.jobs.tasks import TaskId

__all__ = ["Ending"]


@dataclass(frozen=True)
class Ending:
    """What there is of a run in the notes. Times are in seconds since the epoch."""

    task: TaskId
    #: the task's own job id, which differs from its array's
    raw_id: int | None
    node: str
    cluster: str
    started: int
    #: None when the run has begun, and nothing more is noted
    ended: int | None = None
    #: as in ``sacct``: exit status and signal, such as ``1:0``
    exit_code: str = ""
    #: when the time limit was due, if that is known
    limit: int | None = None
    #: whether it received SIGTERM, with which Slurm asks a job to end
    was_terminated: bool = False
    #: runs after which Slurm has started the task again, oldest first
    earlier: tuple[Ending, ...] = ()

    @property
    def state(self) -> JobState:
        """How the run ended, in Slurm's words as far as they can be known from inside.

        A job that has received SIGTERM counts as cut short, even one that
        exits with 0 after that: Slurm would call it CANCELLED, unless the
        signal was the user's own idea (``--signal=B:TERM``).
        """
        if self.ended is None:
            return JobState.FAILED
        if self.was_terminated:
            is_late = self.limit is not None and self.ended >= self.limit
            return JobState.TIMEOUT if is_late else JobState.CANCELLED
        return JobState.COMPLETED if self.exit_code == "0:0" else JobState.FAILED

    def as_row(self, state: JobState) -> AccountingRow:
        """Return what the accounting would say of a run that ended in `state`."""
        return AccountingRow(
            task=self.task,
            state=state,
            word=state.value,
            raw_id=self.raw_id,
            started=self.started,
            ended=self.ended,
            elapsed=None if self.ended is None else self.ended - self.started,
            exit_code=self.exit_code,
            nodes=self.node,
            cluster=self.cluster,
            source="noted by the job",
        )
