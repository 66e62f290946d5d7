"""Tell where a file comes from: jobs, their inputs, and what made these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datalad_slurm.dataset.history import Commit
from datalad_slurm.dataset.tree import SUBDATASET_MODE
from datalad_slurm.jobs.errors import InvalidRequestError, RecordError
from datalad_slurm.jobs.job_summary import summarise
from datalad_slurm.jobs.origins import Origin, Read, Search
from datalad_slurm.jobs.record import RunRecord, parse_ending
from datalad_slurm.workflow.context import Context, Outcome, lgr
from datalad_slurm.workflow.history import Selection, changes_of, record_of

__all__ = ["HISTORY_ACTION", "tell_origins"]

HISTORY_ACTION = "slurm-report [history]"


def tell_origins(context: Context, selection: Selection, path: str) -> Iterator[Outcome]:
    """Yield what was asked for, then each commit from which some of it comes, newest first.

    Raises
    ------
    InvalidRequestError
        When no commit has the path, or a revision names none.
    """
    search = Search(path)
    found: list[tuple[Commit, Origin]] = []
    for commit, changes in changes_of(context, selection, titles=""):
        origin = search.feed(
            commit.id,
            [change.path for change in changes if not change.is_removal],
            _record(context, commit),
            [change.path for change in changes if change.mode == SUBDATASET_MODE],
        )
        if origin is not None:
            found.append((commit, origin))
        if search.is_done:
            break
    if not search.target.sources:
        raise InvalidRequestError(
            f"no commit of {selection} has '{path or '.'}'; is it spelled right, and committed?"
        )
    yield Outcome(HISTORY_ACTION, "ok", path=path, details={"reads": [_told(search.target)]})
    for commit, origin in found:
        yield Outcome(HISTORY_ACTION, "ok", type="dataset", details=_details(commit, origin))


def _record(context: Context, commit: Commit) -> RunRecord | None:
    try:
        return record_of(context, commit)
    except RecordError as exc:
        lgr.warning("commit %s counts as made by no job: %s", commit.id[:10], exc)
        return None


def _details(commit: Commit, origin: Origin) -> dict[str, Any]:
    told = {
        "commit": commit.id,
        "author": commit.author,
        "date": commit.date,
        "subject": commit.message.partition("\n")[0],
        "makes": origin.makes,
        "reads": [_told(read) for read in origin.reads],
    }
    if origin.record is None:
        return told
    job = summarise(
        origin.record, ending=parse_ending(commit.message), commit=commit.id, date=commit.date
    )
    known = ("slurm_job_id", "label", "cluster", "name", "slurm_state", "cmd", "ended")
    return told | {key: value for key, value in job.to_json().items() if key in known}


def _told(read: Read) -> dict[str, Any]:
    return {
        "path": read.path,
        "role": read.role,
        **read.identity,
        "from": [{"commit": commit, "files": files} for commit, files in read.sources.items()],
    }
