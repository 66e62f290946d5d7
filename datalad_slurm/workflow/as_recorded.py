"""Compare the present scripts with those that ran, and submit the ones that ran."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from datalad_slurm.dataset.git import Repo
from datalad_slurm.jobs.archive import AS_RECORDED, RecordedScript, digest_of, recorded_scripts
from datalad_slurm.jobs.errors import DatabaseError, DatasetError, InvalidRequestError
from datalad_slurm.jobs.inputs import MISSING
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.record import RunRecord, is_inside
from datalad_slurm.jobs.sbatch_options import split_words
from datalad_slurm.jobs.script import as_line
from datalad_slurm.slurm.as_recorded import Substitute, place
from datalad_slurm.tracking.contents import read_contents
from datalad_slurm.workflow.context import Context
from datalad_slurm.workflow.scripts import identify_script

__all__ = ["ChangedScript", "changed_scripts", "place_recorded", "scripts_to_submit"]


@dataclass(frozen=True)
class ChangedScript:
    """A script that is not as it was when a job ran with it."""

    path: str
    is_gone: bool

    def __str__(self) -> str:
        """Return in words how it has changed."""
        how = "is not here any more" if self.is_gone else "differs from the one that ran"
        return f"the script '{as_line(self.path)}' {how}"


def changed_scripts(context: Context, scripts: Iterable[RecordedScript]) -> list[ChangedScript]:
    """Return those of the scripts that a job ran with of which the file holds something else."""
    found = []
    for script in scripts:
        is_elsewhere = script.path.startswith("/")
        if not script.path or not (is_elsewhere or is_inside(script.path)):
            continue
        now = identify_script(context.repo, script.path)
        if now == MISSING:
            if not is_elsewhere:  # there they are often temporary
                found.append(ChangedScript(script.path, is_gone=True))
        elif now.get("sha256", script.sha256) != script.sha256:
            found.append(ChangedScript(script.path, is_gone=False))
    return found


def scripts_to_submit(
    context: Context, records: Sequence[RunRecord], cmd: str
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return what is to be noted with a job that is to run the scripts of its record.

    An addition to its notes, and what is to be kept, by its SHA-256.

    Parameters
    ----------
    context : Context
        The dataset.
    records : sequence of RunRecord
        Those of the job; of an array that was committed in parts there are several.
    cmd : str
        The command that will be run.

    Raises
    ------
    InvalidRequestError
        When it is not known what the scripts were, or they are not here, or cannot
        take the place of others.
    """
    found = {recorded_scripts(record.slurm) for record in records}
    if len(found) > 1:
        raise InvalidRequestError(
            "the tasks of this array ran with different scripts, so there is not one to submit; "
            "run it again without --as-recorded"
        )
    (scripts,) = found
    if not scripts:
        raise InvalidRequestError(
            "the record does not tell which script the job ran with; run it again without "
            "--as-recorded"
        )
    if any(word.endswith("/sbatch") for word in split_words(cmd)):
        raise InvalidRequestError(
            "the command calls sbatch by its path, so a recorded script cannot be put in the "
            "place of the present one; run it again without --as-recorded"
        )
    contents = {s.sha256: _content(context.repo, s) for s in scripts if s.text is None}
    return {AS_RECORDED: [script.entry() for script in scripts]}, contents


def _content(repo: Repo, script: RecordedScript) -> bytes:
    try:
        content = _read_blob(repo.root, script.blob)
    except DatasetError as exc:
        raise InvalidRequestError(
            f"the script '{script.path}' that the job ran with is not in this repository (git has "
            f"no blob {script.blob}); get the history that has it, or run the job again without "
            "--as-recorded"
        ) from exc
    if digest_of(content) != script.sha256:
        raise InvalidRequestError(
            f"the record contradicts itself: the blob of the script '{script.path}' does not have "
            "the recorded checksum; run the job again without --as-recorded"
        )
    return content


@lru_cache(maxsize=8)
def _read_blob(root: Path, blob: str) -> bytes:
    """Return a blob; of the jobs of a range most have the same script."""
    return Repo(root).run("cat-file", "blob", blob)


def place_recorded(context: Context, claim: TrackedJob, notes: Path) -> None:
    """Have our sbatch submit recorded scripts, if that is wanted for a job.

    Raises
    ------
    DatabaseError
        When what was kept for that is not there.
    """
    entries = claim.extra.get(AS_RECORDED)
    if not entries:
        return
    digests = [entry["sha256"] for entry in entries if "text" not in entry]
    kept = read_contents(context.tracker.database, digests)
    if kept.keys() != set(digests):
        raise DatabaseError("a recorded script that is to be submitted is not in the database")
    scripts = [
        Substitute(
            entry.get("path", ""),
            "text" in entry,
            os.fsencode(entry["text"]) if "text" in entry else kept[entry["sha256"]],
        )
        for entry in entries
    ]
    place(notes, context.place_of(claim).root, scripts)
