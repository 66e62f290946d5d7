"""What is noted with a job as it comes up (`TrackedJob.extra`): keys, and what it means."""

from __future__ import annotations

from datalad_slurm.jobs.model import TrackedJob

__all__ = [
    "CHECKPOINT",
    "COMMITTED_IN",
    "GRACE",
    "NODE_LOCAL",
    "RELEASED",
    "VERIFY",
    "has_checkpoints",
    "has_store",
    "needs_runner",
]

#: How many tasks were finished before the others.
RELEASED = "released_tasks"
#: What an interrupted finish has committed in subdatasets.
COMMITTED_IN = "committed_in"
#: Which files are the state of the work; in its record, too.
CHECKPOINT = "checkpoint"
#: Seconds before its time limit at which the work is told to end; in its record, too.
GRACE = "grace"
#: How it runs in a directory of its node; in its record, too.
NODE_LOCAL = "node_local"
#: The commit that it repeats, and with which its outputs are to be compared.
VERIFY = "verify"


def has_checkpoints(job: TrackedJob) -> bool:
    """Return whether state files of a job's work are kept."""
    return bool(job.extra.get(CHECKPOINT))


def has_store(job: TrackedJob) -> bool:
    """Return whether something travels between a job's node and the shared side."""
    return job.is_node_local or has_checkpoints(job)


def needs_runner(job: TrackedJob) -> bool:
    """Return whether more is to be done around a job's script than noting how it ended."""
    return has_store(job) or bool(job.extra.get(GRACE))
