"""Keys of what is noted with a job as it comes up (`TrackedJob.extra`)."""

from __future__ import annotations

__all__ = ["COMMITTED_IN", "RELEASED"]

#: How many tasks were finished before the others.
RELEASED = "released_tasks"
#: What an interrupted finish has committed in subdatasets.
COMMITTED_IN = "committed_in"
