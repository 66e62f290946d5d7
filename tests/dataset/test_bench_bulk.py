"""The files that the benchmark puts into a dataset are as git-annex would have them."""

from __future__ import annotations

import os
import subprocess

import pytest
from _bench.bulk import add_files
from _bench.processes import run


class World:
    """Starts programs, and nothing else."""

    def run(self, argv, cwd, **more):
        return run(argv, env=os.environ, cwd=cwd, **more)


@pytest.fixture
def filled(tmp_path):
    def git(*words):
        return subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True).stdout

    git("init", "-q")
    git("annex", "init", "-q")
    (tmp_path / ".gitattributes").write_text("* annex.backend=MD5E\n")
    git("add", ".")
    git("commit", "-q", "-m", "Start")
    add_files(World(), tmp_path, 250)
    return git


def test_git_finds_nothing_to_do(filled):
    assert filled("status", "--short") == b""
    assert len(filled("ls-files", "data").splitlines()) == 250
    assert filled("rev-list", "--count", "HEAD") == b"2\n"


def test_git_annex_finds_all_contents_here_and_nothing_wrong(filled):
    assert len(filled("annex", "find", "--in", "here").splitlines()) == 142
    assert filled("annex", "fsck").count(b" ok\n") == 142
