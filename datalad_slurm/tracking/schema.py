"""Tables of the tracking database, and how values are kept in them.

A path is kept as the bytes that the file system knows, since not every name is
UTF-8; lists, mappings and free text as JSON, which escapes what is none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

__all__ = [
    "CONTENT_STATEMENTS",
    "SCHEMA_VERSION",
    "STATEMENTS",
    "all_from_json",
    "from_json",
    "path_from_row",
    "path_to_row",
    "to_json",
]

#: Stored in the database as ``PRAGMA user_version``; `migrations` leads here from earlier ones.
SCHEMA_VERSION = 4

#: One scheduled command: a claim first, a job once Slurm has taken it.
_JOBS = """
CREATE TABLE jobs (
    id INTEGER NOT NULL,
    token VARCHAR NOT NULL,
    cmd JSON NOT NULL,
    pwd BLOB NOT NULL,
    dsid VARCHAR NOT NULL,
    message JSON NOT NULL,
    declared_outputs JSON NOT NULL,
    inputs JSON NOT NULL,
    extra_inputs JSON NOT NULL,
    chain JSON NOT NULL,
    commit_at_submission VARCHAR NOT NULL,
    claimed_at INTEGER NOT NULL,
    claimed_by JSON NOT NULL,
    extra JSON NOT NULL,
    identities JSON DEFAULT '{}' NOT NULL, -- of inputs and script at submission; since version 2
    templates JSON DEFAULT '[]' NOT NULL, -- of claims, where outputs have patterns; since version 3
    PRIMARY KEY (id),
    UNIQUE (token)
)"""
#: A path or glob, relative to the dataset's root, that no other open job may claim.
_CLAIMS = """
CREATE TABLE claims (
    id INTEGER NOT NULL,
    job INTEGER NOT NULL,
    path BLOB NOT NULL,
    start BLOB DEFAULT (x'') NOT NULL, -- datalad_slurm.jobs.claims.beginning; since version 2
    PRIMARY KEY (id),
    FOREIGN KEY (job) REFERENCES jobs (id) ON DELETE CASCADE
)"""
#: One job that Slurm took from a scheduled command.
_SLURM_JOBS = """
CREATE TABLE slurm_jobs (
    id INTEGER NOT NULL,
    job INTEGER NOT NULL,
    job_id INTEGER NOT NULL,
    cluster VARCHAR NOT NULL,
    attempt INTEGER NOT NULL,
    submitted INTEGER,
    name JSON NOT NULL,
    work_dir BLOB NOT NULL,
    logs JSON NOT NULL, -- pairs of name and array index, see LogName
    -- array indices ["1-10"], het components ["+0", "+1"], a plain job []; ["none"] if none is left
    tasks JSON,
    facts JSON NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY (job) REFERENCES jobs (id) ON DELETE CASCADE
)"""
#: The one process that may commit in this dataset; at most one row.
_FINISHER = """
CREATE TABLE finisher (
    id INTEGER NOT NULL,
    process JSON NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (id)
)"""
#: Commits that are built and about to become, or have become, the branch's.
_PUBLICATIONS = """
CREATE TABLE publications (
    id INTEGER NOT NULL,
    branch VARCHAR NOT NULL, -- full name, or HEAD when it is detached
    base VARCHAR NOT NULL, -- the commit the new ones grow on; empty in a new repository
    tip VARCHAR NOT NULL,
    jobs JSON NOT NULL, -- ids of jobs to be forgotten once the branch has the tip
    subdataset BLOB DEFAULT (x'') NOT NULL, -- its path; empty for the dataset; since version 2
    -- of jobs that stay, the tasks that were committed: jobs.id, Slurm's id, and the tasks as in
    -- slurm_jobs; since version 3
    parts JSON DEFAULT '[]' NOT NULL,
    PRIMARY KEY (id)
)"""

#: What was kept of jobs at submission, scripts and environments, each once; since version 4.
_CONTENTS = """
CREATE TABLE contents (
    sha256 VARCHAR NOT NULL PRIMARY KEY,
    content BLOB NOT NULL
)"""
#: Which job needs which of them.
_KEPT = """
CREATE TABLE kept (
    job INTEGER NOT NULL,
    sha256 VARCHAR NOT NULL,
    PRIMARY KEY (job, sha256),
    FOREIGN KEY (job) REFERENCES jobs (id) ON DELETE CASCADE
) WITHOUT ROWID"""
#: However a job goes, what no other one needs goes with it.
_DROP_CONTENT = """
CREATE TRIGGER drop_content AFTER DELETE ON kept
WHEN NOT EXISTS (SELECT 1 FROM kept WHERE sha256 = OLD.sha256)
BEGIN
    DELETE FROM contents WHERE sha256 = OLD.sha256;
END"""
#: What version 4 has added.
CONTENT_STATEMENTS = (
    _CONTENTS,
    _KEPT,
    "CREATE INDEX kept_by_content ON kept (sha256)",
    _DROP_CONTENT,
)

#: What makes an empty database one of ours.
STATEMENTS = (
    _JOBS,
    _CLAIMS,
    "CREATE INDEX claims_by_start ON claims (start)",
    "CREATE INDEX claims_by_job ON claims (job)",
    _SLURM_JOBS,
    "CREATE INDEX slurm_jobs_by_id ON slurm_jobs (job_id)",
    "CREATE INDEX slurm_jobs_by_job ON slurm_jobs (job)",
    _FINISHER,
    _PUBLICATIONS,
    *CONTENT_STATEMENTS,
)

#: A path on its way into the database, and out of it.
path_to_row = os.fsencode
path_from_row = os.fsdecode
#: The commonest of all values, for which no parser is needed.
_EMPTY: dict[str, Callable[[], Any]] = {"[]": list, "{}": dict, '""': str}


def to_json(value: Any) -> str:
    """Return a value as the database keeps it; always in the same spelling, to be compared."""
    return json.dumps(value)


def from_json(text: str) -> Any:
    """Return a value from what the database keeps.

    Raises
    ------
    ValueError
        When it is no JSON.
    TypeError
        When it is no text.
    """
    empty = _EMPTY.get(text)
    return empty() if empty else json.loads(text)


def all_from_json(texts: Sequence[str]) -> list[Any]:
    """Return what `from_json` does of each text, by one call of the parser for all of them.

    Equal texts give the same object, which is not to be changed: jobs of one table have
    much in common.
    """
    different = list(dict.fromkeys(texts))
    values = json.loads(f"[{','.join(different)}]")
    if len(values) != len(different):  # one was no JSON, but made some with its neighbours
        values = [from_json(text) for text in different]
    by_text = dict(zip(different, values, strict=True))
    return [by_text[text] for text in texts]
