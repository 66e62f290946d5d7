"""Let git-annex know that the content of many keys is here."""

from __future__ import annotations

import os
import time
import uuid as uuids
from collections.abc import Collection, Iterable, Iterator, Mapping

from datalad_slurm.dataset.git import Repo
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
    # looked up tree by tree: for each path that is not there git itself would look for new packs
    with TreeReader(repo, _BRANCH) as branch:
        known = {key for key, path in logs.items() if branch.lookup(path) is not None}
    set_present(repo, known)
    line = f"{_clock()} 1 {uuid}\n".encode()
    _commit_logs(repo, {path: line for key, path in logs.items() if key not in known})


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
    _commit_logs(repo, contents)


def _commit_logs(repo: Repo, contents: Mapping[str, bytes]) -> None:
    """Write logs in one commit on a ref of ours, and have git-annex merge that."""
    ref = f"{repo.private_refs}{uuids.uuid4().hex}/git-annex"
    if contents:
        who = repo.run("var", "GIT_COMMITTER_IDENT").strip()
        stream = b"".join(_commit(ref, who, contents))
        repo.run("fast-import", "--quiet", "--done", input=stream)
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


def _commit(ref: str, who: bytes, contents: Mapping[str, bytes]) -> Iterator[bytes]:
    marks = {content: mark for mark, content in enumerate(dict.fromkeys(contents.values()), 1)}
    for content, mark in marks.items():
        yield b"blob\nmark :%d\ndata %d\n%s\n" % (mark, len(content), content)
    yield f"commit {ref}\nauthor ".encode() + who + b"\ncommitter " + who + b"\n"
    yield f"data 6\nupdate\nfrom {_BRANCH}^0\n".encode()
    for path, content in contents.items():
        yield f"M 100644 :{marks[content]} {path}\n".encode()
    yield b"\ndone\n"
