"""Directories, seen by the nodes, for what travels to and from the runners of jobs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.notes import has_store
from datalad_slurm.node import deliveries
from datalad_slurm.node.states import read_kept
from datalad_slurm.workflow.context import STORES, Context

__all__ = ["let_go", "store_of", "store_with", "tidy_stores", "was_packed"]


def store_with(context: Context, token: str) -> Path:
    """Return the store of the job whose claim had a token."""
    places = [context.repo.state_dir / name / token for name in STORES]
    return next(filter(Path.is_dir, places), places[0])


def store_of(context: Context, job: TrackedJob) -> Path:
    """Return the store of a job."""
    return store_with(context, job.token)


def was_packed(context: Context, token: str) -> bool:
    """Return whether a job with this store has run in a directory of its node."""
    return any(store_with(context, token).glob("*.inputs.tar"))


def let_go(context: Context, jobs: Iterable[TrackedJob]) -> None:
    """Note that what there is in the stores of jobs is not needed once they are tracked no more."""
    for job in jobs:
        if has_store(job) and not job.is_retry:
            with suppress(OSError):
                deliveries.mark_over(store_of(context, job))


def tidy_stores(context: Context) -> None:
    """Remove what has travelled for jobs that are tracked no more, and for tasks that are done."""
    stores = [store for name in STORES for store in (context.repo.state_dir / name).glob("*")]
    tracked = {job.token: job for job in context.tracker.open_jobs()}
    others = context.tracker.tokens() if stores else set()
    for store in stores:
        job = tracked.get(store.name)
        if job is None:
            if store.name not in others and _is_over(store):
                shutil.rmtree(store, ignore_errors=True)
            continue
        for task, runs in deliveries.read_runs(store).items():
            if task not in job.tasks:
                for restart in runs.taken:
                    if restart in runs.deliveries:
                        deliveries.drop(runs.deliveries[restart])


def _is_over(store: Path) -> bool:
    """Return whether nothing in a store is needed, its job being tracked no more."""
    was_used = read_kept(store) or deliveries.read_runs(store) or any(store.glob("*.inputs.tar"))
    return deliveries.is_over(store) or not was_used
