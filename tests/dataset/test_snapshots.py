"""Commits of a dataset with its subdatasets as they were."""

from __future__ import annotations

import pytest

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.snapshots import Snapshots
from datalad_slurm.dataset.subdatasets import Hierarchy
from tests.conftest import Box


@pytest.fixture
def family(box):
    """A dataset with a subdataset that was added and then changed; its commits."""
    commits = [box.git("rev-parse", "HEAD")]
    box.cli("create", "-d", ".", "sub")
    for content in ("1", "2"):
        (box.path / "sub/a").unlink(missing_ok=True)
        (box.path / "sub/a").write_text(content)
        box.cli("save", "-r", "-m", content)
        commits.append(box.git("rev-parse", "HEAD"))
    return Box(box.path / "sub"), commits


def test_a_subdataset_is_seen_as_it_was_noted(box, family):
    sub, commits = family
    with Snapshots(Hierarchy(Repo(box.path))) as snapshots:
        before, one, two = [snapshots.tree(commit, "sub") for commit in commits]
        assert list(before.files_claimed("sub", "sub")) == []
        assert "a" in list(one.files_claimed("sub", "sub"))
        assert two.lookup("a") == snapshots.head("sub").lookup("a") != one.lookup("a")
        key = sub.git("annex", "lookupkey", "a")
        assert snapshots.head("sub").identity(*two.lookup("a")) == {"key": key}
        assert snapshots.tree(f"{commits[1]}^1").lookup("sub") is not None
    # the branch of a subdataset may be elsewhere by now
    sub.git("reset", "-q", "--hard", "HEAD~1")
    with Snapshots(Hierarchy(Repo(box.path))) as snapshots:
        held = [snapshots.tree(commit, "sub").lookup("a") for commit in commits[:2]]
        assert held == [None, snapshots.head("sub").lookup("a")]


def test_commits_that_are_not_here_are_none_and_do_not_disturb_the_others(box, family):
    sub, commits = family
    sub.git("reset", "-q", "--hard", "HEAD~1")
    sub.git("reflog", "expire", "--expire=now", "--all")
    sub.git("gc", "-q", "--prune=now")
    with Snapshots(Hierarchy(Repo(box.path))) as snapshots:
        assert snapshots.tree("f" * 40) is None
        assert snapshots.tree("f" * 40, "sub") is None
        assert snapshots.tree(commits[2], "sub") is None
        assert snapshots.tree(commits[1], "sub").lookup("a") is not None
        assert snapshots.tree(commits[2]).lookup("sub") is not None
