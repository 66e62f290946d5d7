"""Where the scripts and environments of jobs are archived, and how a record names them.

A file is named by its content, so whatever many jobs have in common is one file,
in every clone and on every branch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from datalad_slurm.jobs.model import TrackedJob

__all__ = [
    "ARCHIVE_DIRECTORY",
    "AS_RECORDED",
    "ENVIRONMENT",
    "SCRIPTS",
    "RecordedScript",
    "archive_path",
    "archived_files",
    "digest_of",
    "recorded_scripts",
]

#: Key of what was submitted, and of the environment, among a job's identities.
SCRIPTS = "scripts"
ENVIRONMENT = "environment"
#: Key, in a job's notes, of the recorded scripts that are submitted in the place of others.
AS_RECORDED = "as_recorded"
#: Where contents are archived, relative to the dataset's root.
ARCHIVE_DIRECTORY = ".datalad/slurm/archive"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def digest_of(content: bytes) -> str:
    """Return the checksum by which a content is known."""
    return hashlib.sha256(content).hexdigest()


def archive_path(digest: str, suffix: str) -> str:
    """Return where a content is archived, relative to the dataset's root.

    Parameters
    ----------
    digest : str
        Its SHA-256.
    suffix : str
        ``.sh`` for a script, ``.env`` for an environment.
    """
    return f"{ARCHIVE_DIRECTORY}/{digest[:2]}/{digest}{suffix}"


def archived_files(job: TrackedJob) -> dict[str, str]:
    """Return the archived files that a job's record names, with the SHA-256 of each."""
    entries = [
        *job.identities.get(SCRIPTS, ()),
        *(script for attempt in job.attempts for script in attempt.get(SCRIPTS, ())),
    ]
    if ENVIRONMENT in job.identities:
        entries.append(job.identities[ENVIRONMENT])
    return {entry["archived"]: entry["sha256"] for entry in entries if "archived" in entry}


class RecordedScript(NamedTuple):
    """A script that a job ran with, as a record names it."""

    #: relative to the root, absolute elsewhere; empty where there was no file
    path: str
    sha256: str
    #: git's id of it; empty where the record holds it
    blob: str = ""
    #: the script itself, of ``--wrap``
    text: str | None = None

    def entry(self) -> dict[str, Any]:
        """Return it as an entry of a job's identities, for one that is submitted again."""
        content: dict[str, Any] = {"path": self.path} if self.path else {}
        content["sha256"] = self.sha256
        if self.text is not None:
            content |= {"wrap": True, "text": self.text}
        else:
            content |= {"blob": self.blob, "archived": archive_path(self.sha256, ".sh")}
        return content | {"as_recorded": True}


def recorded_scripts(slurm: Mapping[str, Any]) -> tuple[RecordedScript, ...]:
    """Return the scripts in what a record holds under ``slurm``, as far as they are well-formed."""
    noted = slurm.get("script")
    entries: Sequence[object] = noted if isinstance(noted, list) else [noted]
    return tuple(_read(entries))


def _read(entries: Sequence[object]) -> Iterator[RecordedScript]:
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        path, digest, blob, text = (entry.get(k, "") for k in ("path", "sha256", "blob", "text"))
        if not all(isinstance(each, str) for each in (path, digest, blob, text)):
            continue
        if not _SHA256.fullmatch(digest) or "\0" in path:
            continue
        if "text" in entry:
            yield RecordedScript(path, digest, text=text)
        elif _BLOB.fullmatch(blob):
            yield RecordedScript(path, digest, blob)
