"""Which part of the dataset a job finds where it runs, if that is not the dataset itself."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from datalad_slurm.dataset.mirror import Mirror
from datalad_slurm.jobs.claims import is_glob, top_of
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.sbatch_options import chdir, log_directories
from datalad_slurm.jobs.task_outputs import places_expected
from datalad_slurm.workflow.context import Context

__all__ = ["mirror_of"]


def mirror_of(
    context: Context,
    claim: TrackedJob,
    inputs: Iterable[str],
    calls: Sequence[tuple[Sequence[str], str]] = (),
) -> Mirror:
    """Return what a job finds of the dataset.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        The job.
    inputs : iterable of str
        Paths and globs, relative to the job's directory.
    calls : sequence of pairs
        Options, with the directives of the script, and script of each sbatch
        that is called there.

    Raises
    ------
    InvalidRequestError
        When an input is not there, or not in the dataset.
    """
    root = context.repo.root
    mirror = Mirror(root)
    mirror.add_directory(_relative(context, claim, ".") or "")
    for output in (*places_expected(claim), *claim.states):
        top = top_of(output)
        mirror.add_directory(top if is_glob(output) else top.rpartition("/")[0])
        mirror.add_way(top)
    for typed in claim.declared_outputs:
        path = _relative(context, claim, typed)
        if path is not None:
            mirror.add_way(path)
    for typed in inputs:
        # as `datalad run` reads it; what matches nothing is named when it is not there
        for found in glob.glob(typed, root_dir=root / claim.pwd, recursive=True) or [typed]:  # noqa: PTH207
            path = _relative(context, claim, found)
            if path is not None:
                mirror.add(path)
            elif not Path(found).is_absolute():
                raise InvalidRequestError(
                    f"input '{typed}' is outside the dataset, so it cannot be copied to "
                    f"{claim.alt_dir or 'the node'}; name it by its absolute path, if compute "
                    "nodes have it"
                )
    for words, script in calls:
        path = _relative(context, claim, script) if script else None
        if path and os.path.lexists(root / path):
            mirror.add(path)
        directory = chdir(words) or "."
        for name in (".", *log_directories(words)):
            path = _relative(context, claim, os.path.join(directory, name))  # noqa: PTH118
            if path is not None:
                mirror.add_way(path)
    return mirror


def _relative(context: Context, claim: TrackedJob, typed: str) -> str | None:
    """Return a path, relative to the job's directory, relative to the root; None outside."""
    for top in filter(None, (claim.alt_dir, str(context.repo.root))):
        whole = os.path.normpath(os.path.join(top, claim.pwd, typed))  # noqa: PTH118
        path = os.path.relpath(whole, top)
        if path != ".." and not path.startswith("../"):
            return "" if path == "." else path
    return None
