"""Globs as outputs: their one spelling, and what they match in a working tree and in a commit."""

from __future__ import annotations

import glob
import os

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.paths import matches, normalise_output, walk
from datalad_slurm.dataset.prepare import find_locked, make_writable, undo
from datalad_slurm.dataset.subdatasets import Hierarchy
from datalad_slurm.dataset.tree import TreeReader
from datalad_slurm.jobs.claims import is_glob
from datalad_slurm.jobs.errors import DatasetError, InvalidRequestError


@pytest.fixture
def repo(box) -> Repo:
    (box.path / "a/b").mkdir(parents=True)
    (box.path / "odd[1]*").mkdir()
    (box.path / "to-b").symlink_to("a/b")
    (box.path / "to-outside").symlink_to(box.path.parent)
    return Repo(box.path)


@pytest.mark.parametrize(
    ("typed", "cwd", "claim"),
    [
        ("out/*.csv", ".", "out/*.csv"),
        ("./out//./*.csv", ".", "out/*.csv"),
        ("no-such/../out/*/x", ".", "out/*/x"),
        ("*", "a/b", "a/b/*"),
        ("../../*", "a/b", "*"),
        ("*/", ".", "*/"),
        ("*/.", ".", "*/"),
        ("*//x/./y", ".", "*/x/y"),
        ("to-b/*", ".", "a/b/*"),
        ("to-b/../*", ".", "a/*"),
        ("to-outside/{name}/*", ".", "*"),
        ("{root}/out/*", "a", "out/*"),
        ("{root}/a/*", "a", "a/*"),
        ("**", ".", "**/*"),
        ("./**/", "a", "a/**/*/"),
        ("a/**", ".", "a/**"),
        ("**/x", "a", "a/**/x"),
        ("x[*]", ".", "x[*]"),
        ("[*]/[?]*", ".", "[*]/[?]*"),
        ("x[", ".", "x[[]"),
        ("out", "odd[1]*", "odd[[]1][*]/out"),
        ("*", "odd[1]*", "odd[[]1][*]/*"),
        ("{root}/odd[1]*/x", "odd[1]*", "odd[[]1][*]/x"),
        ("odd[[]1][*]/", ".", "odd[[]1][*]"),
    ],
)
def test_every_spelling_of_a_glob_becomes_one(repo, typed, cwd, claim):
    spelled = typed.format(root=repo.root, name=repo.root.name)
    assert normalise_output(repo, spelled, repo.root / cwd) == claim


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("*/../x", "'..' after a wildcard"),
        ("*/../../x", "'..' after a wildcard"),
        ("**/..", "'..' after a wildcard"),
        ("../*", "outside the dataset"),
        ("/*", "outside the dataset"),
        ("/etc/*", "outside the dataset"),
        ("to-outside/*", "outside the dataset"),
        (".git/*", "inside the git directory"),
        (".git/annex/**", "inside the git directory"),
    ],
)
def test_globs_that_leave_the_dataset_are_refused(repo, typed, said):
    with pytest.raises(InvalidRequestError, match=said):
        normalise_output(repo, typed, repo.root)


def test_a_glob_in_a_repository_that_is_no_subdataset_is_refused(box, repo):
    (box.path / "loose/.git").mkdir(parents=True)
    with pytest.raises(InvalidRequestError, match="in the repository 'loose', which is no sub"):
        normalise_output(repo, "loose/*", repo.root)


def found(repo, claim):
    """Return all files that a claim stands for, and whether they can be committed."""
    return {path: ok for top in matches(repo, claim) for path, ok in walk(repo, top)}


@pytest.fixture
def full(box) -> Repo:
    for name in (
        "o/a.csv", "o/.b.csv", "o/a.txt", "o/d.csv/x", "o/d.csv/.y", "o/e/c.csv", "o/*", "o/[x]",
        ".h/a.csv", "p/o/a.csv", "nested/.git/x", "nested/a.csv",
    ):  # fmt: skip
        (box.path / name).parent.mkdir(parents=True, exist_ok=True)
        (box.path / name).write_text(name)
    os.mkfifo(box.path / "o/pipe.csv")
    (box.path / "link").symlink_to("o")
    (box.path / "o/link.csv").symlink_to("e")
    return Repo(box.path)


IN_D = {"o/d.csv/x": True, "o/d.csv/.y": True}
OF_CSV = {"o/a.csv": True, "o/pipe.csv": False, "o/link.csv": True, **IN_D}


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("o/*.csv", OF_CSV),
        ("o/*.csv/", IN_D),
        ("o/d*/**", IN_D),
        ("o/d.csv/**", IN_D),
        ("o/a.csv/**", {}),
        ("o/.*", {"o/.b.csv": True}),
        ("o/[*]", {"o/*": True}),
        ("o/[[]x]", {"o/[x]": True}),
        ("o/[ab].*[!t]", {"o/a.csv": True}),
        ("**/c.csv", {"o/e/c.csv": True}),
        ("*/a.csv", {"o/a.csv": True}),
        ("**/a.csv", {"o/a.csv": True, "p/o/a.csv": True}),
        ("[n]ested", {"nested": False}),
        (".g*", {".gitattributes": True}),
        (".gi[t]/*", {}),
        ("*/../x", {}),
        ("gone/*", {}),
        ("o/a.csv/*", {}),
    ],
)
def test_a_glob_finds_files_and_what_is_below_matched_directories(full, claim, expected):
    assert found(full, claim) == expected


def test_a_glob_reads_only_directories_that_can_hold_a_match(full, box, monkeypatch):
    read = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: read.append(str(path)) or scandir(path))
    list(matches(full, "o/?/*"))
    assert read == [str(box.path / "o"), str(box.path / "o/e")]


NAMES = ["a", "b", ".a", "*", "**", "?", "[ab]", ".*", "[!a]*"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join), st.booleans())
def test_a_glob_finds_what_datalad_run_finds(tmp_path_factory, pattern, is_slash_at_end):
    root = tmp_path_factory.getbasetemp() / "finds"
    if not root.exists():
        for first in ("a", "b", ".a"):
            (root / first / "a" / "b").mkdir(parents=True)
            (root / first / ".b").touch()
            (root / first / "a" / ".a").touch()
        (root / "ab").touch()
    repo = Repo(root)
    typed = pattern + "/" * is_slash_at_end
    claim = normalise_output(repo, typed, root)
    assume(is_glob(claim))
    hits = glob.glob(typed, root_dir=root, recursive=True)
    # before Python 3.13 `file/**` finds `file/`
    tops = {hit for hit in hits if not hit.endswith("/") or (root / hit).is_dir()}
    assert found(repo, claim) == {
        path: ok for top in tops for path, ok in walk(repo, top.rstrip("/"))
    }


def test_what_a_glob_matches_in_a_commit(box):
    names = ["a.csv", "o/a.csv", "o/.b.csv", "o/d.csv/x", "o/d.csv/.y", "p/a.txt", "odd[1]/a.csv"]
    for name in names:
        (box.path / name).parent.mkdir(parents=True, exist_ok=True)
        (box.path / name).write_text(name)
    box.git("add", ".")
    box.git("commit", "-qm", "files")
    box.cli("create", "-d", ".", "o/sub.csv")
    head = box.git("rev-parse", "HEAD")
    with TreeReader(Repo(box.path), head) as tree:
        assert set(tree.files_claimed("o/*.csv")) == {"o/a.csv", "o/d.csv/x", "o/d.csv/.y"}
        assert set(tree.files_claimed("o/*.csv/")) == {"o/d.csv/x", "o/d.csv/.y"}
        assert set(tree.files_claimed("o/d.csv/**")) == {"o/d.csv/x", "o/d.csv/.y"}
        assert list(tree.files_claimed("a.csv/**")) == []
        assert set(tree.files_claimed("*.csv")) == {"a.csv"}
        assert set(tree.files_claimed("odd[[]1]/*")) == {"odd[1]/a.csv"}
        assert set(tree.files_claimed("odd[[]1]")) == {"odd[1]/a.csv"}
        assert set(tree.files_claimed("**")) >= set(names) - {"o/.b.csv"}
        assert list(tree.files_claimed("a.csv/*")) == []
        assert list(tree.files_claimed("gone/*")) == []
    with TreeReader(Repo(box.path), "") as tree:
        assert list(tree.files_claimed("*")) == []


def test_files_that_a_glob_matches_are_made_writable(box):
    for name in ("o/a.csv", "o/b.txt", "o/gone.csv", "o/d/gone", "o/d/here"):
        (box.path / name).parent.mkdir(parents=True, exist_ok=True)
        (box.path / name).write_text(name)
    box.git("annex", "add", "-q", ".")
    box.git("commit", "-qm", "files")
    box.git("annex", "drop", "--force", "-q", "o/gone.csv", "o/d/gone")
    repo = Repo(box.path)
    prepared = find_locked(Hierarchy(repo), ["o/*.csv", "o/d*"])
    make_writable(Hierarchy(repo), prepared)
    assert sorted(prepared.unlocked) == ["o/a.csv", "o/d/here"]
    assert [path for path, _ in prepared.removed] == ["o/gone.csv"]
    assert (box.path / "o/b.txt").is_symlink()
    assert (box.path / "o/d/gone").is_symlink()
    undo(Hierarchy(repo), prepared)
    assert box.status() == ""
    prepared = find_locked(Hierarchy(repo), ["o/d/**"])  # which matches the files, too
    assert [path for path, _ in prepared.removed] == ["o/d/gone"]


def test_a_directory_that_cannot_be_read_is_named_when_scheduling(box, monkeypatch):
    (box.path / "closed").mkdir()
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("closed"):  # root reads everything
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DatasetError, match=r"Permission denied \(.*closed\)"):
        find_locked(Hierarchy(Repo(box.path)), ["*/x"])


def test_a_claim_reaches_into_the_tree_of_a_subdataset(box):
    for name in ("a.csv", "d/b.csv", "d/c.txt"):
        (box.path / name).parent.mkdir(exist_ok=True)
        (box.path / name).write_text(name)
    box.git("annex", "add", "-q", ".")
    box.git("commit", "-qm", "files")
    every = {"a.csv", "d/b.csv", "d/c.txt"}
    expected = {
        "": every,
        "up": every,
        "up/sub": every,
        "up/sub/d": {"d/b.csv", "d/c.txt"},
        "up/sub/d/*.csv": {"d/b.csv"},
        "up/*/*.csv": {"a.csv"},
        "*/sub": every,
        "up/**/*.csv": {"a.csv", "d/b.csv"},
        "**/d": {"d/b.csv", "d/c.txt"},
        "up/other/*": set(),
        "*/other": set(),
        "up/subs": set(),
    }
    with TreeReader(Repo(box.path), "HEAD") as tree:
        for claim, files in expected.items():
            found = set(tree.files_claimed(claim, "up/sub"))
            assert {path for path in found if not path.startswith(".")} == files, claim
