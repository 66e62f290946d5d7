"""Turn files of the working tree into git objects, annexed where that is configured."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datalad_slurm.dataset.annexing import FEWEST, Added, add_at_once
from datalad_slurm.dataset.files import LINK_MODE, Form, lstat_of, plain_stat, stat_of
from datalad_slurm.dataset.git import IN_ORDER, Repo, nul_joined, without_call_stack
from datalad_slurm.dataset.indexed import parse_staged
from datalad_slurm.dataset.ingest import CHANGED
from datalad_slurm.dataset.side_by_side import side_by_side
from datalad_slurm.dataset.unsettled import (
    forget_adding,
    give_back,
    note_adding,
    settle_adding,
)
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["Change", "Staging", "drop_staging_index", "stage"]

_INDEX_NAME = "staging.index"


@dataclass(frozen=True)
class Change:
    """What a commit is to hold at a path; without a mode, that there is nothing."""

    path: str
    mode: str = ""
    blob: str = ""
    #: key of the annexed content
    key: str = ""
    #: of a plain file, before it was staged
    stat: os.stat_result | None = None

    @property
    def file_stat(self) -> tuple[int, int, int] | None:
        """Size, modification time (ns) and inode of a plain file before it was staged."""
        return plain_stat(self.stat)

    @property
    def is_deletion(self) -> bool:
        """Whether the path is taken out of the tree."""
        return not self.mode

    @property
    def is_locked(self) -> bool:
        """Whether it is the link of an annexed file."""
        return bool(self.key) and self.mode == LINK_MODE


@dataclass(frozen=True)
class Staging:
    """What became of the paths that were to be staged."""

    changes: dict[str, Change] = field(default_factory=dict)
    #: path to reason
    failures: dict[str, str] = field(default_factory=dict)


def stage(
    repo: Repo,
    paths: Sequence[str],
    committed: Mapping[str, Form] | None = None,
    annexed: Collection[str] = (),
) -> Staging:
    """Annex or hash files, and return what a commit is to hold for them.

    An index of its own serves this, so the cost does not depend on how much
    the dataset holds, and the user's index stays as it is. What is committed
    already keeps its form: unlocked files stay unlocked, and annexed dotfiles
    annexed. That a path is ignored by ``.gitignore`` does not matter: it was
    declared.

    Parameters
    ----------
    repo : Repo
        The repository, with or without git-annex.
    paths : sequence of str
        Files and links, no directories, relative to the root.
    committed : mapping, optional
        How the last commit holds some of the paths.
    annexed : collection of str, optional
        Paths that are annexed whatever the configuration says.

    Returns
    -------
    Staging
        A file that was written to meanwhile is a failure, and stays where it was.

    Raises
    ------
    DatasetError
        When git or git-annex fails altogether.
    """
    settle_adding(repo)
    if not paths:
        return Staging()
    index = repo.state_file(_INDEX_NAME)
    drop_staging_index(repo)
    env = {"GIT_INDEX_FILE": str(index)}
    stats = side_by_side(lambda path, _: lstat_of(repo.root / path), paths)
    found = dict(zip(paths, stats, strict=True))
    before = {path: plain_stat(each) for path, each in found.items()}
    try:
        if repo.has_annex:
            note_adding(repo, before)
            added = _add(repo, found, committed or {}, annexed, env)
        else:
            added = Added(failures=_git_add(repo, paths, env))
        staged = added.entries | _read_index(repo, env)
    finally:
        drop_staging_index(repo)
    keys, failures = added.keys, added.failures
    left_out = "git-annex left it out" if repo.has_annex else "git left it out"
    failures |= {path: left_out for path in before if path not in staged and path not in failures}
    changes = {
        path: Change(path, mode, blob, keys.get(path, ""), found[path])
        for path, (mode, blob) in staged.items()
        if path in before and path not in failures
    }
    are_spoiled = side_by_side(lambda each, _: _is_written_to(repo, each), [*changes.values()])
    for path, change in itertools.compress(changes.items(), are_spoiled):
        failures[path] = CHANGED
        if change.is_locked:
            give_back(repo, change.path, change.key)
            same = [p for p, c in changes.items() if c.key == change.key and p != path]
            if same and not _hold_again(repo, change, same[0]):
                why = f"it has the content that '{path}' had, and that was overwritten"
                failures.update(dict.fromkeys(same, why))
    forget_adding(repo)
    return Staging({p: c for p, c in changes.items() if p not in failures}, failures)


def _add(
    repo: Repo,
    found: Mapping[str, os.stat_result | None],
    committed: Mapping[str, Form],
    annexed: Collection[str],
    env: dict[str, str],
) -> Added:
    """Add files to the annex or to git; what `git annex add` has added is only in the index."""
    plain = {
        path: each
        for path, each in found.items()
        if each is not None and plain_stat(each) and path not in committed and path not in annexed
    }
    added = add_at_once(repo, plain, env) if len(plain) >= FEWEST else Added()
    rest = [path for path in found if path not in added.entries and path not in added.failures]
    for options, group in _by_options(rest, committed, annexed).items():
        keys, failures = _annex_add(repo, options, group, env)
        added.keys.update(keys)
        added.failures.update(failures)
    return added


def _is_written_to(repo: Repo, change: Change) -> bool:
    """Return whether a file was written to since its stat was taken, before it was staged.

    git-annex moves the content of a locked file into its store, where a
    process that has the file open goes on writing.
    """
    before = change.file_stat
    if before is None:
        return False
    now = stat_of(repo.root / change.path, follow=change.is_locked)
    if now is None:
        return True
    if change.is_locked and now[2] != before[2]:
        return False  # the store had this content before, and this copy of it is gone
    return now[:2] != before[:2]


def _hold_again(repo: Repo, change: Change, same: str) -> bool:
    """Bring into the store what a file held before it was written to, for another that held that.

    Of files with the same content, git-annex keeps one.
    """
    copy = repo.state_file("before-writing")
    try:
        shutil.copyfile(repo.root / change.path, copy)
        os.truncate(copy, change.file_stat[0] if change.file_stat else 0)
        # compares the content with the key
        repo.run("annex", "reinject", "--quiet", "--", str(copy), same)
    except (OSError, DatasetError):
        return False
    finally:
        copy.unlink(missing_ok=True)
    return True


def drop_staging_index(repo: Repo) -> None:
    """Remove the index of a staging, and what a killed one has left of it."""
    for left in repo.state_dir.glob(f"{_INDEX_NAME}*"):
        left.unlink(missing_ok=True)


def _by_options(
    paths: Iterable[str], committed: Mapping[str, Form], annexed: Collection[str]
) -> dict[tuple[str, ...], list[str]]:
    """Return paths by the configuration with which they keep their form."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for path in paths:
        form = committed.get(path)
        options: tuple[str, ...] = ()
        if form is Form.UNLOCKED:
            options += ("-c", "annex.addunlocked=true")
        if path in annexed:
            options += ("-c", "annex.largefiles=anything")
        is_to_be_annexed = form is not None or path in annexed
        if is_to_be_annexed and any(part.startswith(".") for part in path.split("/")):
            options += ("-c", "annex.dotfiles=true")
        groups.setdefault(options, []).append(path)
    return groups


def _annex_add(
    repo: Repo, options: Sequence[str], paths: Sequence[str], env: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Add paths; return the keys of annexed ones, and why others failed.

    A file that git may not read ends the ``git hash-object`` of git-annex, and
    with it all files after it fail. Those are added again, without that one.
    """
    keys: dict[str, str] = {}
    failures: dict[str, str] = {}
    pending = list(paths)
    while pending:
        more_keys, failed = _annex_add_batch(repo, options, pending, env)
        cut_off = [path for path in pending if "resource vanished" in failed.get(path, "")]
        if cut_off and cut_off[0] == next(iter(failed)):
            del cut_off[0]
        keys.update(more_keys)
        failures.update((path, why) for path, why in failed.items() if path not in cut_off)
        pending = cut_off
    return keys, failures


def _annex_add_batch(
    repo: Repo, options: Sequence[str], paths: Sequence[str], env: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    keys: dict[str, str] = {}
    failures: dict[str, str] = {}
    said = repo.run(
        *options, *IN_ORDER, "annex", "add", "--batch", "-z", "--json", "--json-error-messages",
        "--no-check-gitignore",
        input=nul_joined(paths), env=env,
        ok_codes=(0, 1),  # 1: some paths failed, each says so
    )  # fmt: skip
    lines = said.split(b"\n")
    # one line a path, in their order; an empty one for what it does not add
    if len(lines) < len(paths):
        raise DatasetError(f"git-annex gave {len(lines)} answers for {len(paths)} files")
    for path, line in zip(paths, lines, strict=False):
        if not line.strip():
            continue
        try:
            answer = json.loads(line)
        except ValueError as exc:
            raise DatasetError(f"git-annex gave an answer that is no JSON for '{path}'") from exc
        if answer.get("input", [path]) != [path] and path.isprintable():
            raise DatasetError(f"git-annex answered about {answer['input']}, not '{path}'")
        if not answer.get("success"):
            words = "\n".join(answer.get("error-messages") or ["git-annex could not add it"])
            failures[path] = " ".join(without_call_stack(words).split())
        elif answer.get("key"):
            keys[path] = answer["key"]
    return keys, failures


def _git_add(repo: Repo, paths: Sequence[str], env: dict[str, str]) -> dict[str, str]:
    """Hash paths; return why some failed."""
    command = ("update-index", "--add", "-z", "--stdin")
    try:
        repo.run(*command, input=nul_joined(paths), env=env)
    except DatasetError:
        failures: dict[str, str] = {}
        for path in paths:  # one bad path stops them all: find it
            try:
                repo.run(*command, input=nul_joined([path]), env=env)
            except DatasetError as exc:
                failures[path] = str(exc)
        return failures
    return {}


def _read_index(repo: Repo, env: dict[str, str]) -> dict[str, tuple[str, str]]:
    if not Path(env["GIT_INDEX_FILE"]).exists():
        return {}
    told = repo.run("ls-files", "-s", "-z", env=env)
    return {path: (mode, blob) for path, mode, blob in parse_staged(told)}
