"""The index knows the times of what was committed, in whichever form git keeps it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.index_times import note_times

NAMES = ("a", "d/b c", os.fsdecode(b"d/\xff"), "z" * 200, "deep/" * 200 + "x", "link", "run.sh")


def git(path: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", path, *args], check=True, capture_output=True)
    return os.fsdecode(done.stdout)


def repository(path: Path, object_format: str) -> Repo:
    """Return one with files of each kind, whose times the index does not know."""
    path.mkdir()
    git(path, "init", "--quiet", f"--object-format={object_format}")
    for name in NAMES:
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if name == "link":
            file.symlink_to("a")
        else:
            file.write_bytes(os.fsencode(f"this is {name}"))
    (path / "run.sh").chmod(0o755)
    git(path, "add", ".")
    return Repo(path)


def staged(repo: Repo) -> dict[bytes, tuple[bytes, os.stat_result]]:
    lines = git(repo.root, "ls-files", "-s", "-z").split("\0")[:-1]
    files = {}
    for line in lines:
        meta, _, path = line.partition("\t")
        oid = bytes.fromhex(meta.split()[1])
        files[os.fsencode(path)] = (oid, (repo.root / path).lstat())
    return files


def forget_times(repo: Repo) -> None:
    listed = git(repo.root, "ls-files", "-s", "-z")
    git(repo.root, "rm", "-r", "-q", "--cached", ".")
    subprocess.run(
        ["git", "-C", repo.root, "update-index", "-z", "--index-info"],
        input=os.fsencode(listed), check=True,
    )  # fmt: skip


def differing(repo: Repo) -> list[str]:
    """Return what git would have to read to tell whether it has changed."""
    return git(repo.root, "diff-files", "--name-only", "-z").split("\0")[:-1]


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
@pytest.mark.parametrize("version", [2, 3])
def test_git_needs_not_read_a_file_again(tmp_path, object_format, version):
    repo = repository(tmp_path / "repo", object_format)
    forget_times(repo)
    if version == 3:  # git writes it where an entry has such a flag
        (repo.root / "hidden").touch()
        git(repo.root, "add", "--intent-to-add", "hidden")
    files = {path: each for path, each in staged(repo).items() if path != b"hidden"}
    index = repo.root / ".git/index"
    before = index.stat().st_mtime_ns
    assert index.read_bytes()[4:8] == bytes([0, 0, 0, version])
    assert len(differing(repo)) >= len(NAMES)
    assert note_times(index, object_format, files)
    assert index.stat().st_mtime_ns == before
    assert differing(repo) == ["hidden"] * (version == 3)
    assert git(repo.root, "fsck", "--no-progress") == ""
    git(repo.root, "rm", "--cached", "--quiet", "a")  # checks the checksum
    assert "a" not in git(repo.root, "ls-files").split()


@pytest.mark.parametrize("form", ["--index-version=4", "--split-index"])
def test_an_index_of_another_form_is_left_as_it_is(tmp_path, form):
    repo = repository(tmp_path / "repo", "sha1")
    git(repo.root, "update-index", *form.split("="))
    index = repo.root / ".git/index"
    before = index.read_bytes()
    assert not note_times(index, "sha1", staged(repo))
    assert index.read_bytes() == before


def test_a_file_of_which_the_index_holds_something_else_is_left(tmp_path):
    repo = repository(tmp_path / "repo", "sha1")
    files = staged(repo)
    (oid, found) = files[b"a"]
    index = repo.root / ".git/index"
    before = index.read_bytes()
    assert not note_times(index, "sha1", {b"a": (bytes(reversed(oid)), found)})
    assert not note_times(index, "sha1", {b"": (oid, found), b"nothing": (oid, found)})
    assert index.read_bytes() == before
    assert note_times(index, "sha1", {b"a": (oid, found)})
