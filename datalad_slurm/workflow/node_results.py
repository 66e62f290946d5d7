"""Take what jobs have brought back from the directories of their nodes into the dataset."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from datalad_slurm.dataset import zstd
from datalad_slurm.dataset.node_archive import checked_members, extracted, located
from datalad_slurm.dataset.transfer import Stamp, has_same_stamp, stamp
from datalad_slurm.jobs.claims import ancestors, covers, is_glob, top_of
from datalad_slurm.jobs.errors import TransferError
from datalad_slurm.jobs.model import JobStatus, TrackedJob
from datalad_slurm.jobs.task_outputs import claimed_ever
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.node.deliveries import Delivery, TaskRuns, mark_taken, read_runs
from datalad_slurm.workflow.bring_back import Brought, make_way
from datalad_slurm.workflow.context import Context, lgr
from datalad_slurm.workflow.node_local import read_inputs
from datalad_slurm.workflow.packing import directories_to_pack, is_streamed
from datalad_slurm.workflow.stores import let_go, store_of

__all__ = ["unpack_results"]


def unpack_results(context: Context, job: TrackedJob, status: JobStatus) -> Brought:
    """Write what the tasks of a job have brought back to its places in the dataset.

    Of a task that ran several times, the latest run counts. Of one that has
    failed there may be nothing.

    Parameters
    ----------
    context : Context
        The dataset.
    job : TrackedJob
        The job, or part of one.
    status : JobStatus
        How it ended.

    Raises
    ------
    TransferError
        When something is not here that must be, or is damaged, or cannot be
        written; the dataset may hold some of the rest.
    """
    store = store_of(context, job)
    runs = _awaited(context, store, status)
    parts = context.repo.state_file("incoming")
    unpacker = _Unpacker(context, job, store, parts)
    try:
        shutil.rmtree(parts, ignore_errors=True)  # what a finish that was killed has left
        parts.mkdir()
        for task in status.tasks:
            found = runs.get(task.task, TaskRuns())
            delivery = found.delivery
            if task.is_ok and store.is_dir() and not (delivery and delivery.is_whole):
                raise TransferError(_lost(store, str(task.task)))
            if delivery is not None:
                unpacker.unpack(delivery)
        shutil.rmtree(parts)
    except OSError as exc:
        where = exc.filename or context.repo.root
        raise TransferError(f"{where} cannot be written: {exc.strerror or exc}") from exc
    brought = unpacker.brought
    brought.missing = [
        output if is_glob(output) else top_of(output)
        for output in job.outputs
        if not any(covers(output, path) for path in unpacker.there)
    ]
    _take(context, job, status, runs)
    return brought


def _awaited(context: Context, store: Path, status: JobStatus) -> dict[TaskId, TaskRuns]:
    """Return the runs; what a node has just written may not be seen here for seconds."""
    deadline = time.monotonic() + context.settings.latency_wait
    while True:
        runs = read_runs(store)
        lacking = [
            task
            for task in status.tasks
            if task.is_ok and runs.get(task.task, TaskRuns()).delivery is None
        ]
        if not lacking or not store.is_dir() or time.monotonic() >= deadline:
            return runs
        time.sleep(0.25)


def _lost(store: Path, task: str) -> str:
    return (
        f"{task} has completed, but what it brought back is not in {store}; if that is lost, "
        "remove this directory, and the job can be committed without it"
    )


class _Unpacker:
    """Unpacks archives of one job."""

    def __init__(self, context: Context, job: TrackedJob, store: Path, parts: Path) -> None:
        self._context = context
        self._job = job
        self._store = store
        self._parts = parts
        self._claims = claimed_ever(job)
        self._directories = directories_to_pack(context, job)
        self.brought = Brought()
        #: what was at the outputs on the nodes
        self.there: set[str] = set()

    def unpack(self, delivery: Delivery) -> None:
        """Unpack what one run has brought back, and remove what it has removed."""
        is_compressed = delivery.is_compressed
        if is_compressed and not zstd.is_here():
            raise TransferError(
                f"{delivery.archive} is compressed by zstd, which is not on this machine: install "
                "the package zstd, or run slurm-finish where it is"
            )
        try:
            names, removed = checked_members(
                delivery.archive, delivery.sha256, is_compressed=is_compressed
            )
        except TransferError as exc:
            raise TransferError(
                f"{exc}; if it cannot be mended, remove the directory {self._store}, and the job "
                "can be committed without what is in it"
            ) from exc
        repositories = {name.partition("/.git/")[0] for name in names if "/.git/" in f"{name}/"}
        wanted = {
            name
            for name in names
            if _is_proper(name)
            and self._is_claimed(name)
            and repositories.isdisjoint(ancestors(name))
        }
        self.brought.odd += sorted(repositories)

        self.there |= wanted
        wanted -= self._streamed(delivery, wanted)

        def target(name: str) -> Path | None:
            if name not in wanted:
                return None
            make_way(self._context, name)
            return self._context.repo.root / name

        def link_text(name: str, text: str) -> str:
            if text == delivery.root or text.startswith(f"{delivery.root}/"):
                return os.path.relpath(text, Path(delivery.root, name).parent)
            return text

        if wanted:
            files = extracted(
                delivery.archive, self._parts, target, link_text, is_compressed=is_compressed
            )
            for name in files:
                self.brought.files[name] = stamp(self._context.repo.root / name) or (0, 0)
        inputs = read_inputs(self._store, delivery.inputs)
        self.there |= inputs.keys() - set(removed)
        for path in removed:
            if path in inputs and self._is_claimed(path):
                self._remove(path, inputs[path])

    def _streamed(self, delivery: Delivery, wanted: set[str]) -> set[str]:
        """Note which files go right into the archive of a packed directory, and return them."""
        # only a job that was adopted can have both; its files are packed once they are unpacked
        if not self._directories or delivery.is_compressed:
            return set()
        found = {
            entry.name: entry
            for entry in located(delivery.archive)
            if entry.name in wanted and is_streamed(self._job, self._directories, entry.name, entry)
        }
        self.brought.streamed.update(found)
        return found.keys() & wanted

    def _is_claimed(self, path: str) -> bool:
        return any(covers(claim, path) for claim in self._claims)

    def _remove(self, path: str, known: Stamp) -> None:
        """Remove an input that the job has removed, if it has not changed in the dataset."""
        target = self._context.repo.root / path
        if has_same_stamp(known, stamp(target, follow=True)):
            target.unlink()
        elif os.path.lexists(target):
            lgr.warning(
                "job %s has removed '%s', which has changed in the dataset and stays there",
                self._job.label,
                path,
            )


def _is_proper(name: str) -> bool:
    """Return whether a name in an archive is that of a path below the root."""
    return bool(name) and not {"", ".", ".."} & {*name.split("/")}


def _take(
    context: Context, job: TrackedJob, status: JobStatus, runs: dict[TaskId, TaskRuns]
) -> None:
    """Note what is in the dataset now, and what of earlier attempts is not needed any more."""
    earlier = {entry["slurm_job_id"] for entry in job.attempts}
    done = {task.task for task in status.tasks}
    is_any = False
    for task, found in runs.items():
        is_replaced = task.job_id in earlier and task not in job.tasks
        if task in done or is_replaced:
            for delivery in found.deliveries.values():
                mark_taken(delivery)
                is_any = True
    if not is_any:
        let_go(context, [job])
