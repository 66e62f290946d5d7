"""One spelling for each path; what leads out of the dataset is refused."""

from __future__ import annotations

import os

import pytest

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.paths import normalise_output, walk
from datalad_slurm.jobs.errors import InvalidRequestError


@pytest.fixture
def repo(box) -> Repo:
    (box.path / "a/b").mkdir(parents=True)
    (box.path / "to-b").symlink_to("a/b")
    (box.path / "to-outside").symlink_to(box.path.parent)
    (box.path / "annexed").symlink_to(".git/annex/objects/xx/yy/KEY/KEY")
    return Repo(box.path)


@pytest.mark.parametrize(
    ("typed", "cwd", "claim"),
    [
        ("out", ".", "out"),
        ("./out", ".", "out"),
        ("out/", ".", "out"),
        ("out/.", ".", "out"),
        ("out//x/./y///", ".", "out/x/y"),
        ("a/../out", ".", "out"),
        ("no-such/../out", ".", "out"),
        ("out", "a/b", "a/b/out"),
        ("../../out", "a/b", "out"),
        (".", ".", ""),
        (".", "a", "a"),
        ("..", "a/b", "a"),
        ("to-b", ".", "a/b"),
        ("to-b/", ".", "a/b"),
        ("to-b/x", ".", "a/b/x"),
        ("to-b/../x", ".", "a/x"),
        ("annexed", ".", "annexed"),
        ("{root}/out", "a", "out"),
        ("{root}", "a", ""),
        ("-o", ".", "-o"),
        ("new\nline", ".", "new\nline"),
        ("to-outside/{name}/out", ".", "out"),
    ],
)
def test_every_spelling_becomes_one(repo, typed, cwd, claim):
    spelled = typed.format(root=repo.root, name=repo.root.name)
    assert normalise_output(repo, spelled, repo.root / cwd) == claim


@pytest.mark.parametrize(
    "typed",
    [
        "..",
        "../x",
        "/etc/passwd",
        "/",
        "to-outside",
        "to-outside/x",
        "a/../../x",
        "",
        "x\0y",
        "~/../x",
    ],
)
def test_what_is_outside_is_refused(repo, typed):
    cwd = repo.root / ("a" if typed.startswith("~") else ".")
    if typed.startswith("~"):
        assert normalise_output(repo, typed, cwd) == "a/x"  # no shell, so no home directory
        return
    with pytest.raises(InvalidRequestError, match=r"outside the dataset|needs a name"):
        normalise_output(repo, typed, cwd)


@pytest.mark.parametrize("typed", [".git", ".git/x", "a/../.git/x"])
def test_the_git_directory_is_refused(repo, typed):
    with pytest.raises(InvalidRequestError, match="inside the git directory"):
        normalise_output(repo, typed, repo.root)


def test_a_subdataset_may_hold_outputs_but_no_other_repository(box, repo):
    box.cli("create", "-d", ".", "sub")
    (box.path / "loose").mkdir()
    (box.path / "loose/.git").mkdir()
    with pytest.raises(InvalidRequestError, match="in the repository 'loose', which is no sub"):
        normalise_output(repo, "loose/x", repo.root)
    with pytest.raises(InvalidRequestError, match="inside the git directory"):
        normalise_output(repo, "sub/.git/x", repo.root)
    repo = Repo(box.path)
    for typed in ("sub", "sub/x"):
        assert normalise_output(repo, typed, repo.root) == typed
    box.git("submodule", "deinit", "-q", "-f", "sub")
    assert normalise_output(repo, "sub/x", repo.root) == "sub/x"


def test_a_root_reached_through_a_link_is_the_same_root(box, repo, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(box.path)
    assert normalise_output(repo, str(link / "out"), repo.root) == "out"


def test_walking_names_files_and_links_and_tells_what_cannot_be_committed(box, repo):
    (box.path / "o/d/e").mkdir(parents=True)
    (box.path / "o/d/f").write_text("x")
    (box.path / "o/dangling").symlink_to("nowhere")
    (box.path / "o/dir-link").symlink_to("d")
    os.mkfifo(box.path / "o/pipe")
    (box.path / "o/nested/.git").mkdir(parents=True)
    (box.path / "o/nested/x").write_text("x")
    assert dict(walk(repo, "o")) == {
        "o/d/f": True,
        "o/dangling": True,
        "o/dir-link": True,
        "o/pipe": False,
        "o/nested": False,
    }
    assert dict(walk(repo, "o/d/f")) == {"o/d/f": True}
    assert dict(walk(repo, "gone")) == {}
    assert not any(path.startswith(".git/") for path, _ in walk(repo, ""))
