"""Staging files: the same objects that `git annex add` would commit, and nothing else touched."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from datalad_slurm.dataset.commits import NewCommit
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.stage import stage
from tests.dataset.test_commits import publish


@pytest.fixture
def repo(box) -> Repo:
    return Repo(box.path)


def write(box, **files: str) -> list[str]:
    for name, content in files.items():
        path = box.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return list(files)


def plain_annex_add(box, paths) -> dict[str, tuple[str, str]]:
    """Return what the ordinary way stages, by path: mode and blob."""
    box.git("annex", "add", "--quiet", "--no-check-gitignore", "--", *paths)
    listed = box.git("ls-files", "-s", "-z", "--", *paths)
    entries = (entry.partition("\t") for entry in listed.split("\0") if entry)
    return {path: tuple(meta.split(" ")[:2]) for meta, _, path in entries}


@pytest.mark.parametrize("addunlocked", ["false", "true"])
def test_it_stages_what_git_annex_add_stages(box, repo, tmp_path, addunlocked):
    twin = type(box)(tmp_path / "twin")
    subprocess.run(["cp", "-a", box.path, twin.path], check=True)
    staged = {}
    for each in (box, twin):
        each.git("config", "annex.addunlocked", addunlocked)
        with (each.path / ".gitattributes").open("a") as attributes:
            attributes.write(
                "*.txt annex.largefiles=nothing\n*.big annex.largefiles=largerthan=3\n"
            )
        write(
            each, **{"a.txt": "text", "b": "annexed", "c.big": "12", "d.big": "1234", ".dot": "x"}
        )
        (each.path / "b").chmod(0o755)
        (each.path / "a.txt").chmod(0o755)
        (each.path / "link").symlink_to("b")
        (each.path / "outside").symlink_to("/etc/hostname")
    paths = ["a.txt", "b", "c.big", "d.big", ".dot", "link", "outside"]
    done = stage(repo, paths)
    staged = {path: (change.mode, change.blob) for path, change in done.changes.items()}
    assert staged == plain_annex_add(twin, paths)
    assert done.failures == {}


def test_the_users_index_is_not_touched(box, repo):
    write(box, mine="mine", theirs="theirs")
    box.git("annex", "add", "--quiet", "mine")
    index = (box.path / ".git/index").read_bytes()
    stage(repo, ["theirs"])
    assert (box.path / ".git/index").read_bytes() == index
    assert not list(repo.state_dir.glob("staging*"))


def test_git_annex_still_knows_its_unlocked_files_afterwards(box, repo):
    write(box, one="same content", two="other")
    box.git("annex", "add", "--quiet", "one", "two")
    box.git("commit", "-qm", "two files")
    box.git("annex", "unlock", "--quiet", "one")
    box.git("commit", "-qam", "unlock")
    write(box, three="same content")
    stage(repo, ["three"])
    key = box.git("annex", "lookupkey", "one")
    assert box.git("annex", "find", "--unlocked") == "one"
    assert box.git("annex", "whereused", f"--key={key}").split() == [key, "./one"]
    assert box.git("annex", "fsck", "--quiet") == ""


def test_paths_that_cannot_be_added_are_told_and_others_are_not_held_up(box, repo):
    write(box, good="good")
    os.mkfifo(box.path / "pipe")
    done = stage(repo, ["gone", "good", "pipe"])
    assert set(done.changes) == {"good"}
    assert set(done.failures) == {"gone", "pipe"}


def test_a_repository_without_annex_is_hashed_by_git(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "a").write_text("a")
    done = stage(Repo(tmp_path), ["a", "gone"])
    assert done.changes["a"].mode == "100644"
    assert not done.changes["a"].key
    assert set(done.failures) == {"gone"}


def test_nothing_to_stage_starts_nothing(repo, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert stage(repo, []).changes == {}


def test_odd_names_are_staged(box, repo):
    names = [
        "a b",
        "new\nline",
        'quo"te',
        "-dash",
        "tab\t",
        "ü",
        os.fsdecode(b"\xff"),
        "*",
        ":(top)x",
    ]
    write(box, **dict.fromkeys(names, "x"))
    done = stage(repo, names)
    assert set(done.changes) == set(names)
    assert done.failures == {}
    assert all(Path(box.path / name).is_symlink() for name in names)


@pytest.mark.parametrize("form", ["locked", "unlocked", "git"])
def test_a_file_that_is_written_to_while_it_is_added_stays_out(box, repo, monkeypatch, form):
    if form == "unlocked":
        box.git("config", "annex.addunlocked", "true")
    if form == "git":
        (box.path / ".gitattributes").write_text("* annex.largefiles=nothing\n")
    files = {"out/a": "first half, ", "out/b": "whole"}
    (box.path / "out").mkdir()
    for name, content in files.items():
        (box.path / name).write_text(content)
    run = Repo.run
    with (box.path / "out/a").open("a") as writer:

        def run_while_somebody_writes(self, *args, **kwargs):
            said = run(self, *args, **kwargs)
            if "add" in args:
                writer.write("second half")
                writer.flush()
            return said

        monkeypatch.setattr(Repo, "run", run_while_somebody_writes)
        done = stage(repo, list(files))
    assert list(done.failures) == ["out/a"]
    assert "another process may still write to it" in done.failures["out/a"]
    assert list(done.changes) == ["out/b"]
    assert (box.path / "out/a").read_text() == "first half, second half"
    assert not (box.path / "out/a").is_symlink()
    monkeypatch.undo()
    done = stage(repo, list(files))
    assert not done.failures
    publish(repo, [NewCommit("m\n", tuple(done.changes.values()))])
    assert box.git("annex", "fsck", "--quiet") == ""
    assert box.status() in ("", "?? .gitattributes", " M .gitattributes")


def test_a_file_of_the_same_content_as_one_that_is_written_to_is_not_lost(box, repo, monkeypatch):
    for name in ("a", "b"):
        (box.path / name).write_text("the same")
    run = Repo.run
    with (box.path / "a").open("a") as writer:

        def run_while_somebody_writes(self, *args, **kwargs):
            said = run(self, *args, **kwargs)
            if "add" in args:
                writer.write(", and more")
                writer.flush()
            return said

        monkeypatch.setattr(Repo, "run", run_while_somebody_writes)
        done = stage(repo, ["a", "b"])
    assert set(done.failures) == {"a"}
    assert set(done.changes) == {"b"}
    assert (box.path / "a").read_text() == "the same, and more"
    assert (box.path / "b").read_text() == "the same"
