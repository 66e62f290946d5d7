"""Find the recorded jobs of a history."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from datalad_slurm.dataset.history import (
    Change,
    Commit,
    read_changes,
    read_commits,
    resolve,
)
from datalad_slurm.dataset.sidecar import read_sidecar
from datalad_slurm.jobs.errors import RecordError
from datalad_slurm.jobs.record import (
    RunRecord,
    Sidecar,
    is_plain_run,
    parse_ending,
    parse_message,
    parse_record,
    parse_words,
)
from datalad_slurm.workflow.context import Context

__all__ = [
    "JOB_TITLES",
    "Recorded",
    "Selection",
    "changes_of",
    "commits_of",
    "read_history",
    "record_of",
]

#: The lines with which messages of jobs' commits begin.
JOB_TITLES = r"^\[DATALAD SLURM RUN\]"
#: Those, and the ones of `datalad run`.
_TITLES = r"^\[DATALAD (SLURM RUN|RUNCMD)\]"


@dataclass(frozen=True)
class Selection:
    """Which commits are meant."""

    revision: str = "HEAD"
    #: what is reachable from here is left out; empty stands for all of history, None for
    #: the commit `revision` alone
    since: str | None = None
    #: whether jobs that did not complete are meant as well
    with_failed_jobs: bool = False

    @property
    def is_range(self) -> bool:
        """Whether more than one commit may be meant."""
        return self.since is not None

    def __str__(self) -> str:
        """Return the selection as git would have it."""
        return f"{self.since}..{self.revision}" if self.since else self.revision


@dataclass(frozen=True)
class Recorded:
    """A commit with a record."""

    commit: Commit
    #: None for one that `datalad run` has made
    record: RunRecord | None

    @property
    def ending(self) -> str:
        """How the job ended, such as ``Out of memory``; empty when that is not told."""
        return parse_ending(self.commit.message)

    @property
    def words(self) -> str:
        """What the user said."""
        return parse_words(self.commit.message)


def commits_of(
    context: Context, selection: Selection, *, titles: str = JOB_TITLES
) -> Iterator[Commit]:
    """Return the commits that are meant, the oldest first.

    Parameters
    ----------
    context : Context
        The dataset.
    selection : Selection
        Which commits are meant.
    titles : str
        Extended regular expression; commits of a range without a line that matches are left
        out. One that is named alone is there in any case.

    Raises
    ------
    InvalidRequestError
        When a revision names no commit; at once, not with the first commit.
    """
    return read_commits(context.repo, **_extent(context, selection, titles))


def changes_of(
    context: Context, selection: Selection, *, titles: str = JOB_TITLES
) -> Iterator[tuple[Commit, list[Change]]]:
    """Return the commits that are meant, the newest first, each with what it changes.

    Parameters and errors are those of `commits_of`.
    """
    return read_changes(context.repo, **_extent(context, selection, titles))


def _extent(context: Context, selection: Selection, titles: str) -> dict[str, Any]:
    repo = context.repo
    return {
        "tip": resolve(repo, selection.revision),
        "without": resolve(repo, selection.since) if selection.since else "",
        "single": not selection.is_range,
        "pattern": titles if selection.is_range else "",
    }


def read_history(context: Context, selection: Selection) -> Iterator[Recorded]:
    """Yield the commits with a record, the oldest first.

    Raises
    ------
    InvalidRequestError
        When a revision names no commit.
    RecordError
        When a record cannot be read. Of a single commit also when there is none.
    """
    for commit in commits_of(context, selection, titles=_TITLES):
        try:
            record = record_of(context, commit)
        except RecordError as exc:
            raise RecordError(f"commit {commit.id[:10]}: {exc}") from exc
        if record is not None or is_plain_run(commit.message):
            yield Recorded(commit, record)
        elif not selection.is_range:
            raise RecordError(
                f"commit {commit.id[:10]} holds no record of a Slurm job; "
                "`git log --grep='DATALAD SLURM RUN'` shows those that do"
            )


def record_of(context: Context, commit: Commit) -> RunRecord | None:
    """Return the record of a commit, or None when it holds none of a Slurm job.

    Raises
    ------
    RecordError
        When it cannot be read.
    """
    found = parse_message(commit.message)
    if not isinstance(found, Sidecar):
        return found
    text = read_sidecar(context.repo, found, context.settings.record_directory, commit.id)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise RecordError("its record is not valid JSON") from exc
    return parse_record(content)
