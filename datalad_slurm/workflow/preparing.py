"""Make room in the dataset for what a job is going to write."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from datalad.support.exceptions import IncompleteResultsError

from datalad_slurm.dataset.paths import inside, matches, walk
from datalad_slurm.dataset.prepare import Prepared, find_locked, is_annex_link, make_writable
from datalad_slurm.jobs.claims import covers, top_of
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.packs import PACK, archive_of, made_at_finish, packed_outputs
from datalad_slurm.jobs.sbatch_options import chdir, log_names, split_words
from datalad_slurm.workflow.context import Context, Outcome
from datalad_slurm.workflow.placeholders import message_of
from datalad_slurm.workflow.request import Request
from datalad_slurm.workflow.scripts import with_directives
from datalad_slurm.workflow.submission_notes import note_prepared

__all__ = ["calls_elsewhere", "logs_there", "made_writable"]


def made_writable(
    context: Context, wanted: Sequence[tuple[Request, TrackedJob]]
) -> Iterator[Outcome]:
    """Unlock what jobs will overwrite, and install the subdatasets that they write into.

    Parameters
    ----------
    context : Context
        The dataset.
    wanted : sequence of pairs
        What is to be run, and what it claims, in the tracking database.
    """
    yield from _installed(context, (output for _, claim in wanted for output in claim.outputs))
    found: dict[int, Prepared] = {}
    for request, claim in wanted:
        if claim.alt_dir:
            continue  # what is in the dataset is replaced when the job is finished
        logs = [path for path in logs_there(context, request) if is_annex_link(context.repo, path)]
        outputs, overwrites = _written(context, request, claim)
        if claim.is_node_local:  # only its logs are written here
            overwrites = tuple(p for p in overwrites if not any(covers(out, p) for out in outputs))
            outputs = ()
        prepared = find_locked(context.hierarchy, outputs, (*overwrites, *logs))
        if prepared != Prepared():
            note_prepared(context, claim.submission, prepared)
            found[claim.id] = prepared
    if not found:
        return
    unlocked = dict.fromkeys(path for each in found.values() for path in each.unlocked)
    removed = dict(pair for each in found.values() for pair in each.removed)
    make_writable(context.hierarchy, Prepared(tuple(unlocked), tuple(removed.items())))
    removals = {number: [path for path, _ in each.removed] for number, each in found.items()}
    noted = {number: {"removed_outputs": paths} for number, paths in removals.items() if paths}
    if noted:
        from datalad_slurm.tracking.many import note_all

        note_all(context.tracker, extra=noted)
    for path in unlocked:
        yield Outcome("unlock", "ok", path=path, type="file")
    for path in removed:
        yield Outcome("remove", "ok", "its content is not here", path=path, type="file")


def _written(
    context: Context, request: Request, claim: TrackedJob
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return claims, and further paths, where the job itself writes.

    A directory that was packed before begins with nothing but what is here, since in it each
    link without content would be in the way.
    """
    if PACK not in claim.extra:
        return claim.outputs, request.overwrites
    others = made_at_finish(claim)
    outputs = tuple(each for each in claim.outputs if each not in others)
    overwrites = (path for path in request.overwrites if not any(covers(o, path) for o in others))
    tops = (top for each in packed_outputs(claim) for top in matches(context.repo, each))
    packed = (top for top in tops if os.path.lexists(context.repo.root / archive_of(top)))
    below = (path for top in packed for path, _ in walk(context.repo, top))
    links = (path for path in below if is_annex_link(context.repo, path))
    return outputs, tuple(dict.fromkeys((*overwrites, *links)))


def _installed(context: Context, outputs: Iterable[str]) -> Iterator[Outcome]:
    """Install the subdatasets that are to hold outputs and are not here yet."""
    for output in outputs:
        while not context.hierarchy.is_here(name := context.hierarchy.holder(top_of(output))):
            try:
                context.dataset.get(
                    context.repo.root / name, get_data=False, result_renderer="disabled"
                )
            except IncompleteResultsError as exc:
                raise InvalidRequestError(
                    f"output '{output}' is in the subdataset '{name}', which cannot be installed: "
                    f"{_first_reason(exc)}"
                ) from exc
            yield Outcome("install", "ok", path=name, type="dataset")


def _first_reason(exc: IncompleteResultsError) -> str:
    """Return in one line why datalad could not do something."""
    failed: dict[str, Any] = next(iter(exc.failed or ()), {})
    return " ".join(message_of(failed).split()) or "datalad does not say why"


def logs_there(context: Context, request: Request) -> Iterator[str]:
    """Yield files that are there already, and that the job is going to use as logs.

    A log of a fixed name that an earlier job's commit holds is locked, and the
    job would fail before its first line. slurmctld tells the names of logs,
    but only when the job may have started already.
    """
    for words, _ in with_directives(split_words(request.cmd), request.cwd):
        directory = request.cwd / (chdir(words) or ".")
        for name in log_names(words):
            # what only the node knows may be anything, but stays in its directory
            pattern = re.sub(r"%\d*[a-zA-Z]", "*", glob.escape(name).replace("%%", "%"))
            for found in glob.iglob(os.path.join(glob.escape(str(directory)), pattern)):  # noqa: PTH118, PTH207
                path = inside(context.repo, found)
                if path:
                    yield path


def calls_elsewhere(
    context: Context, claim: TrackedJob, command: str
) -> list[tuple[list[str], str]]:
    """Return options and script of each sbatch in a command that runs elsewhere.

    The scripts are not there yet, so they are those of the dataset.
    """
    root = str(context.repo.root)
    words = [word.replace(claim.alt_dir, root) for word in split_words(command)]
    return list(with_directives(words, context.repo.root / claim.pwd))
