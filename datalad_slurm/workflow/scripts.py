"""Learn which script each call of sbatch was given."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.identity import blob_of
from datalad_slurm.dataset.paths import inside
from datalad_slurm.jobs.archive import AS_RECORDED, SCRIPTS, archive_path, digest_of
from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.inputs import MISSING, Identity
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.names import JobName
from datalad_slurm.jobs.sbatch_options import (
    LARGEST_SCRIPT,
    chdir,
    directives,
    has_wrap,
    read_call,
    sbatch_calls,
    script_paths,
    split_words,
    wrapped_script,
)
from datalad_slurm.slurm import scontrol
from datalad_slurm.slurm.sbatch import NotedCall
from datalad_slurm.workflow.context import Context, lgr

__all__ = [
    "identified_scripts",
    "identify_script",
    "script_text",
    "with_directives",
    "with_held_script",
]


def identified_scripts(
    context: Context, claim: TrackedJob, calls: Sequence[NotedCall], found: Sequence[SlurmJob]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return what is to be noted of the scripts of the jobs that a command has just submitted.

    An addition to its identities, and what is to be kept, by its SHA-256.

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
    if not told and len(calls) == len(found) == 1:  # it printed nothing, as with --quiet
        told = [calls[0]._replace(jobs=(JobName(found[0].job_id, found[0].cluster),))]
    if told and AS_RECORDED in claim.extra:
        return {SCRIPTS: claim.extra[AS_RECORDED]}, {}  # nothing else was submitted
    contents: dict[str, bytes] = {}
    entries = [
        _entry(context, claim, call, contents) for call in told or _as_typed(context, claim, found)
    ]
    distinct = list({json.dumps(entry, sort_keys=True): entry for entry in entries}.values())
    return ({SCRIPTS: distinct} if distinct else {}), contents


def _as_typed(
    context: Context, claim: TrackedJob, found: Sequence[SlurmJob]
) -> Iterator[NotedCall]:
    """Yield the call that a plain command is by itself."""
    words = split_words(claim.cmd)
    cwd = context.run_directory(claim)
    if len(found) == 1 and words and words[0].rpartition("/")[2] == "sbatch":
        jobs = (JobName(found[0].job_id, found[0].cluster),)
        yield NotedCall(str(cwd), tuple(words[1:]), jobs, claim.claimed_at * 10**9)


def _entry(
    context: Context, claim: TrackedJob, call: NotedCall, contents: dict[str, bytes]
) -> dict[str, Any]:
    """Return what is noted of a call's script, and add what is to be archived to `contents`."""
    options, name = next(sbatch_calls(["sbatch", *call.args]))
    if not name:
        if has_wrap(options):
            return {"wrap": True} | _wrapped(call)
        return {"stdin": True} | _kept_script(
            context.repo, _held_by_slurm(context, call.jobs[0]), contents
        )
    found = _script_path(options, name, call.cwd)
    content = _read_before(found, call.noted_at)
    if content is None:
        content = _held_by_slurm(context, call.jobs[0])
    path = inside(context.place_of(claim), found)
    where = os.path.normpath(found) if path is None else path
    return {"path": where} | _kept_script(context.repo, content, contents)


def _wrapped(call: NotedCall) -> dict[str, Any]:
    """Return what is noted of a script that sbatch made: it is short, and hardly ever one again."""
    read = read_call(call.args)
    if read is None or read.wrapped is None:
        return {}
    text = wrapped_script(read.wrapped)
    return {"sha256": digest_of(os.fsencode(text)), "text": text}


def _kept_script(repo: Repo, content: bytes | None, contents: dict[str, bytes]) -> dict[str, Any]:
    """Return what is noted of a script, and add it to what is to be kept, by its SHA-256.

    One that is not known, or larger than any job script, is not kept.
    """
    entry = _checksums(repo, content)
    if content is not None and len(content) <= LARGEST_SCRIPT:
        contents[entry["sha256"]] = content
        entry["archived"] = archive_path(entry["sha256"], ".sh")
    return entry


def _script_path(options: Sequence[str], name: str, cwd: str) -> str:
    """Return the file that sbatch takes as script; where there is none, the first that it tries."""
    paths = list(script_paths(name, chdir(options), cwd, os.environ.get("PATH", "")))
    return next((path for path in paths if os.path.isfile(path)), paths[0])  # noqa: PTH113


def _read_before(path: str, moment: int) -> bytes | None:
    """Return what a file holds, if that was so before a time (ns): what sbatch has read."""
    read = _read(path)
    if read is None:
        return None
    content, found = read
    return content if max(found.st_mtime_ns, found.st_ctime_ns) < moment else None


def _read(path: str) -> tuple[bytes, os.stat_result] | None:
    """Return what a file holds, and its stat as of then, if it may be a script."""
    try:
        # a named pipe would have us wait for a writer
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123
            found = os.fstat(file.fileno())
            if stat.S_ISREG(found.st_mode) and found.st_size <= LARGEST_SCRIPT:
                return file.read(), os.fstat(file.fileno())
    except (OSError, ValueError):
        pass  # a word of a command need not be a name that a file can have
    return None


def _content(path: str) -> bytes | None:
    read = _read(path)
    return None if read is None else read[0]


def with_held_script(context: Context, claim: TrackedJob, job: JobName) -> TrackedJob:
    """Return a claim, not in the database yet, with the script that slurmctld has of its job."""
    contents: dict[str, bytes] = {}
    entry = _kept_script(context.repo, _held_by_slurm(context, job), contents)
    if not entry:
        return claim
    return replace(claim, identities={**claim.identities, SCRIPTS: [entry]}, contents=contents)


def _held_by_slurm(context: Context, job: JobName) -> bytes | None:
    """Return the script that slurmctld has of a job: it may be no file any more."""
    from datalad_slurm.node.runner import script_in

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
    return _checksums(repo, _content(str(repo.root / path))) or {"unreadable": True}


def _checksums(repo: Repo, content: bytes | None) -> dict[str, Any]:
    if content is None:
        return {}
    return {"sha256": digest_of(content), "blob": blob_of(repo, content)}


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
        yield [*directives(os.fsdecode(_content(path) or b"")), *options], path


def script_text(options: Sequence[str], name: str, cwd: Path) -> str | None:
    """Return the script that sbatch takes in a directory, or None when it cannot be read."""
    content = _content(_script_path(options, name, str(cwd)))
    return None if content is None else os.fsdecode(content)
