"""Every state Slurm gives a job, and what it means for a tracked job."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache

__all__ = ["JobState"]

_ENDED = frozenset(
    {
        "COMPLETED",
        "FAILED",
        "CANCELLED",
        "TIMEOUT",
        "OUT_OF_MEMORY",
        "NODE_FAIL",
        "BOOT_FAIL",
        "DEADLINE",
        "LAUNCH_FAILED",
        "RECONFIG_FAIL",
        "REVOKED",
        "PREEMPTED",
    }
)
_MAY_START_AGAIN = frozenset({"PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED"})
_WAITING = frozenset(
    {
        "PENDING",
        "CONFIGURING",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "SPECIAL_EXIT",
        "RESV_DEL_HOLD",
        "POWER_UP_NODE",
    }
)


class JobState(Enum):
    """State of a job or of an array task, in Slurm's words.

    The words are those of ``sacct(1)``, ``squeue(1)`` and ``slurm.h``. A word
    that is none of them becomes `UNKNOWN`, which has not ended: a newer Slurm
    may mean anything by it.
    """

    PENDING = "PENDING"
    CONFIGURING = "CONFIGURING"
    RUNNING = "RUNNING"
    COMPLETING = "COMPLETING"
    SUSPENDED = "SUSPENDED"
    STOPPED = "STOPPED"
    SIGNALING = "SIGNALING"
    RESIZING = "RESIZING"
    STAGE_OUT = "STAGE_OUT"
    REQUEUED = "REQUEUED"
    REQUEUE_FED = "REQUEUE_FED"
    REQUEUE_HOLD = "REQUEUE_HOLD"
    SPECIAL_EXIT = "SPECIAL_EXIT"
    RESV_DEL_HOLD = "RESV_DEL_HOLD"
    POWER_UP_NODE = "POWER_UP_NODE"
    UPDATE_DB = "UPDATE_DB"

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    NODE_FAIL = "NODE_FAIL"
    BOOT_FAIL = "BOOT_FAIL"
    DEADLINE = "DEADLINE"
    LAUNCH_FAILED = "LAUNCH_FAILED"
    RECONFIG_FAIL = "RECONFIG_FAIL"
    REVOKED = "REVOKED"
    PREEMPTED = "PREEMPTED"

    UNKNOWN = "UNKNOWN"

    def __init__(self, word: str) -> None:
        #: whether the job will do nothing more, unless it `may_start_again`
        self.has_ended = word in _ENDED
        #: whether the job did all it was meant to do
        self.is_ok = word == "COMPLETED"
        #: whether Slurm may put the job back into the queue after this ending; only slurmctld
        #: knows whether it did, accounting alone does not tell
        self.may_start_again = word in _MAY_START_AGAIN
        #: whether the job has not begun to run
        self.waits = word in _WAITING

    @classmethod
    @lru_cache(maxsize=1000)
    def parse(cls, text: str) -> JobState:
        """Return the state that Slurm prints as `text`.

        ``sacct`` adds who cancelled a job (``CANCELLED by 1000``), cuts words
        to a column's width with a trailing ``+``, and newer versions join
        flags with commas; of those a state that has not ended wins.
        """
        words = text.split()
        if not words:
            return cls.UNKNOWN
        states = [
            _BY_WORD.get(word.rstrip("+").upper(), cls.UNKNOWN) for word in words[0].split(",")
        ]
        return next((state for state in states if not state.has_ended), states[0])


#: sacct and slurm.h do not spell all states alike.
_ALIASES = {"CANCELED": JobState.CANCELLED, "OOM": JobState.OUT_OF_MEMORY}
_BY_WORD = {state.value: state for state in JobState} | _ALIASES
