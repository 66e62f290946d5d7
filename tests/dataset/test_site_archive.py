"""The archive of a site as a dataset."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from datalad.api import Dataset

from datalad_slurm.dataset.site_archive import commit_files, open_archive, uncommitted_files
from datalad_slurm.jobs.errors import DatasetError, PublicationError
from tests.conftest import Box


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "archive"
    path.mkdir()
    return path.resolve()


def write(root, *names, content="x\n"):
    paths = [f"joe/2025/07/{name}" for name in names]
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
        (root / path).chmod(0o440)
    return paths


def test_many_jobs_are_one_commit_and_nothing_else_is_in_it(root):
    repo = open_archive(root)
    paths = write(root, *(f"{number}-a{end}" for number in range(100) for end in (".sh", ".env")))
    write(root, ".part")
    (root / "notes").write_text("of the administrator\n")
    assert commit_files(repo, paths, "100 Slurm jobs") == 1
    box = Box(root)
    assert box.subjects(3) == ["100 Slurm jobs", "[DATALAD] new dataset"]
    assert box.files_in_last_commit() == set(paths)
    assert box.status().splitlines() == ["?? joe/2025/07/.part", "?? notes"]


def test_an_archive_is_a_dataset_of_which_only_its_owner_reads_the_history(root):
    before = os.umask(0)
    try:
        repo = open_archive(root)
        commit_files(repo, write(root, "1-a.sh"), "Slurm job 1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / ".git").stat().st_mode) == 0o700
    assert Dataset(str(root)).id
    assert open_archive(root) == repo
    assert Box(root).subjects(5) == ["Slurm job 1", "[DATALAD] new dataset"]


def test_a_clone_holds_all_files_and_follows(root, tmp_path):
    repo = open_archive(root)
    commit_files(repo, write(root, "1-a.sh"), "Slurm job 1")
    clone = Box(tmp_path / "clone")
    subprocess.run(["git", "clone", "-q", root, clone.path], check=True)
    commit_files(repo, write(root, "2-b.sh", content="echo 2\n"), "Slurm job 2")
    clone.git("pull", "-q", "--ff-only")
    assert (clone.path / "joe/2025/07/2-b.sh").read_text() == "echo 2\n"


def test_what_was_written_and_not_committed_is_found_whatever_git_ignores(root):
    paths = write(root, "1-a.sh", "2-b.sh", "3-c.env")
    repo = open_archive(root)
    write(root, ".part", "core")
    (root / ".gitignore").write_text("*.sh\n")
    assert uncommitted_files(repo) == paths
    commit_files(repo, paths, "3 Slurm jobs")
    assert uncommitted_files(repo) == []


def test_files_go_into_git_as_they_are_also_where_a_dataset_has_an_annex(box):
    box.git("config", "core.autocrlf", "true")
    repo = open_archive(box.path)
    (path,) = write(box.path, "1-a.sh", content="a\r\nb\n")
    commit_files(repo, [path], "Slurm job 1")
    assert not (box.path / path).is_symlink()
    blob = subprocess.run(
        ["git", "cat-file", "blob", f"HEAD:{path}"], cwd=box.path, capture_output=True, check=True
    )
    assert blob.stdout == b"a\r\nb\n"


def test_a_file_that_somebody_has_removed_is_left_out(root):
    repo = open_archive(root)
    first, second = write(root, "1-a.sh", "2-b.sh")
    (root / first).unlink()
    assert commit_files(repo, [first, second], "Slurm jobs") == 1
    assert Box(root).files_in_last_commit() == {second}
    assert commit_files(repo, [first], "Slurm job 1") == 0


def test_while_another_git_is_at_work_nothing_is_committed_and_the_lock_is_named(root):
    repo = open_archive(root)
    paths = write(root, "1-a.sh")
    lock = root / ".git/index.lock"
    lock.touch()
    with pytest.raises(PublicationError, match=rf"{lock} is there, .*; remove it if no git runs"):
        commit_files(repo, paths, "Slurm job 1")
    lock.unlink()
    commit_files(repo, paths, "Slurm job 1")
    assert Box(root).status() == ""


def test_an_index_that_a_kill_has_left_behind_is_brought_to_the_last_commit(root):
    repo = open_archive(root)
    index = (root / ".git/index").read_bytes()
    commit_files(repo, write(root, "1-a.sh"), "Slurm job 1")
    (root / ".git/index").write_bytes(index)
    box = Box(root)
    assert box.status()
    open_archive(root)
    assert box.status() == ""


def test_without_an_author_the_archive_names_itself(root, monkeypatch, tmp_path):
    for role in ("AUTHOR", "COMMITTER"):
        for what in ("NAME", "EMAIL"):
            monkeypatch.delenv(f"GIT_{role}_{what}")
    repo = open_archive(root)
    assert Box(root).git("log", "-1", "--format=%an").startswith("datalad slurm-archive")
    commit_files(repo, write(root, "1-a.sh"), "Slurm job 1")


def test_a_place_that_git_cannot_use_is_told(root):
    (root / ".git").write_text("gitdir: /nowhere\n")
    with pytest.raises(DatasetError, match=r"git .* failed"):
        open_archive(Path(root))
