"""Build commits from explicit paths, without an index or a checkout."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datalad_slurm.dataset.diff import changes_of_commits
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.stage import Change
from datalad_slurm.dataset.tree import TreeReader
from datalad_slurm.jobs.claims import is_below
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["NewCommit", "build", "check_identity", "drop_private_refs"]


@dataclass(frozen=True)
class NewCommit:
    """One commit to build: its message, and what changes against its first parent."""

    message: str
    changes: tuple[Change, ...]
    #: ids, or positions of commits that are built before this one; when not given, the one
    #: before, or the base for the first
    parents: tuple[str | int, ...] | None = None


def check_identity(repo: Repo) -> None:
    """Make sure that git knows whom to name as the author.

    Raises
    ------
    DatasetError
        With git's own advice when it does not.
    """
    repo.run("var", "GIT_COMMITTER_IDENT")


def build(repo: Repo, name: str, base: str, commits: Sequence[NewCommit]) -> list[str]:
    """Build commits under private refs, and check each of them.

    Parameters
    ----------
    repo : Repo
        The repository.
    name : str
        Last part of the private ref's name; must be new.
    base : str
        Commit to build the first one on, empty in a repository that has none.
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
    ref = repo.private_refs + name
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
    _verify(repo, dict(zip(ids, commits, strict=True)), ids)
    return ids


def _stream(
    ref: str, base: str, commits: Sequence[NewCommit], identity: dict[str, bytes]
) -> Iterable[bytes]:
    for number, commit in enumerate(commits, start=1):
        message = commit.message.encode(errors="surrogateescape")
        # one that does not follow the one before it needs a ref of its own
        own_ref = ref if commit.parents is None else f"{ref}-{number}"
        yield f"commit {own_ref}\nmark :{number}\n".encode()
        for role, who in identity.items():
            yield role.encode() + b" " + who + b"\n"
        yield f"data {len(message)}\n".encode() + message + b"\n"
        parents = commit.parents
        if parents is None:
            parents = (base,) if number == 1 and base else ()
        for word, parent in zip(("from", *["merge"] * len(parents)), parents, strict=False):
            name = parent if isinstance(parent, str) else f":{parent + 1}"
            yield f"{word} {name}\n".encode()
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


def _verify(repo: Repo, commits: dict[str, NewCommit], ids: Sequence[str]) -> None:
    merges = {
        commit: ids[first] if isinstance(first := planned.parents[0], int) else first
        for commit, planned in commits.items()
        if planned.parents and len(planned.parents) > 1
    }
    seen = changes_of_commits(repo, commits, merges)
    for commit, planned in commits.items():
        _verify_one(repo, commit, planned, {each.path: each.new for each in seen[commit]})


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
    listed = os.fsdecode(repo.run("for-each-ref", "--format=%(refname)", repo.private_refs))
    if refs := listed.split():
        repo.run("update-ref", "--stdin", input="".join(f"delete {ref}\n" for ref in refs).encode())
