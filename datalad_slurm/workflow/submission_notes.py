"""What a submission leaves for whoever has to settle or undo it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from datalad_slurm.dataset.leftovers import drop_aside, put_back
from datalad_slurm.dataset.prepare import Prepared, undo
from datalad_slurm.jobs.errors import DatasetError
from datalad_slurm.workflow.context import Context, lgr
from datalad_slurm.workflow.whole_files import write_whole

__all__ = [
    "all_notes",
    "drop_notes",
    "note_prepared",
    "notes_directory",
    "undo_prepared",
]

#: Name of the note of what was done in the dataset before the submission.
_PREPARED = "prepared.json"
#: How many outputs a message names.
_MOST_NAMED = 3


def notes_directory(context: Context, token: str) -> Path:
    """Return the directory in which a submission leaves its notes."""
    return all_notes(context) / token


def all_notes(context: Context) -> Path:
    """Return the directory that holds those of all submissions."""
    return context.repo.state_dir / "submissions"


def drop_notes(context: Context, token: str) -> None:
    """Remove the notes of a submission that is settled."""
    notes = notes_directory(context, token)
    drop_aside(notes)
    shutil.rmtree(notes, ignore_errors=True)


def note_prepared(context: Context, token: str, prepared: Prepared) -> None:
    """Note what is about to be done to make room for a job, so that anybody can undo it."""
    path = notes_directory(context, token) / _PREPARED
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(prepared._asdict()))


def undo_prepared(context: Context, *tokens: str) -> None:
    """Undo what was done to make room for jobs that were not submitted after all.

    What cannot be undone is left to the user: no content is lost by it, and
    other jobs must not wait for it.
    """
    try:
        _make_read_only_again(context, tokens)
    finally:
        for token in tokens:
            put_back(notes_directory(context, token))


def _make_read_only_again(context: Context, tokens: Sequence[str]) -> None:
    unlocked: list[str] = []
    removed: list[tuple[str, str]] = []
    for token in tokens:
        path = notes_directory(context, token) / _PREPARED
        try:
            noted = json.loads(path.read_text())
            unlocked += noted["unlocked"]
            removed += [(path, target) for path, target in noted["removed"]]
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as exc:
            _warn_of_outputs(f"in {context.repo.root}", f"{path} cannot be read: {exc!r}")
    if not (unlocked or removed):
        return
    try:
        undo(context.hierarchy, Prepared(tuple(unlocked), tuple(removed)))
    except (OSError, DatasetError) as exc:
        if len(tokens) > 1:
            for token in tokens:  # what stands in the way of one must not concern the others
                _make_read_only_again(context, (token,))
            return
        outputs = (*(path for path, _ in removed), *unlocked)
        where = ", ".join(f"'{output}'" for output in outputs[:_MOST_NAMED])
        more = f" and {len(outputs) - _MOST_NAMED} more" if len(outputs) > _MOST_NAMED else ""
        _warn_of_outputs(f"{where}{more} in {context.repo.root}", str(exc))


def _warn_of_outputs(where: str, reason: str) -> None:
    lgr.warning(
        "outputs %s were unlocked or removed for a job that was not submitted, and may be so "
        "still (%s); see `git status`: `git annex lock PATH` locks a file again, "
        "`git checkout -- PATH` brings back a link",
        where,
        reason,
    )
