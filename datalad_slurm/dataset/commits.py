"""Build commits from explicit paths, without an index or a checkout."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.stage import Change
from datalad_slurm.dataset.tree import TreeReader
from datalad_slurm.jobs.claims import is_below
from datalad_slurm.jobs.errors import DatasetError

__all__ = [
    "PRIVATE_REFS",
    "NewCommit",
    "build",
    "changes_of",
    "check_identity",
    "drop_private_refs",
]

#: Where commits grow until they are published.
PRIVATE_REFS = "refs/datalad-slurm/"


@dataclass(frozen=True)
class NewCommit:
    """One commit to build: its message, and what changes against its parent."""

    message: str
    changes: tuple[Change, ...]


def check_identity(repo: Repo) -> None:
    """Make sure that git knows whom to name as the author.

    Raises
    ------
    DatasetError
        With git's own advice when it does not.
    """
    repo.run("var", "GIT_COMMITTER_IDENT")


def build(repo: Repo, name: str, base: str, commits: Sequence[NewCommit]) -> list[str]:
    """Build a chain of commits under a private ref, and check each of them.

    Parameters
    ----------
    repo : Repo
        The repository.
    name : str
        Last part of the private ref's name; must be new.
    base : str
        Commit to build on, empty in a repository that has none.
    commits : sequence of NewCommit
        What to build, oldest first.

    Returns
    -------
    list of str
        The ids of the new commits, in the same order.

    Raises
    ------
    DatasetError
        When git fails, or when a commit does not hold exactly what it should.

    Notes
    -----
    ``git fast-import`` runs no hooks and signs nothing.
    """
    ref = PRIVATE_REFS + name
    marks = repo.state_file(f"{name}.marks")
    identity = {
        role: repo.run("var", f"GIT_{role.upper()}_IDENT").strip()
        for role in ("author", "committer")
    }
    stream = b"".join(_stream(ref, base, commits, identity))
    try:
        repo.run("fast-import", "--quiet", "--done", f"--export-marks={marks}", input=stream)
        by_mark = dict(line.split() for line in marks.read_text().splitlines())
    finally:
        marks.unlink(missing_ok=True)
    ids = [by_mark[f":{number}"] for number in range(1, len(commits) + 1)]
    _verify(repo, dict(zip(ids, commits, strict=True)))
    return ids


def _stream(
    ref: str, base: str, commits: Sequence[NewCommit], identity: dict[str, bytes]
) -> Iterable[bytes]:
    for number, commit in enumerate(commits, start=1):
        message = commit.message.encode(errors="surrogateescape")
        yield f"commit {ref}\nmark :{number}\n".encode()
        for role, who in identity.items():
            yield role.encode() + b" " + who + b"\n"
        yield f"data {len(message)}\n".encode() + message + b"\n"
        if number == 1 and base:
            yield f"from {base}\n".encode()
        for change in sorted(commit.changes, key=lambda change: not change.is_deletion):
            quoted = _quoted(change.path)
            if change.is_deletion:
                yield b"D " + quoted + b"\n"
            else:
                yield f"M {change.mode} {change.blob} ".encode() + quoted + b"\n"
        yield b"\n"
    yield b"done\n"


def _quoted(path: str) -> bytes:
    """Return a path as fast-import reads it (git-fast-import(1), "<path>")."""
    raw = os.fsencode(path).replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return b'"' + raw + b'"'


def changes_of(repo: Repo, commits: Iterable[str]) -> dict[str, dict[str, tuple[str, str]]]:
    """Return for each commit the paths it changes, with the mode and blob they get.

    Both are empty for what is deleted. Of a merge nothing is told.
    """
    commits = list(commits)
    listed = repo.run(
        "diff-tree", "--stdin", "-r", "-z", "--root", "--no-renames",
        input="".join(f"{commit}\n" for commit in commits).encode(),
    )  # fmt: skip
    seen: dict[str, dict[str, tuple[str, str]]] = {commit: {} for commit in commits}
    current = ""
    fields = iter(listed.split(b"\0"))
    for field in fields:
        if not field:
            continue
        if not field.startswith(b":"):
            current = field.decode().strip()
            continue
        _, mode, _, blob, status = field.decode().split(" ")
        path = os.fsdecode(next(fields))
        seen[current][path] = ("", "") if status == "D" else (mode, blob)
    return seen


def _verify(repo: Repo, commits: dict[str, NewCommit]) -> None:
    seen = changes_of(repo, commits)
    for commit, planned in commits.items():
        _verify_one(repo, commit, planned, seen[commit])


def _verify_one(
    repo: Repo, commit: str, planned: NewCommit, seen: dict[str, tuple[str, str]]
) -> None:
    wanted = {change.path: (change.mode, change.blob) for change in planned.changes}
    for path, found in seen.items():
        # a file that became a directory, or the reverse, takes what was there with it
        replaced = not found[0] and any(is_below(path, p) or is_below(p, path) for p in wanted)
        if found != wanted.get(path) and not replaced:
            raise DatasetError(f"the commit built for '{path}' does not hold what was staged")
    unchanged = [path for path in wanted if path not in seen]
    if not unchanged:
        return
    with TreeReader(repo, commit) as tree:
        for path in unchanged:
            if (tree.lookup(path) or ("", "")) != wanted[path]:
                raise DatasetError(f"the commit built for '{path}' does not hold what was staged")


def drop_private_refs(repo: Repo) -> None:
    """Drop what builds have left; only for the one process that may build."""
    for marks in repo.state_dir.glob("*.marks"):
        marks.unlink(missing_ok=True)
    listed = os.fsdecode(repo.run("for-each-ref", "--format=%(refname)", PRIVATE_REFS))
    if refs := listed.split():
        repo.run("update-ref", "--stdin", input="".join(f"delete {ref}\n" for ref in refs).encode())
