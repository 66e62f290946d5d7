"""Learn which script each call of sbatch was given."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.identity import blob_of
from datalad_slurm.dataset.paths import inside
from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.inputs import MISSING, Identity
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.names import JobName
from datalad_slurm.jobs.sbatch_options import (
    LARGEST_SCRIPT,
    chdir,
    directives,
    has_wrap,
    sbatch_calls,
    script_paths,
    split_words,
)
from datalad_slurm.node.runner import script_in
from datalad_slurm.slurm import scontrol
from datalad_slurm.slurm.sbatch import NotedCall
from datalad_slurm.workflow.context import Context, lgr

__all__ = ["identified_scripts", "identify_script", "script_text", "with_directives"]


def identified_scripts(
    context: Context, claim: TrackedJob, calls: Sequence[NotedCall], found: Sequence[SlurmJob]
) -> list[dict[str, Any]]:
    """Return what is to be noted of the scripts of the jobs that a command has just submitted.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        The command.
    calls : sequence of NotedCall
        What our sbatch noted of how it was called.
    found : sequence of SlurmJob
        The jobs; used where the notes do not tell.
    """
    told = [call for call in calls if call.jobs]
    entries = [_entry(context, claim, call) for call in told or _as_typed(context, claim, found)]
    return list({json.dumps(entry, sort_keys=True): entry for entry in entries}.values())


def _as_typed(
    context: Context, claim: TrackedJob, found: Sequence[SlurmJob]
) -> Iterator[NotedCall]:
    """Yield the call that a plain command is by itself."""
    words = split_words(claim.cmd)
    cwd = context.run_directory(claim)
    if len(found) == 1 and words and words[0].rpartition("/")[2] == "sbatch":
        jobs = (JobName(found[0].job_id, found[0].cluster),)
        yield NotedCall(str(cwd), tuple(words[1:]), jobs, claim.claimed_at * 10**9)


def _entry(context: Context, claim: TrackedJob, call: NotedCall) -> dict[str, Any]:
    options, name = next(sbatch_calls(["sbatch", *call.args]))
    if not name:
        if has_wrap(options):
            return {"wrap": True}
        return {"stdin": True} | _checksums(context.repo, _held_by_slurm(context, call))
    found = _script_path(options, name, call.cwd)
    content = _read_before(found, call.noted_at)
    if content is None:
        content = _held_by_slurm(context, call)
    path = inside(context.place_of(claim), found)
    where = os.path.normpath(found) if path is None else path
    return {"path": where} | _checksums(context.repo, content)


def _script_path(options: Sequence[str], name: str, cwd: str) -> str:
    """Return the file that sbatch takes as script; where there is none, the first that it tries."""
    paths = list(script_paths(name, chdir(options), cwd, os.environ.get("PATH", "")))
    return next((path for path in paths if os.path.isfile(path)), paths[0])  # noqa: PTH113


def _read_before(path: str, moment: int) -> bytes | None:
    """Return what a file holds, if that was so before a time (ns): what sbatch has read."""
    content = _read(path)
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return content if max(found.st_mtime_ns, found.st_ctime_ns) < moment else None


def _read(path: str) -> bytes | None:
    try:
        found = Path(path).stat()
        if stat.S_ISREG(found.st_mode) and found.st_size <= LARGEST_SCRIPT:
            return Path(path).read_bytes()
    except (OSError, ValueError):
        pass  # a word of a command need not be a name that a file can have
    return None


def _held_by_slurm(context: Context, call: NotedCall) -> bytes | None:
    """Return the script that slurmctld has of a call's job: it may be no file any more."""
    job = call.jobs[0]
    try:
        timeout = context.settings.query_timeout
        return script_in(scontrol.batch_script(job.job_id, job.cluster, timeout))
    except QueryFailedError as exc:
        lgr.info("what the script of job %s was is not known: %s", job.job_id, exc)
        return None


def identify_script(repo: Repo, path: str) -> Identity:
    """Return what a script holds now; a path is relative to the root, or absolute."""
    if not os.path.lexists(repo.root / path):
        return MISSING
    return _checksums(repo, _read(str(repo.root / path))) or {"unreadable": True}


def _checksums(repo: Repo, content: bytes | None) -> dict[str, Any]:
    if content is None:
        return {}
    return {"sha256": hashlib.sha256(content).hexdigest(), "blob": blob_of(repo, content)}


def with_directives(words: Sequence[str], cwd: Path) -> Iterator[tuple[list[str], str]]:
    """Yield options, those in the script first, and path of the script of each sbatch in a command.

    Parameters
    ----------
    words : sequence of str
        The words of the command.
    cwd : Path
        Where it is run.
    """
    for options, name in sbatch_calls(words):
        path = _script_path(options, name, str(cwd)) if name else ""
        # of an option that is given twice the last one counts
        yield [*directives(os.fsdecode(_read(path) or b"")), *options], path


def script_text(options: Sequence[str], name: str, cwd: Path) -> str | None:
    """Return the script that sbatch takes in a directory, or None when it cannot be read."""
    content = _read(_script_path(options, name, str(cwd)))
    return None if content is None else os.fsdecode(content)
