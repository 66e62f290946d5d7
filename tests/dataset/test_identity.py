"""Identities of files: what git and git-annex say of them, and that nothing is touched."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from datalad_slurm.dataset import identity
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.identity import READ_UP_TO, identify, is_still
from datalad_slurm.dataset.inputs import expand

ODD_NAMES = ["a b", "new\nline", 'quo"te', "-dash", "tab\t", "ü", "\udcff", "*", ":(top)x", "1:x"]


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch):
    monkeypatch.setattr(identity, "_known", {})


@pytest.fixture
def repo(box) -> Repo:
    return Repo(box.path)


def of(repo, path):
    return identify(repo, [path])[path]


def write(box, content="content", *names):
    for name in names:
        path = box.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def annexed(box, *names, content="content"):
    write(box, content, *names)
    box.git("annex", "add", "--quiet", "--", *names)
    box.git("commit", "-qm", "annexed")
    return box.git("annex", "lookupkey", names[0])


def unlocked(box, name, content="content"):
    key = annexed(box, name, content=content)
    box.git("annex", "unlock", "--quiet", name)
    box.git("commit", "-qm", "unlocked")
    return key


def in_git(box, name, content="content\n"):
    write(box, content, name)
    box.git("-c", "annex.largefiles=nothing", "add", name)
    box.git("commit", "-qm", "in git")
    return box.git("rev-parse", f"HEAD:{name}")


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Return a function that tells which programs git has started since the last call."""
    log = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE", str(log))

    def started():
        text = log.read_text() if log.exists() else ""
        log.unlink(missing_ok=True)
        return text

    return started


def test_a_locked_file_is_its_key_and_no_program_is_needed(box, repo, monkeypatch):
    key = annexed(box, "dir/a.dat", "b.dat")
    box.git("annex", "drop", "--force", "--quiet", "b.dat")
    monkeypatch.setenv("PATH", "")
    assert identify(repo, ["dir/a.dat", "b.dat"]) == {
        "dir/a.dat": {"key": key},
        "b.dat": {"key": key},
    }


def test_keys_with_characters_that_file_names_cannot_have_are_read_as_git_annex_does(box, repo):
    for number, key in enumerate(["URL--http&c%%x.org%a&b:c", "WORM-s1-m2--a%&s/b&c"]):
        box.git("annex", "fromkey", "--force", "--quiet", key, f"f{number}")
        assert of(repo, f"f{number}") == {"key": box.git("annex", "lookupkey", f"f{number}")}


@pytest.mark.parametrize("thin", ["true", "false"])
def test_an_unlocked_file_is_its_key_without_being_read_by_git_annex(box, repo, programs, thin):
    box.git("config", "annex.thin", thin)
    key = unlocked(box, "a.dat")
    programs()
    assert of(repo, "a.dat") == {"key": key}
    trace = programs()
    assert "ls-files" in trace
    assert "annex" not in trace


def test_a_large_unlocked_file_is_not_read(box, repo, monkeypatch):
    key = unlocked(box, "a.dat", "x" * (READ_UP_TO + 1))
    read_bytes = Path.read_bytes
    read = []
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or read_bytes(path))
    assert of(repo, "a.dat") == {"key": key}
    assert "a.dat" not in read


def test_an_unlocked_file_that_was_only_touched_has_its_key(box, repo):
    key = unlocked(box, "a.dat")
    os.utime(box.path / "a.dat", (1, 1))
    assert of(repo, "a.dat") == {"key": key}


def test_an_unlocked_file_that_was_changed_has_the_key_git_annex_would_give(box, repo):
    unlocked(box, "a.dat")
    time.sleep(1.1)  # git-annex itself does not see what changes in the same second
    write(box, "CONTENT", "a.dat")
    key = of(repo, "a.dat")["key"]
    box.git("annex", "add", "--quiet", "a.dat")
    assert key == box.git("annex", "lookupkey", "a.dat")


def test_a_large_unlocked_file_that_was_changed_is_its_size_and_time(box, repo):
    unlocked(box, "a.dat", "x" * (READ_UP_TO + 1))
    os.utime(box.path / "a.dat", (1, 1))
    assert of(repo, "a.dat") == {"size": READ_UP_TO + 1, "mtime_ns": 10**9}


def test_the_same_size_and_time_do_not_hide_that_an_unlocked_file_has_changed(box, repo):
    key = unlocked(box, "a.dat")
    before = (box.path / "a.dat").stat()
    write(box, "CONTENT", "a.dat")
    os.utime(box.path / "a.dat", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert of(repo, "a.dat")["key"] != key


def test_an_unlocked_file_whose_content_is_elsewhere_is_its_key(box, repo):
    key = unlocked(box, "a.dat")
    box.git("annex", "drop", "--force", "--quiet", "a.dat")
    assert (box.path / "a.dat").read_bytes().startswith(b"/annex/objects/")
    assert of(repo, "a.dat") == {"key": key}


def test_on_an_adjusted_branch_files_are_their_keys(box, repo):
    key = annexed(box, "a.dat")
    box.git("annex", "adjust", "--unlock", "--quiet")
    assert not (box.path / "a.dat").is_symlink()
    assert of(repo, "a.dat") == {"key": key}


def test_a_file_in_git_is_its_blob_as_it_is_now(box, repo):
    blob = in_git(box, "a.txt")
    assert of(repo, "a.txt") == {"blob": blob}
    write(box, "other\n", "a.txt")
    expected = box.git("hash-object", "--no-filters", "a.txt")
    assert of(repo, "a.txt") == {"blob": expected}
    os.utime(box.path / "a.txt", (1, 1))
    assert of(repo, "a.txt") == {"blob": expected}


def test_a_large_file_in_git_is_the_blob_that_git_knows(box, repo):
    content = "x" * (READ_UP_TO + 1)
    blob = in_git(box, "a.txt", content)
    assert of(repo, "a.txt") == {"blob": blob}
    os.utime(box.path / "a.txt", (1, 1))
    now = of(repo, "a.txt")
    assert now == {"size": len(content), "mtime_ns": 10**9}
    assert is_still(repo, "a.txt", {"blob": blob}) is True
    write(box, "y" * len(content), "a.txt")
    assert is_still(repo, "a.txt", {"blob": blob}) is False


def test_line_ends_are_not_converted(box, repo):
    box.git("config", "core.autocrlf", "true")
    write(box, "", "a.txt")
    (box.path / "a.txt").write_bytes(b"one\r\ntwo\r\n")
    box.git("-c", "annex.largefiles=nothing", "add", "a.txt")
    assert of(repo, "a.txt") == {"blob": box.git("hash-object", "--no-filters", "a.txt")}
    assert of(repo, "a.txt")["blob"] != box.git("rev-parse", ":a.txt")


def test_an_untracked_file_is_its_blob_or_if_large_its_size_and_time(box, repo):
    write(box, "x", "small")
    write(box, "x" * (READ_UP_TO + 1), "large")
    found = (box.path / "large").stat()
    assert identify(repo, ["small", "large"]) == {
        "small": {"blob": box.git("hash-object", "--no-filters", "small")},
        "large": {"size": found.st_size, "mtime_ns": found.st_mtime_ns},
    }


def test_a_sha256_repository_without_annex(tmp_path):
    subprocess.run(["git", "init", "-q", "--object-format=sha256", tmp_path], check=True)
    (tmp_path / "a").write_text("a")
    asked = ["git", "-C", tmp_path, "hash-object", "a"]
    blob = subprocess.check_output(asked, text=True).strip()
    assert of(Repo(tmp_path), "a") == {"blob": blob}
    assert len(blob) == 64


def test_many_unlocked_files_are_asked_for_by_directory(box, repo, monkeypatch):
    monkeypatch.setattr("datalad_slurm.dataset.indexed._MOST_PATHSPECS", 1)
    keys = {name: unlocked(box, name, name) for name in ("a.dat", "d/b.dat", "d/e/c.dat")}
    assert identify(repo, keys) == {name: {"key": key} for name, key in keys.items()}


def test_odd_names(box, repo):
    write(box, "x", *ODD_NAMES)
    plain = identify(repo, ODD_NAMES)
    assert {frozenset(found) for found in plain.values()} == {frozenset(["blob"])}
    box.git("annex", "add", "--quiet", "--", *ODD_NAMES)
    box.git("commit", "-qm", "annexed")
    locked = identify(repo, ODD_NAMES)
    assert {frozenset(found) for found in locked.values()} == {frozenset(["key"])}
    box.git("annex", "unlock", "--quiet", "--", *ODD_NAMES)
    found = identify(repo, ODD_NAMES)
    assert {name for name in ODD_NAMES if found[name] != locked[name]} == {"new\nline"}
    assert found["new\nline"] == plain["new\nline"]


def test_what_is_no_file_is_named(box, repo, tmp_path):
    os.mkfifo(box.path / "pipe")
    (box.path / "dir").mkdir()
    outside = tmp_path / "outside"
    outside.write_text("12")
    (box.path / "to-outside").symlink_to(outside)
    (box.path / "to-dir").symlink_to(tmp_path)
    (box.path / "dangling").symlink_to("nowhere")
    by_stat = {"size": 2, "mtime_ns": outside.stat().st_mtime_ns}
    names = ["pipe", "dir", "no", "pipe/x", "to-outside", str(outside), "to-dir", "dangling"]
    assert list(identify(repo, names).values()) == [
        {"special": True},
        {"directory": True},
        {"missing": True},
        {"missing": True},
        {"link": str(outside), **by_stat},
        by_stat,
        {"link": str(tmp_path)},
        {"link": "nowhere", "missing": True},
    ]


def test_a_link_to_a_file_of_the_dataset_is_what_it_leads_to(box, repo):
    key, blob = annexed(box, "v1.dat"), in_git(box, "v1.txt")
    (box.path / "latest.dat").symlink_to("v1.dat")
    (box.path / "latest.txt").symlink_to("v1.txt")
    assert of(repo, "latest.dat") == {"link": "v1.dat", "key": key}
    assert of(repo, "latest.txt") == {"link": "v1.txt", "blob": blob}


def test_a_subdataset_is_its_commit_and_its_files_are_looked_up_in_it(box, repo):
    box.cli("create", "-d", ".", "sub")
    sub = type(box)(box.path / "sub")
    key = unlocked(sub, "a.dat")
    blob = in_git(sub, "a.txt")
    assert identify(repo, ["sub", "sub/a.dat", "sub/a.txt"]) == {
        "sub": {"commit": sub.git("rev-parse", "HEAD")},
        "sub/a.dat": {"key": key},
        "sub/a.txt": {"blob": blob},
    }


def test_a_broken_repository_below_stops_nothing(box, repo):
    write(box, "x", "sub/a", "b")
    (box.path / "sub/.git").write_text("gitdir: /nowhere\n")
    found = identify(repo, ["sub", "sub/a", "b"])
    assert found["sub"] == {"unreadable": True}
    assert set(found["sub/a"]) == set(found["b"]) == {"blob"}


def test_neither_the_index_nor_the_working_tree_is_touched(box, repo):
    unlocked(box, "a.dat")
    write(box, "other", "a.dat", "untracked")
    before = (box.path / ".git/index").read_bytes(), sorted((box.path / ".git/annex").rglob("*"))
    identify(repo, ["a.dat", "untracked"])
    after = (box.path / ".git/index").read_bytes(), sorted((box.path / ".git/annex").rglob("*"))
    assert before == after


def test_a_file_that_was_seen_is_not_looked_into_again_until_it_changes(box, repo, monkeypatch):
    in_git(box, "a.txt")
    monkeypatch.setattr(identity, "_SETTLED", 0)
    first = of(repo, "a.txt")
    with monkeypatch.context() as without:
        without.setenv("PATH", "")
        assert of(repo, "a.txt") == first
    write(box, "CONTENT\n", "a.txt")
    assert of(repo, "a.txt") != first


def test_a_file_that_has_just_changed_is_looked_into_again(box, repo):
    write(box, "one", "a")
    first = of(repo, "a")
    assert not identity._known
    write(box, "two", "a")
    assert of(repo, "a") != first


@pytest.mark.parametrize("content", ["same", "none"])
def test_content_is_recognised_however_it_is_held(box, repo, content):
    write(box, "content", "a.dat")
    blob = of(repo, "a.dat")
    key = {"key": annexed(box, "a.dat")}
    assert is_still(repo, "a.dat", blob) is True
    if content == "none":
        box.git("annex", "drop", "--force", "--quiet", "a.dat")
        assert is_still(repo, "a.dat", blob) is None
        return
    box.git("annex", "unannex", "--quiet", "a.dat")
    assert of(repo, "a.dat") == blob
    assert is_still(repo, "a.dat", key) is True
    write(box, "CONTENT", "a.dat")
    assert is_still(repo, "a.dat", key) is False
    assert is_still(repo, "a.dat", blob) is False


def test_a_large_file_that_is_annexed_meanwhile_keeps_its_size_and_time(box, repo):
    write(box, "x" * (READ_UP_TO + 1), "a.dat")
    before = of(repo, "a.dat")
    box.git("annex", "add", "--quiet", "a.dat")
    assert is_still(repo, "a.dat", before) is True


def test_an_input_stands_for_the_files_below_it_or_those_that_a_pattern_finds(box, repo):
    write(box, "x", "d/a.dat", "d/e/b.dat", "d/e/.hidden", "c.dat", "[1].dat")
    (box.path / "to-d").symlink_to("d")

    def files(declared, directory="."):
        return set(expand(repo, box.path / directory, declared).files)

    assert files("d") == files("d/") == files("to-d") == {"d/a.dat", "d/e/b.dat", "d/e/.hidden"}
    assert files("../c.dat", "d") == files(str(box.path / "c.dat")) == {"c.dat"}
    assert files("*.dat") == {"c.dat", "[1].dat"}
    assert files("**/*.dat") == {"c.dat", "[1].dat", "d/a.dat", "d/e/b.dat"}
    assert files("d/*") == {"d/a.dat", "d/e/b.dat", "d/e/.hidden"}
    assert files("no*") == {"no*"}
    assert files("/etc/hostname") == {"/etc/hostname"}


@pytest.mark.parametrize("declared", ["x" * 300, "a/" * 3000 + "x", "no/such", "c.dat/x"])
def test_what_no_file_can_be_stands_for_itself(box, repo, declared):
    write(box, "x", "c.dat")
    found = expand(repo, box.path, declared)
    assert found.files == (declared,)
    assert not set(of(repo, declared)) & {"blob", "key"}


def test_a_pattern_is_not_mixed_up_with_characters_of_the_directory(box, repo):
    write(box, "x", "[ab]/1.dat")
    assert expand(repo, box.path / "[ab]", "*.dat").files == ("[ab]/1.dat",)


def test_of_too_many_files_only_their_directory_is_told(box, repo, monkeypatch):
    monkeypatch.setattr("datalad_slurm.dataset.inputs.MOST_WALKED", 3)
    write(box, "x", *(f"d/e/{number}.dat" for number in range(4)))
    found = expand(repo, box.path, "d")
    assert (found.files, found.too_many_in) == ((), "d")
    assert expand(repo, box.path, "d/e/*.dat").too_many_in == "d/e"
    assert expand(repo, box.path, "d/e/[0-2].dat").too_many_in is None


@pytest.mark.parametrize("count", [2, 300])
def test_any_number_of_files_takes_the_same_processes(box, repo, monkeypatch, count):
    for number in range(count):
        write(box, str(number), f"d/{number}")
    box.git("annex", "add", "--quiet", "d")
    box.git("commit", "-qm", "many")
    run, started = subprocess.Popen.__init__, []

    def noted(self, args, *rest, **kwargs):
        started.append(args)
        run(self, args, *rest, **kwargs)

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    found = identify(repo, expand(repo, box.path, "d").files)
    assert len(started) <= 1
    assert len(found) == count
    assert {frozenset(each) for each in found.values()} == {frozenset(["key"])}
