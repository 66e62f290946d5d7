"""Let git-annex know that the content of many keys is here."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping

from datalad_slurm.dataset.annex_branch import BRANCH, AnnexBranch, bring_up_to_date
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.objects import ObjectReader
from datalad_slurm.dataset.tree import TreeReader

__all__ = ["add_to_logs", "note_presence", "read_common_settings", "set_present"]


def read_common_settings(repo: Repo) -> frozenset[str]:
    """Return the names of what ``git annex config`` has set, or once had, for all clones."""
    bring_up_to_date(repo)
    listed = repo.ask("ls-tree", "--name-only", BRANCH, "config.log")
    if not listed:
        return frozenset()
    lines = repo.run("cat-file", "blob", f"{BRANCH}:config.log").decode(errors="replace")
    words = (line.split(" ") for line in lines.splitlines())
    return frozenset(fields[1] for fields in words if len(fields) > 1)


def note_presence(repo: Repo, logs: Mapping[str, str]) -> None:
    """Note that content is here, in the location logs on git-annex's branch.

    Logs that are new come there as one commit. To those that there are git-annex adds itself.

    Parameters
    ----------
    repo : Repo
        The repository.
    logs : mapping
        Path of the location log of each key, in that branch.

    Raises
    ------
    DatasetError
        When git or git-annex fails.
    """
    uuid = repo.ask("config", "annex.uuid")
    if not logs or not uuid:
        return
    with ObjectReader(repo) as reader:
        branch = AnnexBranch(repo, reader)
        held = branch.held(logs.values())
        line = f"{_clock()} 1 {uuid}\n".encode()
        branch.grow({path: line for path in logs.values() if path not in held})
    set_present(repo, [key for key, path in logs.items() if path in held])


def add_to_logs(repo: Repo, entries: Mapping[str, Iterable[str]]) -> None:
    """Note that something holds from now on, each in a log on git-annex's branch.

    Parameters
    ----------
    repo : Repo
        The repository.
    entries : mapping
        What holds, such as the UUIDs of repositories that have the content, by the path
        of the log in that branch.

    Raises
    ------
    DatasetError
        When git or git-annex fails.
    """
    clock = _clock()
    contents: dict[str, bytes] = {}
    with ObjectReader(repo) as reader:
        branch = AnnexBranch(repo, reader)
        with TreeReader(repo, branch.tip) as tree:
            for path, texts in entries.items():
                found = tree.lookup(path)
                before = tree.content(found[1]) if found else b""
                lines = "".join(f"{clock} 1 {text}\n" for text in texts)
                contents[path] = before + os.fsencode(lines)
        branch.grow(contents)


def set_present(repo: Repo, keys: Collection[str]) -> None:
    """Have git-annex note that content is here, each in the location log of its key.

    Raises
    ------
    DatasetError
        When git-annex fails.
    """
    if not keys:
        return
    uuid = repo.ask("config", "annex.uuid")
    if uuid:
        lines = "\n".join(f"{key} {uuid} 1" for key in keys)
        repo.run("annex", "setpresentkey", "--batch", input=lines.encode())
        bring_up_to_date(repo)  # it leaves the logs in its journal


def _clock() -> str:
    """Return the time as git-annex writes it in its logs: seconds since the epoch."""
    now = time.time_ns()
    return f"{now // 10**9}.{now % 10**9:09d}s"
