"""Let git-annex know that the content of many keys is here."""

from __future__ import annotations

import os
import time
import uuid as uuids
from collections.abc import Collection, Iterable, Mapping

from datalad_slurm.dataset.commit_objects import Roots, identity, write_commit
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.identity import object_format
from datalad_slurm.dataset.objects import ObjectReader
from datalad_slurm.dataset.packfile import Packfile
from datalad_slurm.dataset.tree import TreeReader
from datalad_slurm.jobs.errors import DatasetError

__all__ = [
    "add_to_logs",
    "bring_up_to_date",
    "note_presence",
    "read_common_settings",
    "set_present",
]

_BRANCH = "refs/heads/git-annex"


def bring_up_to_date(repo: Repo) -> None:
    """Let git-annex merge into its branch what it has, and commit its journal.

    It does so when it reads the branch: all refs whose name ends in ``git-annex`` are
    merged, line by line (git-annex, "internals", and Annex.Branch, updateTo).
    """
    repo.run("annex", "config", "--get", "annex.addunlocked", ok_codes=(0, 1))


def read_common_settings(repo: Repo) -> frozenset[str]:
    """Return the names of what ``git annex config`` has set, or once had, for all clones."""
    listed = repo.ask("ls-tree", "--name-only", _BRANCH, "config.log")
    if not listed:
        return frozenset()
    lines = repo.run("cat-file", "blob", f"{_BRANCH}:config.log").decode(errors="replace")
    words = (line.split(" ") for line in lines.splitlines())
    return frozenset(fields[1] for fields in words if len(fields) > 1)


def note_presence(repo: Repo, logs: Mapping[str, str]) -> None:
    """Note that content is here, in the location logs on git-annex's branch.

    Logs that are new come there as one commit on a ref of ours, which git-annex then
    merges as if it had been fetched. To those that there are git-annex adds itself.

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
        branch = _Branch(repo, reader)
        known = {key for key, path in logs.items() if branch.holds(path)}
        set_present(repo, known)
        line = f"{_clock()} 1 {uuid}\n".encode()
        _commit_logs(branch, {path: line for key, path in logs.items() if key not in known})


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
    bring_up_to_date(repo)
    clock = _clock()
    contents: dict[str, bytes] = {}
    with TreeReader(repo, _BRANCH) as branch:
        for path, texts in entries.items():
            found = branch.lookup(path)
            before = branch.content(found[1]) if found else b""
            lines = "".join(f"{clock} 1 {text}\n" for text in texts)
            contents[path] = before + os.fsencode(lines)
    with ObjectReader(repo) as reader:
        _commit_logs(_Branch(repo, reader), contents)


class _Branch:
    """git-annex's branch as it is now, to grow by one commit.

    Parameters
    ----------
    repo : Repo
        The repository.
    reader : ObjectReader
        Reads what it has.
    """

    def __init__(self, repo: Repo, reader: ObjectReader) -> None:
        self.repo = repo
        self._tip = os.fsdecode(repo.run("rev-parse", "--verify", f"{_BRANCH}^0")).strip()
        self._pack = Packfile(object_format(repo))
        roots = Roots(reader, self._pack.id_size, [(self._tip,)])
        self._root = roots.grown_from((self._tip,), ())

    def holds(self, path: str) -> bool:
        """Return whether there is a log at a path."""
        return self._root.holds(os.fsencode(path).split(b"/"))

    def grow(self, ref: str, logs: Mapping[str, bytes]) -> None:
        """Make a commit that holds logs, too, and let a ref lead to it."""
        for path, content in logs.items():
            blob = self._pack.identify("blob", [content])
            self._pack.write("blob", blob, content)
            self._root.put(os.fsencode(path).split(b"/"), b"100644", blob)
        commit = write_commit(self._pack, self._root, [self._tip], identity(self.repo), "update")
        with self._pack.handed_over(self.repo):
            self.repo.run("update-ref", ref, commit)


def _commit_logs(branch: _Branch, contents: Mapping[str, bytes]) -> None:
    """Write logs in one commit on a ref of ours, and have git-annex merge that."""
    repo = branch.repo
    ref = f"{repo.private_refs}{uuids.uuid4().hex}/git-annex"
    if contents:
        branch.grow(ref, contents)
    bring_up_to_date(repo)
    if contents:
        if repo.run("rev-list", "--max-count=1", ref, f"^{_BRANCH}").strip():
            raise DatasetError(
                f"git-annex has not merged {ref} into its branch, so that does not know where "
                "the content of new files is; `git annex merge` says why"
            )
        repo.run("update-ref", "-d", ref)


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


def _clock() -> str:
    """Return the time as git-annex writes it in its logs: seconds since the epoch."""
    now = time.time_ns()
    return f"{now // 10**9}.{now % 10**9:09d}s"
