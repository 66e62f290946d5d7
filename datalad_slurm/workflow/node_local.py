"""Pack what a job finds in a directory of its node."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from datalad_slurm.dataset import zstd
from datalad_slurm.dataset.mirror import Mirror
from datalad_slurm.dataset.node_archive import pack
from datalad_slurm.dataset.transfer import Stamp, stamp
from datalad_slurm.jobs.claims import ancestors, top_of
from datalad_slurm.jobs.errors import TransferError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.packs import PACK
from datalad_slurm.node.runner import Stage
from datalad_slurm.workflow.context import Context
from datalad_slurm.workflow.mirroring import mirror_of
from datalad_slurm.workflow.stores import store_of
from datalad_slurm.workflow.whole_files import write_whole

__all__ = ["packed_inputs", "read_inputs"]

_BLOCK = 4096


def packed_inputs(
    context: Context,
    claim: TrackedJob,
    inputs: Iterable[str],
    packed: dict[object, Path] | None = None,
) -> tuple[Stage, str]:
    """Pack what a job reads into one archive; return what travels, and words about it.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        In the database already.
    inputs : iterable of str
        Paths and globs, relative to the job's directory.
    packed : dict, optional
        Archives of jobs that were placed before, which this one may share.

    Raises
    ------
    InvalidRequestError
        When an input cannot be packed.
    TransferError
        When the archive cannot be written.
    """
    outputs = claim.templates or claim.outputs
    mirror = mirror_of(context, claim, inputs)
    tops = set(map(top_of, outputs))
    compared = {
        path: stamp(source)
        for path, source in mirror.files.items()
        if not tops.isdisjoint(ancestors(path))
    }
    archive = store_of(context, claim) / f"{claim.submission}.inputs.tar"
    try:
        write_whole(archive.with_suffix(".json"), json.dumps(compared))
    except OSError as exc:
        raise TransferError(f"{archive.parent} cannot be written to: {exc.strerror}") from exc
    same = (tuple(mirror.files.items()), tuple(mirror.all_directories()), tuple(compared.items()))
    earlier = packed.get(same) if packed is not None else None
    if earlier is None or not _is_linked(earlier, archive):
        pack(mirror, archive, compared)
    if packed is not None:
        packed[same] = archive
    files = f"{len(mirror.files)} input file{'' if len(mirror.files) == 1 else 's'}"
    said = f"{files}, {archive.stat().st_size} bytes, in one archive"
    stage = Stage(
        inputs=str(archive),
        needed=_room(mirror) // 1024,
        outputs=outputs,
        # what is packed is read by its place in the archive
        may_compress=PACK not in claim.extra and zstd.is_here(),
    )
    return stage, said


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
