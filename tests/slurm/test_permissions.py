"""Files and object stores that may not be read or written.

Permissions do not bind root, so as root the commands run without the
capabilities by which they do not.
"""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.conftest import DATALAD
from tests.slurm.test_schedule import finish, schedule

_CAPABILITIES = "-dac_override,-dac_read_search,-fowner"


def bound_finish(box, *args):
    """Run slurm-finish as somebody whom permissions bind."""
    prefix = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv, by which permissions bind root, is not installed")
        prefix = ["setpriv", f"--bounding-set={_CAPABILITIES}", "--inh-caps=-all"]
    done = subprocess.run(
        [*prefix, DATALAD, "slurm-finish", *args],
        cwd=box.path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_an_annexed_file_that_nobody_may_read_is_committed_with_its_content(box, slurm):
    job = schedule(box, ["sbatch", "--wrap", "mkdir out; echo x > out/a; chmod 0 out/a"])
    slurm.wait(job)
    assert bound_finish(box).returncode == 0
    assert box.git("annex", "find", "out/a") == "out/a"
    assert box.git("annex", "fsck", "--quiet") == ""
    assert (box.path / "out/a").read_text() == "x\n"
    assert box.status() == ""


def keep_all_in_git(box):
    (box.path / ".gitattributes").write_text("* annex.largefiles=nothing\n")
    box.git("commit", "-qam", "all in git")


def test_a_file_that_git_may_not_read_keeps_its_job_open_and_is_named(box, slurm):
    keep_all_in_git(box)
    job = schedule(box, ["sbatch", "--wrap", "mkdir out; echo x > out/a; chmod 0 out/a"])
    slurm.wait(job)
    done = bound_finish(box)
    assert done.returncode == 1
    assert f"Slurm job {job} was not committed and is still open" in done.stdout
    assert "out/a" in done.stdout
    assert box.tracked() == [job]
    (box.path / "out/a").chmod(0o644)
    assert bound_finish(box).returncode == 0
    assert "out/a" in box.files_in_last_commit()
    assert box.status() == ""


def test_a_file_that_git_may_not_read_holds_up_no_other_job(box, slurm):
    keep_all_in_git(box)
    closed, fine = (
        schedule(box, ["sbatch", "--wrap", f"mkdir {n}; echo x > {n}/a; {more}"], [n])
        for n, more in (("c", "chmod 0 c/a"), ("f", ""))
    )
    slurm.wait(closed, fine)
    bound_finish(box)
    assert box.tracked() == [closed]
    assert "f/a" in box.files_in_last_commit()


def test_a_directory_that_may_not_be_read_keeps_its_job_open_and_is_named(box, slurm):
    job = schedule(box, ["sbatch", "--wrap", "mkdir out; echo x > out/a; chmod 0 out"])
    slurm.wait(job)
    done = bound_finish(box)
    assert f"Slurm job {job} was not committed and is still open: Permission denied" in done.stdout
    (box.path / "out").chmod(0o755)
    assert bound_finish(box).returncode == 0
    assert "out/a" in box.files_in_last_commit()


@pytest.mark.parametrize("store", [".git/annex", ".git/objects"])
def test_an_object_store_that_may_not_be_written_leaves_all_as_it_was(box, slurm, store):
    job = schedule(box, ["sbatch", "--wrap", "mkdir out; echo x > out/a; echo y > out/b"])
    slurm.wait(job)
    before = box.git("rev-parse", "HEAD")
    (box.path / ".git/annex/objects").mkdir(exist_ok=True)
    found = [box.path / store, *(p for p in (box.path / store).rglob("*") if p.is_dir())]
    modes = {path: path.stat().st_mode for path in found}
    for path in found:
        path.chmod(0o555)
    done = bound_finish(box)
    for path, mode in modes.items():
        path.chmod(mode)
    assert done.returncode == 1
    assert "slurm-finish(" in done.stdout or "finish(error)" in done.stdout
    assert box.git("rev-parse", "HEAD") == before
    assert box.tracked() == [job]
    assert (box.path / "out/a").read_text() == "x\n"
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert box.status() == ""
    assert box.git("annex", "fsck", "--quiet") == ""
    assert (box.path / "out/b").read_text() == "y\n"


def test_an_index_that_is_held_keeps_the_job_open_and_is_named(box, slurm, monkeypatch):
    from datalad_slurm.dataset import index

    monkeypatch.setattr(index, "_LOCK_PATIENCE", 0.5)
    job = schedule(box, ["sbatch", "--wrap", "mkdir out; echo x > out/a"])
    slurm.wait(job)
    before = box.git("rev-parse", "HEAD")
    (box.path / ".git/index.lock").touch()
    results = finish(box)
    (box.path / ".git/index.lock").unlink()
    assert "index.lock is there" in results[-1]["message"]
    assert box.git("rev-parse", "HEAD") == before
    assert box.tracked() == [job]
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert box.status() == ""


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_of_ours_have_the_users_umask_and_are_in_the_git_directory(
    box, slurm, umask, tmp_path, monkeypatch
):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = os.umask(umask)
    try:
        job = schedule(box, ["sbatch", "--hold", "--wrap", "echo x > out"])
    finally:
        os.umask(before)
    ours = [box.path / ".git/datalad-slurm", *(box.path / ".git/datalad-slurm").rglob("*")]
    assert any(path.name == "tracking.sqlite" for path in ours)
    assert [path for path in ours if path.stat().st_mode & umask] == []
    assert [path for path in ours if path.stat().st_mode & 0o002] == []
    assert list(temporary.iterdir()) == []
    slurm.run("scancel", str(job))
