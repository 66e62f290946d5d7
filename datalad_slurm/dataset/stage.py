"""Turn files of the working tree into git objects, annexed where that is configured."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datalad_slurm.dataset.git import Repo
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["Change", "Staging", "drop_staging_index", "stage"]

_INDEX_NAME = "staging.index"
_LINK_MODE = "120000"


@dataclass(frozen=True)
class Change:
    """What a commit is to hold at a path; without a mode, that there is nothing."""

    path: str
    mode: str = ""
    blob: str = ""
    #: key of the annexed content
    key: str = ""

    @property
    def is_deletion(self) -> bool:
        """Whether the path is taken out of the tree."""
        return not self.mode

    @property
    def is_unlocked(self) -> bool:
        """Whether the working tree holds content where git holds a pointer to it."""
        return bool(self.key) and self.mode != _LINK_MODE


@dataclass(frozen=True)
class Staging:
    """What became of the paths that were to be staged."""

    changes: dict[str, Change] = field(default_factory=dict)
    #: path to reason
    failures: dict[str, str] = field(default_factory=dict)


def stage(repo: Repo, paths: Sequence[str]) -> Staging:
    """Annex or hash files, and return what a commit is to hold for them.

    An index of its own serves this, so the cost does not depend on how much
    the dataset holds, and the user's index stays as it is. That a path is
    ignored by ``.gitignore`` does not matter: it was declared.

    Parameters
    ----------
    repo : Repo
        The repository, with or without git-annex.
    paths : sequence of str
        Files and links, no directories, relative to the root.

    Raises
    ------
    DatasetError
        When git or git-annex fails altogether.
    """
    if not paths:
        return Staging()
    index = repo.state_file(_INDEX_NAME)
    drop_staging_index(repo)
    env = {"GIT_INDEX_FILE": str(index)}
    try:
        if repo.has_annex:
            keys, failures = _annex_add(repo, paths, env)
        else:
            keys, failures = {}, _git_add(repo, paths, env)
        changes = {
            path: Change(path, mode, blob, keys.get(path, ""))
            for path, mode, blob in _read_index(repo, env)
        }
    finally:
        drop_staging_index(repo)
    for path in paths:
        if path not in changes:
            failures.setdefault(
                path, "git-annex left it out" if repo.has_annex else "git left it out"
            )
    wanted = set(paths)
    return Staging({path: change for path, change in changes.items() if path in wanted}, failures)


def drop_staging_index(repo: Repo) -> None:
    """Remove the index of a staging, and what a killed one has left of it."""
    for left in repo.state_dir.glob(f"{_INDEX_NAME}*"):
        left.unlink(missing_ok=True)


def _annex_add(
    repo: Repo, paths: Sequence[str], env: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the keys of annexed paths, and why others failed."""
    said = repo.run(
        "annex",
        "add",
        "--batch",
        "-z",
        "--json",
        "--json-error-messages",
        "--no-check-gitignore",
        input=_nul_joined(paths),
        env=env,
        ok_codes=(0, 1),  # 1: some paths failed, each says so
    )
    lines = said.split(b"\n")
    keys: dict[str, str] = {}
    failures: dict[str, str] = {}
    # one line a path, in their order; an empty one for what it does not add
    for path, line in zip(paths, lines, strict=False):
        if not line.strip():
            continue
        try:
            answer = json.loads(line)
        except ValueError as exc:
            raise DatasetError(f"git-annex gave an answer that is no JSON for '{path}'") from exc
        if not answer.get("success"):
            words = " ".join(answer.get("error-messages") or ["git-annex could not add it"])
            failures[path] = " ".join(words.split())
        elif answer.get("key"):
            keys[path] = answer["key"]
    return keys, failures


def _git_add(repo: Repo, paths: Sequence[str], env: dict[str, str]) -> dict[str, str]:
    """Hash paths; return why some failed."""
    command = ("update-index", "--add", "-z", "--stdin")
    try:
        repo.run(*command, input=_nul_joined(paths), env=env)
    except DatasetError:
        failures: dict[str, str] = {}
        for path in paths:  # one bad path stops them all: find it
            try:
                repo.run(*command, input=_nul_joined([path]), env=env)
            except DatasetError as exc:
                failures[path] = str(exc)
        return failures
    return {}


def _read_index(repo: Repo, env: dict[str, str]) -> Iterable[tuple[str, str, str]]:
    if not Path(env["GIT_INDEX_FILE"]).exists():
        return
    for entry in repo.run("ls-files", "-s", "-z", env=env).split(b"\0"):
        if entry:
            meta, _, path = entry.partition(b"\t")
            mode, blob, _ = meta.decode().split(" ")
            yield os.fsdecode(path), mode, blob


def _nul_joined(paths: Iterable[str]) -> bytes:
    return b"".join(os.fsencode(path) + b"\0" for path in paths)
