"""What `slurm-finish` does with each job."""

from __future__ import annotations

from enum import Enum

from datalad_slurm.jobs.model import Answer, JobStatus

__all__ = ["Action", "FailedJobs", "Shape", "decide"]


class FailedJobs(Enum):
    """What to do with jobs that have ended, but not well."""

    KEEP_OPEN = "keep open"
    ACCEPT = "accept"
    CLOSE = "close"


class Shape(Enum):
    """How the commits of several jobs hang together."""

    #: one after the other on the branch that is checked out
    CHAIN = "chain"
    #: each on a new branch of its own
    BRANCHES = "branches"
    #: side by side, merged on the branch that is checked out
    OCTOPUS = "octopus"


class Action(Enum):
    """What happens to one job."""

    COMMIT = "commit"
    #: forget the job and commit nothing
    CLOSE = "close"
    #: the job has not ended
    WAIT = "wait"
    #: whether it has ended is not known
    ASK_AGAIN = "ask again"
    #: the job has failed, and the user has not said what to do about it
    REFUSE = "refuse"


def decide(status: JobStatus, failed_jobs: FailedJobs, *, close_unknown: bool = False) -> Action:
    """Return what to do with a job of this status.

    Only a known ending is an ending: what is not known stays open whatever
    the user wants done with failed jobs. A job that Slurm does not know at all
    is closed only when that was asked for; one that is over, without anybody
    knowing how, counts as failed, and can be closed in that way, too. One that
    waits in vain for another job has left nothing that could be accepted.
    """
    if close_unknown and (status.is_unknown or status.is_unexplained):
        return Action.CLOSE
    if status.never_starts:
        return Action.CLOSE if failed_jobs is FailedJobs.CLOSE else Action.REFUSE
    if not status.has_ended:
        still_open = any(
            not task.state.has_ended for task in status.tasks if task.answer is Answer.KNOWN
        )
        return Action.WAIT if still_open or status.is_answered else Action.ASK_AGAIN
    if status.is_ok or failed_jobs is FailedJobs.ACCEPT:
        return Action.COMMIT
    return Action.CLOSE if failed_jobs is FailedJobs.CLOSE else Action.REFUSE
