"""Let a job run in a directory of its node: what is done before its submission."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from datalad_slurm.dataset.mirror import Mirror
from datalad_slurm.dataset.packing import pack
from datalad_slurm.dataset.transfer import Stamp, stamp
from datalad_slurm.jobs.claims import ancestors, top_of
from datalad_slurm.jobs.errors import InvalidRequestError, QueryFailedError, TransferError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.node_local import NODE_LOCAL, NodeLocal, asked_of_sbatch, why_not
from datalad_slurm.jobs.sbatch_options import read_call, split_words
from datalad_slurm.node import deliveries
from datalad_slurm.node.runner import Stage
from datalad_slurm.node.wrap import NodePlan
from datalad_slurm.slurm import scontrol
from datalad_slurm.workflow.context import Context, Outcome, lgr
from datalad_slurm.workflow.endings import have_endings_noted
from datalad_slurm.workflow.mirroring import mirror_of
from datalad_slurm.workflow.scripts import script_text
from datalad_slurm.workflow.whole_files import write_whole

__all__ = [
    "let_go",
    "place_on_node",
    "read_inputs",
    "refuse_unfit",
    "run_in_place",
    "store_of",
    "tidy_stores",
]

#: Slurm's default for what slurm.conf(5) calls KillWait (seconds).
_KILL_WAIT = 30
_BLOCK = 4096


def _stores(context: Context) -> Path:
    return context.repo.state_dir / "node-local"


def store_of(context: Context, job: TrackedJob) -> Path:
    """Return the directory, seen by the nodes, for all that travels to and from them."""
    return _stores(context) / job.token


def refuse_unfit(context: Context, claim: TrackedJob, command: str) -> None:
    """Refuse what can be known to be refused before anything is done; the rest our sbatch sees.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        Not in the database yet; nothing is done for one that is to run in place.
    command : str
        With placeholders filled in.

    Raises
    ------
    InvalidRequestError
        When it cannot run in a directory of its node.
    """
    if not claim.is_node_local:
        return
    if _configuration(context).get("ProctrackType") == "proctrack/pgid":
        raise InvalidRequestError(
            "--node-local cannot be used here: this Slurm tracks jobs by their process group "
            "(ProctrackType=proctrack/pgid), and would lose sight of the work"
        )
    words = split_words(command)
    for start, word in enumerate(words):
        call = read_call(words[start + 1 :]) if word.rpartition("/")[2] == "sbatch" else None
        if call is None or call.only_tells:
            continue
        directory = context.run_directory(claim)
        script = script_text(call.options, call.script, directory) if call.script else ""
        problem = why_not(asked_of_sbatch(call, script or "", os.environ))
        if problem:
            raise InvalidRequestError(problem)


def _configuration(context: Context) -> dict[str, str]:
    try:
        return scontrol.configuration(context.settings.query_timeout)
    except QueryFailedError as exc:
        lgr.info("the configuration of this Slurm is not known: %s", exc)
        return {}


def place_on_node(
    context: Context,
    claim: TrackedJob,
    inputs: Iterable[str],
    notes: Path,
    packed: dict[object, Path] | None = None,
) -> Iterator[Outcome]:
    """Pack what a job reads into one archive, and have our sbatch submit a runner that unpacks it.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        In the database already.
    inputs : iterable of str
        Paths and globs, relative to the job's directory.
    notes : Path
        Where our sbatch will look for what it is to do.
    packed : dict, optional
        Archives of jobs that were placed before, which this one may share.

    Raises
    ------
    InvalidRequestError
        When an input cannot be packed.
    TransferError
        When the archive cannot be written.
    """
    node_local = NodeLocal.read(claim.extra[NODE_LOCAL])
    if node_local is None:
        raise InvalidRequestError("what is noted of --node-local cannot be read")
    outputs = claim.templates or claim.outputs
    mirror = mirror_of(context, claim, inputs)
    tops = set(map(top_of, outputs))
    compared = {
        path: stamp(source)
        for path, source in mirror.files.items()
        if not tops.isdisjoint(ancestors(path))
    }
    store = store_of(context, claim)
    archive = store / f"{claim.submission}.inputs.tar"
    try:
        store.mkdir(parents=True, exist_ok=True)
        write_whole(archive.with_suffix(".json"), json.dumps(compared))
    except OSError as exc:
        raise TransferError(f"{store} cannot be written to: {exc.strerror}") from exc
    same = (tuple(mirror.files.items()), tuple(mirror.all_directories()), tuple(compared.items()))
    earlier = packed.get(same) if packed is not None else None
    if earlier is None or not _is_linked(earlier, archive):
        pack(mirror, archive, compared)
    if packed is not None:
        packed[same] = archive
    wait = _configuration(context).get("KillWait", "").split()
    stage = Stage(
        store=str(store),
        inputs=str(archive),
        needed=_room(mirror) // 1024,
        outputs=outputs,
        node_local=node_local,
        kill_wait=int(wait[0]) if wait and wait[0].isdigit() else _KILL_WAIT,
    )
    have_endings_noted(context, claim.token, notes, NodePlan(str(context.repo.root), stage))
    said = f"{len(mirror.files)} input files, {archive.stat().st_size} bytes, in one archive"
    yield Outcome("pack", "ok", said, type="dataset")


def _is_linked(earlier: Path, archive: Path) -> bool:
    """Return whether an archive could be given another name; not on every file system it can."""
    try:
        archive.hardlink_to(earlier)
    except OSError:
        return False
    return True


def _room(mirror: Mirror) -> int:
    """Return what files take on a disk in blocks of 4 KiB (bytes)."""
    sizes = (source.stat().st_size for source in mirror.files.values())
    others = len(mirror.links) + len(mirror.all_directories())
    return sum(-(-size // _BLOCK) * _BLOCK for size in sizes) + _BLOCK * (others + 1)


def read_inputs(store: Path, archive: str) -> dict[str, Stamp]:
    """Return the inputs that are outputs as well, as they were when they were packed."""
    try:
        content = json.loads((store / archive).with_suffix(".json").read_text())
    except (OSError, ValueError):
        return {}
    return {path: tuple(known) for path, known in content.items()}


def run_in_place(context: Context, claim: TrackedJob) -> None:
    """Note of a job that our sbatch has not seen that it is not in a directory of its node."""
    lgr.warning(
        "the command calls sbatch in a way that datalad-slurm does not see: its job runs in the "
        "dataset, without --node-local"
    )
    let_go(context, [claim])
    context.tracker.note_extra(claim.id, {NODE_LOCAL: None})


def let_go(context: Context, jobs: Iterable[TrackedJob]) -> None:
    """Note that what jobs bring back is not needed once they are tracked no more."""
    for job in jobs:
        if job.is_node_local and not job.is_retry:
            with suppress(OSError):
                deliveries.mark_over(store_of(context, job))


def tidy_stores(context: Context) -> None:
    """Remove what has travelled for jobs that are tracked no more, and for tasks that are done."""
    try:
        stores = list(_stores(context).iterdir())
    except FileNotFoundError:
        return
    tracked = {job.token: job for job in context.tracker.open_jobs()}
    others = context.tracker.tokens() if stores else set()
    for store in stores:
        job = tracked.get(store.name)
        if job is None:
            if store.name not in others and deliveries.is_over(store):
                shutil.rmtree(store, ignore_errors=True)
            continue
        for task, runs in deliveries.read_runs(store).items():
            if task not in job.tasks:
                for restart in runs.taken:
                    if restart in runs.deliveries:
                        deliveries.drop(runs.deliveries[restart])
