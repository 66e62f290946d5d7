"""A finish that died, and what the user did before the next one."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.conftest import DATALAD, wait_until
from tests.slurm.sweeps import Killed, finish_killed_at, jobs_in_history, killed
from tests.slurm.test_schedule import finish, schedule


@pytest.fixture
def ended(box, slurm):
    job = schedule(box, ["sbatch", "--wrap", "echo 1 > out"])
    slurm.wait(job)
    return job


def die_after_the_branch_has_moved(box, monkeypatch):
    from datalad_slurm.tracking import publications

    finish_killed_at(box, monkeypatch, publications, "complete")


def test_a_commit_that_was_amended_after_a_crash_is_not_made_twice(box, ended, monkeypatch):
    die_after_the_branch_has_moved(box, monkeypatch)
    (box.path / "more").write_text("1\n")
    box.git("-c", "annex.largefiles=nothing", "add", "more")
    box.git("commit", "-q", "--amend", "--no-edit")
    assert {res["status"] for res in finish(box)} == {"notneeded"}
    assert jobs_in_history(box) == [ended]
    assert box.tracked() == []


def test_a_commit_that_was_reset_after_a_crash_is_made_again(box, ended, monkeypatch):
    die_after_the_branch_has_moved(box, monkeypatch)
    box.git("reset", "-q", "HEAD~1")
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert jobs_in_history(box) == [ended]
    assert box.status() == ""


def test_outputs_lost_in_an_amend_after_a_crash_are_committed_again(box, ended, monkeypatch):
    die_after_the_branch_has_moved(box, monkeypatch)
    box.git("rm", "-q", "--cached", "out")
    box.git("commit", "-q", "--amend", "--no-edit")
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert box.git("ls-tree", "--name-only", "HEAD", "out") == "out"
    assert box.status() == ""


def test_a_commit_that_is_gone_from_the_repository_is_made_again(box, ended, monkeypatch):
    from datalad_slurm.workflow import publishing

    finish_killed_at(box, monkeypatch, publishing, "publish")
    for ref in box.git("for-each-ref", "--format=%(refname)", "refs/datalad-slurm/").split():
        box.git("update-ref", "-d", ref)
    box.git("gc", "-q", "--prune=now")
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert jobs_in_history(box) == [ended]


@pytest.mark.parametrize("when", ["before", "after"])
def test_nobody_can_commit_what_a_killed_finish_had_begun(box, ended, monkeypatch, when):
    from datalad_slurm.dataset import index, publish

    move = publish._move

    def move_and_be_killed(*args):
        move(*args)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(publish, "_move", killed if when == "before" else move_and_be_killed)
        patch.setattr(publish, "_move_back", lambda *args: None)
        patch.setattr(index.IndexUpdate, "install", lambda self: None)
        patch.setattr(index.IndexUpdate, "__exit__", lambda *args: None)
        with pytest.raises(Killed):
            finish(box)
    (box.path / "mine").write_text("1\n")
    with pytest.raises(subprocess.CalledProcessError) as hasty:
        box.git("commit", "-qam", "hasty")
    assert "index.lock" in hasty.value.stderr
    finish(box)
    box.cli("save", "-m", "patient", "mine")
    assert box.subjects(2) == ["patient", f"[DATALAD SLURM RUN] Slurm job {ended}: Completed"]
    assert "out" in box.files_in_last_commit("HEAD~1")
    assert box.files_in_last_commit() == {"mine"}
    assert box.status() == ""


@pytest.mark.parametrize("call", ["annex add", "update-ref -m"])
def test_git_of_a_finish_that_was_killed_is_waited_for(box, ended, stand_in, tmp_path, call):
    # one line, read as a whole: the file is written anew while this runs
    stand_in(
        "git",
        f'case " $* " in *" {call} "*) touch {tmp_path}/there; sleep 4; $real "$@"; status=$?; '
        f'touch {tmp_path}/ended; exit $status;; esac; exec $real "$@"',
    )
    finisher = subprocess.Popen(
        [DATALAD, "slurm-finish"],
        cwd=box.path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until((tmp_path / "there").exists)
    finisher.kill()
    finisher.wait()
    stand_in("git", 'exec $real "$@"')
    assert {res["status"] for res in finish(box)} <= {"ok", "notneeded"}
    assert (tmp_path / "ended").exists()
    assert jobs_in_history(box) == [ended]
    assert box.tracked() == []
    assert box.status() == ""


@pytest.fixture
def killed_schedule(box):
    """A schedule that was killed right before sbatch; one of its outputs is not here."""
    (box.path / "d").mkdir()
    for name in ("here", "d/absent"):
        (box.path / name).write_text(name)
    box.cli("save", "-m", "outputs")
    box.git("annex", "drop", "--force", "-q", "d/absent")
    body = """
import os
from datalad.api import slurm_schedule
from datalad_slurm.slurm import sbatch
sbatch.submit = lambda *args: os._exit(9)
slurm_schedule("sbatch --wrap true", outputs=["here", "d/absent"])
"""
    done = subprocess.run([sys.executable, "-c", body], cwd=box.path, check=False)
    assert done.returncode == 9
    assert not (box.path / "here").is_symlink()
    assert not (box.path / "d/absent").is_symlink()


def test_what_a_killed_schedule_did_in_the_dataset_is_undone(box, killed_schedule):
    assert box.tracked() == []
    assert (box.path / "here").is_symlink()
    assert (box.path / "d/absent").is_symlink()
    assert box.status() == ""


@pytest.mark.parametrize(
    "fault", ["empty", "list", "incomplete", "unreadable", "no directory", "git"]
)
def test_what_cannot_be_undone_after_a_killed_schedule_is_said_once(
    box, killed_schedule, stand_in, fault
):
    (note,) = box.path.glob(".git/datalad-slurm/submissions/*/prepared.json")
    said = f"{note} cannot be read"
    if fault == "empty":
        note.write_text("")
    elif fault == "list":
        note.write_text("[]")
    elif fault == "incomplete":
        note.write_text("{}")
    elif fault == "unreadable":
        note.unlink()
        note.mkdir()
    elif fault == "no directory":
        shutil.rmtree(box.path / "d")
        (box.path / "d").touch()
        said = f"outputs 'd/absent', 'here' in {box.path} were unlocked or removed"
    else:
        stand_in("git", 'case " $* " in *" annex lock "*) exit 3;; esac; exec $real "$@"')
        said = f"outputs 'd/absent', 'here' in {box.path} were unlocked or removed"
    done = box.cli("slurm-schedule", "-o", "out", "sbatch --hold --wrap true")
    assert said in done.stderr
    assert "`git annex lock PATH`" in done.stderr
    (job,) = box.tracked()
    assert "unlocked or removed" not in box.cli("slurm-finish", "-l").stderr
    subprocess.run(["scancel", str(job)], check=True)
