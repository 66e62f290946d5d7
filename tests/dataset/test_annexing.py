"""Files that are added at once: all is as `git annex add` leaves it, on random trees."""

from __future__ import annotations

import os
import random
import re
import stat
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from datalad_slurm.dataset import annex_branch, annexing, largefiles
from datalad_slurm.dataset import ingest as ingest_module
from datalad_slurm.dataset import stage as staging
from datalad_slurm.dataset.annex_branch import AnnexBranch
from datalad_slurm.dataset.annexing import add_at_once
from datalad_slurm.dataset.commits import NewCommit, drop_private_refs
from datalad_slurm.dataset.files import Form
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.largefiles import decide, read_attributes
from datalad_slurm.dataset.stage import stage
from datalad_slurm.dataset.unsettled import note_adding, settle_adding
from datalad_slurm.jobs.errors import DatasetError
from tests.dataset.test_commits import publish


@pytest.fixture
def repo(box) -> Repo:
    return Repo(box.path)


@pytest.fixture(autouse=True)
def any_number(monkeypatch):
    monkeypatch.setattr(staging, "FEWEST", 1)


@pytest.fixture
def added(monkeypatch) -> list[str]:
    """Return a list of the paths that were added at once, filled as that happens."""
    paths: list[str] = []

    def noting(*args):
        done = add_at_once(*args)
        paths.extend(done.entries)
        return done

    monkeypatch.setattr(staging, "add_at_once", noting)
    return paths


TEXT2GIT = "* annex.largefiles=((mimeencoding=binary)and(largerthan=0))\n"
#: without a line break, for which git-annex of 2023 cannot put a file into git
NAMES = (
    "a b", 'quo"te', "-dash", "tab\t", "ü", os.fsdecode(b"\xff"), "*", ":(top)x", "a&b%c", "no",
    ".dot", ".dir/x", "x.dat", "x.txt", "sub.nii.gz", "x.tar.longer", "x.verylongext", "x.D-T",
    "d/.x", "deep/er/x.txt", "X.DAT", "x.1", "x.a.b.c.d", "y.txt", "z.dat",
)  # fmt: skip
#: settings, attributes, `git annex config`; and whether plain files are added at once
SETUPS = {
    "default": ({}, "", {}, True),
    "backend": ({"annex.backend": "SHA512E"}, "*.dat annex.backend=SHA1\n", {}, True),
    "backend by attribute": ({"annex.backend": "SHA512E"}, "* annex.backend=MD5E\n", {}, True),
    "unknown backend": ({}, "*.dat annex.backend=WORM\n*.txt annex.backend=NONE\n", {}, True),
    "attributes": ({}, "*.txt annex.largefiles=nothing\n*.nii* annex.largefiles=anything\n", {}, 1),
    "sizes": ({}, "* annex.largefiles=largerthan=20\n", {}, True),
    "text2git": ({}, TEXT2GIT, {}, True),
    "expressions": (
        {},
        f"{TEXT2GIT}*.txt annex.largefiles=largerthan=20\n*.dat annex.largefiles=(include=x*)\n",
        {},
        True,
    ),
    "largefiles": ({"annex.largefiles": "include=*.dat"}, "* annex.largefiles=nothing\n", {}, 1),
    "largefiles for all": (
        {},
        "*.txt annex.largefiles=nothing\n",
        {"annex.largefiles": "nothing"},
        1,
    ),
    "no small files": ({"annex.addsmallfiles": "false"}, "*.txt annex.largefiles=nothing\n", {}, 1),
    "dotfiles": ({"annex.dotfiles": "true"}, "", {}, True),
    "dotfiles for all": ({}, "", {"annex.dotfiles": "true"}, True),
    "extensions": ({"annex.maxextensionlength": "8", "annex.backend": "SHA256E"}, "", {}, True),
    "line ends": ({"core.autocrlf": "true"}, "* text\n* annex.largefiles=nothing\n", {}, True),
    "thin": ({"annex.thin": "true"}, "", {}, True),
    "unlocked": ({"annex.addunlocked": "true"}, "", {}, False),
    "unlocked for all": ({}, "", {"annex.addunlocked": "true"}, False),
    "some unlocked": ({"annex.addunlocked": "include=*.dat"}, "", {}, False),
    "shared": ({"core.sharedRepository": "group"}, "", {}, False),
    "pidlock": ({"annex.pidlock": "true"}, "", {}, False),
    "no links": ({"core.symlinks": "false"}, "", {}, False),
    "crippled": ({"annex.crippledfilesystem": "true"}, "", {}, False),
    "freeze": ({"annex.freezecontent-command": "chmod a-w %path"}, "", {}, False),
    "metadata": ({"annex.genmetadata": "true"}, "", {}, False),
    "secure hashes": ({"annex.securehashesonly": "true"}, "* annex.backend=MD5E\n", {}, False),
    "private": ({"annex.private": "true"}, "", {}, False),
    "database elsewhere": ({"annex.dbdir": "../databases"}, "", {}, False),
    "jobs": ({"annex.jobs": "4"}, TEXT2GIT, {}, True),
}


def plant(root: Path, seed: int) -> list[str]:
    """Write a random tree, the same for the same seed; return its paths."""
    dice = random.Random(seed)
    paths = []
    for number in range(60):
        path = f"out/{dice.randrange(6)}/{number}{dice.choice(['', '/'])}{dice.choice(NAMES)}"
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        kind = dice.randrange(12)
        if kind == 0:
            target.symlink_to(dice.choice(["nowhere", "/etc/hostname", "../x"]))
        elif kind == 1 and paths and (root / paths[-1]).is_file():
            target.hardlink_to(root / paths[-1])
        else:
            size = dice.choice([0, 1, 20, 21, 3000])
            pool = dice.choice([b"a", b"\0", b"line\r\n", bytes([number])])
            target.write_bytes((pool * size)[:size])
            target.chmod(dice.choice([0o644, 0o644, 0o755, 0o600, 0o444, 0o664]))
            os.utime(target, ns=(10**18 + number, 10**18 + 10**9 * number + 7))
        paths.append(path)
    return paths


def in_git_annex_branch(box) -> dict[str, set[str]]:
    """Return the lines of all logs, without their times."""
    listed = box.git("ls-tree", "-r", "-z", "--name-only", "git-annex").split("\0")
    return {
        path: {
            re.sub(r"^[\d.]+s|timestamp=\S+", "", line)
            for line in box.git("cat-file", "blob", f"git-annex:{path}").splitlines()
        }
        for path in filter(None, listed)
    }


def below(top: Path) -> dict[str, tuple[object, ...]]:
    """Return what is below a directory: kind and mode, content or target, and time of files."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(top):
        for name in [*names, *files]:
            path = Path(directory) / name
            each = path.lstat()
            if stat.S_ISDIR(each.st_mode):
                content: object = None
            elif path.is_symlink():
                content = path.readlink(), each.st_mtime_ns
            else:
                content = path.read_bytes(), each.st_mtime_ns
            found[str(path.relative_to(top))] = (each.st_mode, content)
    return found


def objects_of(box, done) -> dict[str, tuple[object, ...]]:
    """Return what the annex holds.

    Of content that was there several times one file was taken; mode and time are those of that.
    """
    found = below(box.path / ".git/annex/objects")
    times = Counter(change.key for change in done.changes.values())
    for path, (mode, content) in found.items():
        if times[path.rpartition("/")[2]] > 1 and content is not None:
            found[path] = (stat.S_IFMT(mode), mode & 0o222, content[0])
    return found


def set_up(box, settings, attributes, common) -> None:
    for name, value in settings.items():
        box.git("config", name, value)
    for name, value in common.items():
        box.git("annex", "config", "--set", name, value)
    if attributes:
        with (box.path / ".gitattributes").open("a") as file:
            file.write("\n" + attributes)


def copy(box, where: Path):
    subprocess.run(["cp", "-a", box.path, where], check=True)
    return type(box)(where)


@pytest.mark.parametrize("name", SETUPS)
def test_a_random_tree_is_added_as_git_annex_add_does_it(box, tmp_path, monkeypatch, added, name):
    settings, attributes, common, is_at_once = SETUPS[name]
    set_up(box, settings, attributes, common)
    seed = int(os.environ.get("DATALAD_SLURM_TEST_SEED", "0")) * 100 + list(SETUPS).index(name)
    paths = plant(box.path, seed)
    twin = copy(box, tmp_path / "twin")
    done = stage(Repo(box.path), paths)
    assert bool(added) == bool(is_at_once)
    monkeypatch.setattr(staging, "FEWEST", 10**9)
    expected = stage(Repo(twin.path), paths)
    for each in (box, twin):  # let git-annex commit its journal
        each.git("annex", "config", "--get", "annex.dotfiles")
    told = [
        {path: replace(change, stat=None) for path, change in each.changes.items()}
        for each in (done, expected)
    ]
    assert (told[0], done.failures) == (told[1], expected.failures)
    assert below(box.path / "out") == below(twin.path / "out")
    assert objects_of(box, done) == objects_of(twin, done)
    assert in_git_annex_branch(box) == in_git_annex_branch(twin)
    publish(Repo(box.path), [NewCommit("m\n", tuple(done.changes.values()))])
    assert box.git("annex", "fsck", "--quiet") == ""
    assert box.git("fsck", "--no-dangling") == ""


def write(box, **files: str) -> list[str]:
    for name, content in files.items():
        path = box.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return list(files)


def test_one_git_annex_decides_where_there_are_too_many_expressions(box, repo, monkeypatch):
    (box.path / ".gitattributes").write_text(
        "*.dat annex.largefiles=largerthan=1\n*.txt annex.largefiles=(largerthan=1)\n"
    )
    paths = write(box, **{"a.dat": "1", "b.dat": "22", "c.txt": "3", "d.txt": "44"})
    attributes = read_attributes(repo, paths)
    asked = []
    run = Repo.run

    def counting(self, *args, **kwargs):
        asked.append(args)
        return run(self, *args, **kwargs)

    monkeypatch.setattr(Repo, "run", counting)
    found = {}
    for most in (1, 2):
        monkeypatch.setattr(largefiles, "_MOST_EXPRESSIONS", most)
        asked.clear()
        found[most] = decide(repo, attributes, {}, attributes_decide=True), len(asked)
    expected = {"a.dat": False, "b.dat": True, "c.txt": False, "d.txt": True}
    assert found == {1: (expected, 2), 2: (expected, 3)}  # one more makes sure of what it says


def test_few_files_are_left_to_git_annex(box, repo, monkeypatch, added):
    monkeypatch.setattr(staging, "FEWEST", 3)
    assert set(stage(repo, write(box, a="a", b="b")).changes) == {"a", "b"}
    assert added == []
    assert set(stage(repo, write(box, c="c", d="d", e="e")).changes) == {"c", "d", "e"}
    assert set(added) == {"c", "d", "e"}


def test_what_head_holds_annexed_is_left_to_git_annex(box, repo, added):
    stage(repo, write(box, a="a", b="b"), {"a": Form.LOCKED})
    assert added == ["b"]


def location_log(box, key: str) -> str:
    """Return what git-annex's branch says of where the content of a key is."""
    path = box.git("annex", "examinekey", "--format=${hashdirlower}${key}.log", key)
    return box.git("cat-file", "blob", f"git-annex:{path}")


def test_the_location_log_is_committed_even_where_there_is_one_already(box, repo, added):
    write(box, a="one", b="two")
    box.git("annex", "add", "--quiet", "a")
    key = box.git("annex", "lookupkey", "a")
    box.git("annex", "drop", "--force", "--quiet", "a")
    assert " 0 " in location_log(box, key)
    stage(repo, write(box, again="one", c="two"))
    assert set(added) == {"again", "c"}
    assert " 1 " in location_log(box, key)
    assert not list((box.path / ".git/annex/journal").glob("*"))
    assert box.git("for-each-ref", "refs/datalad-slurm") == ""
    # git-annex's own index follows
    box.git("annex", "setpresentkey", key, box.git("config", "annex.uuid"), "0")
    box.git("annex", "config", "--get", "annex.dotfiles")
    assert " 0 " in location_log(box, key)
    lost = box.git("annex", "find", "--format=${key}\n", "--not", "--in=here")
    assert lost in ("", key)


LOCK_JOURNAL = """
import fcntl, sys
with open(sys.argv[1], "ab") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_while_the_branch_is_moved_git_annex_writes_nothing_to_it(box, repo):
    box.git("annex", "setpresentkey", "WORM--one", "somewhere", "1")
    asked = ["annex", "setpresentkey", "WORM--two", "somewhere", "1"]
    with annex_branch._locked_journal(repo) as is_locked:
        assert is_locked
        writing = subprocess.Popen(["git", "-C", box.path, *asked])
        with pytest.raises(subprocess.TimeoutExpired):
            writing.wait(2)
    assert writing.wait(60) == 0


def test_while_git_annex_writes_to_its_branch_new_logs_wait(box, repo, added):
    paths = write(box, a="one", b="two")
    lock = box.path / ".git/annex/journal.lck"
    command = [sys.executable, "-c", LOCK_JOURNAL, lock]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"locked\n"
        letting_go = threading.Timer(2, holder.stdin.close)
        letting_go.start()
        with annex_branch._locked_journal(repo) as is_locked:
            assert not is_locked
        done = stage(repo, paths)
        letting_go.join()
    assert (done.failures, added) == ({}, paths)
    publish(repo, [NewCommit("m\n", tuple(done.changes.values()))])
    assert not_noted(box) == []
    assert box.git("for-each-ref", "refs/datalad-slurm") == ""


def test_new_logs_do_not_displace_what_git_annex_has_written_meanwhile(box, repo, monkeypatch):
    paths = write(box, a="one", b="two")
    move = AnnexBranch._move

    def move_late(branch, commit):
        box.git("annex", "setpresentkey", "WORM--x", "somewhere", "1")
        box.git("annex", "config", "--get", "annex.dotfiles")  # commits the journal
        return move(branch, commit)

    monkeypatch.setattr(AnnexBranch, "_move", move_late)
    done = stage(repo, paths)
    publish(repo, [NewCommit("m\n", tuple(done.changes.values()))])
    assert not_noted(box) == []
    assert " 1 somewhere" in location_log(box, "WORM--x")


def test_where_git_annex_puts_its_branch_back_it_merges_the_new_logs(box, repo, monkeypatch):
    """On another node it may, where locks do not reach that."""
    paths = write(box, a="one", b="two")
    move = AnnexBranch._move

    def move_and_be_overruled(branch, commit):
        is_moved = move(branch, commit)
        box.git("update-ref", "refs/heads/git-annex", branch.tip)
        return is_moved

    monkeypatch.setattr(AnnexBranch, "_move", move_and_be_overruled)
    done = stage(repo, paths)
    publish(repo, [NewCommit("m\n", tuple(done.changes.values()))])
    assert not_noted(box) == []
    assert box.git("for-each-ref", "refs/datalad-slurm") == ""


def test_a_commit_that_lacks_logs_does_not_become_git_annexs_branch(box, repo, monkeypatch):
    stage(repo, write(box, a="one", b="two"))
    before = box.git("rev-parse", "git-annex")
    written = annex_branch.write_commit

    def forgetful(pack, root, *rest):
        root.remove(next(iter(root._changed)).split(b"/"))
        return written(pack, root, *rest)

    monkeypatch.setattr(annex_branch, "write_commit", forgetful)
    with pytest.raises(DatasetError, match="does not hold the new logs"):
        stage(repo, write(box, c="three", d="four"))
    assert box.git("rev-parse", "git-annex") == before


def test_the_message_of_a_commit_of_logs_is_the_one_that_is_configured(box, repo):
    box.git("config", "annex.commitmessage", "what I want")
    stage(repo, write(box, a="one", b="two"))
    assert box.git("log", "-1", "--format=%s", "git-annex") == "what I want"


def test_what_is_in_the_journal_of_git_annex_stays(box, repo):
    paths = write(box, a="one", b="two")
    key = box.git("annex", "calckey", "--backend=MD5E", "a")
    not_committed = ("-c", "annex.alwayscommit=false", "annex")
    box.git(*not_committed, "setpresentkey", key, "somewhere", "1")
    assert list((box.path / ".git/annex/journal").glob("*"))
    done = stage(repo, paths)
    publish(repo, [NewCommit("m\n", tuple(done.changes.values()))])
    assert len(location_log(box, key).splitlines()) == 2
    assert not_noted(box) == []


def test_git_annex_goes_on_with_its_branch_where_new_logs_have_moved_it(box, repo, added):
    first = stage(repo, write(box, a="one", b="two"))
    key = first.changes["a"].key
    box.git("annex", "setpresentkey", key, "somewhere", "1")
    second = stage(repo, write(box, c="three", d="four"))
    assert added == ["a", "b", "c", "d"]
    publish(repo, [NewCommit("m\n", (*first.changes.values(), *second.changes.values()))])
    assert not_noted(box) == []
    box.git("annex", "sync", "--no-content")
    assert len(location_log(box, key).splitlines()) == 2
    assert box.git("annex", "fsck", "--quiet") == ""
    assert box.git("fsck", "--no-progress", "--no-dangling") == ""


@pytest.mark.parametrize("is_fetched", [True, False])
def test_settings_for_all_clones_hold_before_git_annex_has_them_in_its_branch(
    box, repo, added, tmp_path, is_fetched
):
    setting = ("annex", "config", "--set", "annex.addunlocked", "true")
    if is_fetched:
        clone = str(tmp_path / "clone")
        box.git("clone", "-q", str(box.path), clone)
        box.git("-C", clone, *setting)
        box.git("fetch", "-q", clone, "git-annex:refs/remotes/clone/git-annex")
    else:
        box.git("-c", "annex.alwayscommit=false", *setting)
    done = stage(repo, write(box, a="one", b="two"))
    assert added == []
    assert {change.mode for change in done.changes.values()} == {"100644"}


def test_unlocked_files_that_wait_for_the_content_get_it(box, repo, added):
    write(box, old="the content")
    box.git("annex", "add", "--quiet", "old")
    box.git("annex", "unlock", "--quiet", "old")
    box.git("commit", "-qam", "unlocked")
    box.git("annex", "drop", "--force", "--quiet", "old")
    assert "annex/objects" in (box.path / "old").read_text()
    stage(repo, write(box, new="the content", other="x"))
    assert added == ["other"]
    assert (box.path / "old").read_text() == "the content"


@pytest.mark.parametrize("moment", ["calckey", "examinekey"])
@pytest.mark.parametrize("form", ["locked", "git"])
def test_a_file_that_changes_while_it_is_added_stays_as_it_is(
    box, repo, monkeypatch, added, form, moment
):
    if form == "git":
        (box.path / ".gitattributes").write_text("out/* annex.largefiles=nothing\n")
    paths = write(box, **{"out/a": "first half, ", "out/b": "whole", "c": "annexed"})
    run = Repo.run

    def run_while_somebody_writes(self, *args, **kwargs):
        said = run(self, *args, **kwargs)
        if moment in args:
            with (box.path / "out/a").open("a") as writer:
                writer.write("second half")
        return said

    monkeypatch.setattr(Repo, "run", run_while_somebody_writes)
    done = stage(repo, paths)
    assert list(done.failures) == ["out/a"]
    assert "another process may still write to it" in done.failures["out/a"]
    assert set(done.changes) == set(added) == {"out/b", "c"}
    assert (box.path / "out/a").read_text() == "first half, second half"
    assert (box.path / "out/a").stat().st_nlink == 1
    assert os.access(box.path / "out/a", os.W_OK)
    monkeypatch.undo()
    monkeypatch.setattr(staging, "FEWEST", 1)
    done = stage(repo, paths)
    assert not done.failures
    publish(repo, [NewCommit("m\n", tuple(done.changes.values()))])
    assert box.git("annex", "fsck", "--quiet") == ""


@pytest.mark.parametrize("fewest", [1, 10**9])
@pytest.mark.parametrize("way", ["a", "r+"])
def test_a_file_that_is_written_to_after_it_was_moved_is_given_back(
    box, repo, monkeypatch, way, fewest
):
    monkeypatch.setattr(staging, "FEWEST", fewest)
    paths = write(box, a="first half, ", b="whole", c="first half, ")
    run = Repo.run
    after_moves = "rev-list" if fewest == 1 else "ls-files"
    with (box.path / "a").open(way) as writer:

        def run_while_somebody_writes(self, *args, **kwargs):
            if after_moves in args:
                writer.write("second half")
                writer.flush()
            return run(self, *args, **kwargs)

        monkeypatch.setattr(Repo, "run", run_while_somebody_writes)
        done = stage(repo, paths)
    monkeypatch.setattr(Repo, "run", run)
    assert not (box.path / "a").is_symlink()
    if way == "r+":  # what c held is nowhere any more
        assert set(done.failures) == {"a", "c"}
        assert set(done.changes) == {"b"}
        assert "'a'" in done.failures["c"]
        return
    assert (box.path / "a").read_text() == "first half, second half"
    assert set(done.failures) == {"a"}
    assert set(done.changes) == {"b", "c"}
    assert (box.path / "c").read_text() == "first half, "
    publish(repo, [NewCommit("m\n", tuple(done.changes.values()))])
    assert box.git("annex", "fsck", "--quiet") == ""
    assert box.git("annex", "find", "--in=here").split() == ["b", "c"]


def test_content_that_the_annex_holds_damaged_does_not_take_the_place_of_a_good_file(box, repo):
    write(box, a="good content", b="b")
    stage(repo, ["a", "b"])
    (there,) = (box.path / ".git/annex/objects").glob("*/*/*-s12-*/*")
    there.chmod(0o644)
    there.write_text("bad")
    done = stage(repo, write(box, again="good content", c="c"))
    assert set(done.changes) == {"c"}
    assert "git annex fsck" in done.failures["again"]
    assert (box.path / "again").read_text() == "good content"


def test_pointers_are_no_content(box, repo, added):
    """As of an input whose content is not here, copied to an output."""
    write(box, one="the content")
    box.git("annex", "add", "--quiet", "one")
    key, link = box.git("annex", "lookupkey", "one"), str((box.path / "one").readlink())
    pointers = {"pointer": f"/annex/objects/{key}\n", "text of link": link}
    box.git("annex", "drop", "--force", "--quiet", "one")
    done = stage(repo, write(box, other="x", **pointers))
    assert added == ["other"]
    assert {path: done.changes[path].mode for path in pointers} == dict.fromkeys(pointers, "100644")
    for path, content in pointers.items():  # of which git-annex reads both as pointers
        assert box.git("cat-file", "blob", done.changes[path].blob) == content.strip()


def interleaved(said: bytes) -> bytes:
    return b"(recording state in git...)\n" + said


def backwards(said: bytes) -> bytes:
    return b"\n".join(reversed(said.removesuffix(b"\n").split(b"\n"))) + b"\n"


def silent(said: bytes) -> bytes:
    return said and b""


def without_notes(said: bytes) -> bytes:
    return re.sub(rb'"note":"[^"]*",', b"", said)


@pytest.mark.parametrize(
    ("command", "odd"),
    [
        ("calckey", interleaved),
        ("calckey", silent),
        ("examinekey", interleaved),
        ("examinekey", silent),
        ("--dry-run", interleaved),
        ("--dry-run", backwards),
        ("--dry-run", silent),
        ("--dry-run", without_notes),
    ],
)
def test_what_a_git_annex_says_in_another_way_is_no_answer(
    box, repo, monkeypatch, added, command, odd
):
    (box.path / ".gitattributes").write_text("* annex.largefiles=include=*.dat\n")
    paths = write(box, **{"a.dat": "1", "b": "2", "c.dat": "3", "d": "4", "e.dat": "5"})
    run = Repo.run

    def run_another(self, *args, **kwargs):
        said = run(self, *args, **kwargs)
        return odd(said) if command in args else said

    monkeypatch.setattr(Repo, "run", run_another)
    done = stage(repo, paths)
    assert not done.failures
    assert {path: bool(change.key) for path, change in done.changes.items()} == {
        path: path.endswith(".dat") for path in paths
    }
    assert not set(added) & ({"b", "d"} if command == "--dry-run" else set())
    publish(repo, [NewCommit("m\n", tuple(done.changes.values()))])
    assert box.git("annex", "fsck", "--quiet") == ""


def test_what_another_git_annex_adds_meanwhile_is_not_lost(box, repo, monkeypatch):
    paths = write(box, a="content of a", b="b")
    link = os.link

    def link_while_somebody_adds(source, place, **kwargs):
        link(source, place, **kwargs)
        if str(source).endswith("/a"):
            box.git("annex", "add", "--quiet", "a")

    monkeypatch.setattr(os, "link", link_while_somebody_adds)
    stage(repo, paths)
    assert (box.path / "a").read_text() == "content of a"


def test_a_renaming_that_nfs_reports_as_failed_after_it_was_done_loses_nothing(
    box, repo, monkeypatch
):
    paths = write(box, a="content of a", b="b")
    replace_it = os.replace

    def replace_and_fail(source, target):
        replace_it(source, target)
        raise FileNotFoundError

    monkeypatch.setattr(os, "replace", replace_and_fail)
    done = stage(repo, paths)
    monkeypatch.undo()
    assert (box.path / "a").read_text() == "content of a"
    assert set(done.changes) == set(paths)
    publish(repo, [NewCommit("m\n", tuple(done.changes.values()))])
    assert box.git("annex", "fsck", "--quiet") == ""
    assert box.git("annex", "find", "--in=here").split() == paths


def test_a_file_of_somebody_else_is_left_without_a_name_in_the_annex(box, repo, monkeypatch, added):
    paths = write(box, a="of another", b="ours")
    ours = os.chmod
    inode = (box.path / "a").stat().st_ino

    def chmod(path, mode, **kwargs):
        if os.path.exists(path) and os.stat(path).st_ino == inode:
            raise PermissionError
        ours(path, mode, **kwargs)

    monkeypatch.setattr(os, "chmod", chmod)
    monkeypatch.setattr(staging, "_annex_add", lambda *args: ({}, {"a": "it is of another"}))
    done = stage(repo, paths)
    assert set(done.failures) == {"a"}
    assert added == ["b"]
    assert (box.path / "a").stat().st_nlink == 1
    assert not list((box.path / ".git/annex/objects").glob("*/*/*-s10-*"))


def not_noted(box) -> list[str]:
    """Return the files of whose content no location log tells; `--in=here` does not ask these."""
    return box.git("annex", "find", "--not", "--copies=1").split()


class Killed(BaseException):
    """As if the process had ended here: nothing catches it."""


STEPS = (
    "link", "lstat", "chmod", "symlink", "utime", "replace", "unpack-objects", "update-ref",
    "annex",
)  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_whenever_it_is_killed_the_next_time_adds_everything(box, repo, monkeypatch, step):
    paths = write(box, **{"a.dat": "annexed", "b/c.dat": "too", "d.dat": "annexed", "e": "e"})
    before = {path: (box.path / path).read_text() for path in paths}
    count = 0

    def dying(call, *args, **kwargs):
        nonlocal count
        count += 1
        if count == 2:
            raise Killed
        return call(*args, **kwargs)

    if step in ("link", "lstat", "chmod", "symlink", "utime", "replace"):
        call = getattr(os, step)
        monkeypatch.setattr(os, step, lambda *args, **kw: dying(call, *args, **kw))
    else:
        run = Repo.run

        def run_until_killed(self, *args, **kwargs):
            said = run(self, *args, **kwargs)
            if step in args and (step != "annex" or "config" in args):
                raise Killed
            return said

        monkeypatch.setattr(Repo, "run", run_until_killed)
    if step == "annex":  # has it merge the new logs
        monkeypatch.setattr(AnnexBranch, "_move", lambda *_: False)
    with pytest.raises(Killed):
        stage(repo, paths)
    monkeypatch.undo()
    assert {path: (box.path / path).read_text() for path in paths} == before
    monkeypatch.setattr(staging, "FEWEST", 1)
    drop_private_refs(repo)  # as a finish does first
    done = stage(repo, paths)
    assert done.failures == {}
    assert set(done.changes) == set(paths)
    publish(repo, [NewCommit("m\n", tuple(done.changes.values()))])
    assert {path: (box.path / path).read_text() for path in paths} == before
    assert not_noted(box) == []  # before fsck, which mends that
    assert box.git("annex", "fsck", "--quiet") == ""
    assert box.git("annex", "find", "--in=here").split() == sorted(paths)
    assert box.git("annex", "unused", "--fast", "--quiet") == ""


def test_what_was_killed_before_the_location_logs_is_noted_though_head_holds_the_links(
    box, repo, monkeypatch
):
    paths = write(box, a="one", b="two", c="three")
    with monkeypatch.context() as patch:
        patch.setattr(annexing, "note_presence", killed)
        with pytest.raises(Killed):
            stage(repo, paths)
    box.git("-c", "annex.largefiles=nothing", "add", *paths)
    box.git("commit", "-qm", "somebody commits the links")
    assert not_noted(box) == paths
    assert stage(repo, []).changes == {}
    assert not_noted(box) == []


def test_what_is_written_to_after_a_kill_does_not_stay_in_the_annex(box, repo, monkeypatch):
    paths = write(box, a="first half, ", b="whole", c="first half, ")
    with (box.path / "a").open("a") as writer, monkeypatch.context() as patch:
        patch.setattr(annexing, "note_presence", killed)
        with pytest.raises(Killed):
            stage(repo, paths)
        writer.write("second half")
    done = stage(repo, ["a", "b"])
    assert (done.failures, set(done.changes)) == ({}, {"a", "b"})
    publish(repo, [NewCommit("m\n", tuple(done.changes.values()))])
    assert (box.path / "a").read_text() == "first half, second half"
    assert not_noted(box) == []
    assert box.git("annex", "fsck", "--quiet") == ""


def test_what_was_killed_in_a_repository_whose_git_directory_is_elsewhere_is_noted(box, tmp_path):
    write(box, a="one")
    box.git("annex", "add", "--quiet", "a")
    elsewhere = tmp_path / "elsewhere.git"
    (box.path / ".git").rename(elsewhere)
    (box.path / ".git").symlink_to(elsewhere)
    key = box.git("annex", "lookupkey", "a")
    box.git("annex", "setpresentkey", key, box.git("config", "annex.uuid"), "0")
    assert not_noted(box) == ["a"]
    repo = Repo(box.path)
    note_adding(repo, {"a": (3, 1, 1), "gone": (1, 1, 1)})
    settle_adding(repo)
    assert not_noted(box) == []
    assert not list(repo.state_dir.iterdir())


def test_a_note_that_was_being_written_at_a_kill_is_no_obstacle(repo):
    note_adding(repo, {"a": (3, 1, 1)})
    note = repo.state_dir / "adding.json"
    note.write_text(note.read_text()[:-3])
    settle_adding(repo)
    assert not note.exists()


def killed(*args: object) -> None:
    raise Killed


def test_of_one_content_none_is_moved_beside_others_before_it_is_held(box, monkeypatch, tmp_path):
    """Another that fails would take away what it was linked to."""
    paths = write(box, **{f"f{n}": "same" for n in range(6)}, **{f"g{n}": "more" for n in range(4)})
    found = {path: os.lstat(box.path / path) for path in paths}
    (box.path / "f0").write_text("changed")
    groups = []

    def noting(work, items):
        groups.append(list(items))
        return [work(item, 0) for item in items]

    monkeypatch.setattr(ingest_module, "side_by_side", noting)
    places = {path: str(tmp_path / path[0] / "k" / "k") for path in paths}
    done = ingest_module.ingest(Repo(box.path), found, places, dict.fromkeys(paths, "leads"))
    assert groups == [["f0", "g0"], ["g1", "g2", "g3"]]
    assert done.done == [path for path in paths if path != "f0"]
    assert list(done.failures) == ["f0"]
