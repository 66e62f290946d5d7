"""Whatever is killed, and wherever: a plain re-run ends with everything right."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
from functools import partial
from pathlib import Path

import pytest
from datalad.api import slurm_finish, slurm_reschedule, slurm_schedule

from tests.conftest import Box, wait_until
from tests.crash import Crasher
from tests.slurm.test_schedule import finish, schedule

_QUIET = {"result_renderer": "disabled", "on_failure": "ignore"}


@pytest.fixture
def crasher(slurm, tmp_path):
    return Crasher.make(tmp_path / "crash")


def copies(box, tmp_path):
    """Yield a function that gives a fresh copy of the dataset under the same path."""
    original = tmp_path / "original"
    shutil.copytree(box.path, original, symlinks=True)

    def fresh() -> Box:
        # in place: the jobs know the path; annexed files are read-only
        subprocess.run(["chmod", "-R", "u+w", box.path], check=True)
        shutil.rmtree(box.path)
        subprocess.run(["cp", "-a", original, box.path], check=True)
        return Box(box.path)

    return fresh


def jobs_in_history(box):
    subjects = box.git("log", "--format=%s").splitlines()
    return sorted(int(s.split()[5].rstrip(":")) for s in subjects if "[DATALAD SLURM RUN]" in s)


def assert_sound(box):
    box.git("fsck", "--strict", "--no-dangling")
    assert box.git("for-each-ref", "refs/datalad-slurm/") == ""
    assert list((box.path / ".git/datalad-slurm").glob("*.marks")) == []
    for name in ("submissions/*", "staging.index*"):
        assert list((box.path / ".git/datalad-slurm").glob(name)) == []


def claims(box):
    with sqlite3.connect(box.path / ".git/datalad-slurm/tracking.sqlite") as database:
        return [row[0].decode() for row in database.execute("select path from claims")]


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_finish_killed_at_any_call_commits_every_job_once(box, slurm, crasher, tmp_path, when, sig):
    (box.path / "user").write_text("1\n")
    box.cli("save", "-m", "user's file")
    ids = [
        schedule(box, ["sbatch", "--wrap", f"mkdir o{n}; echo {n} | tee o{n}/a o{n}/b"], [f"o{n}"])
        for n in range(2)
    ]
    (box.path / "staged").write_text("s\n")
    box.git("-c", "annex.largefiles=nothing", "add", "staged")
    (box.path / "untracked").write_text("u\n")
    slurm.wait(*ids)
    wait_until(lambda: all(slurm.state(job) == "COMPLETED" for job in ids))
    fresh = copies(box, tmp_path)
    before = {"A  staged", "?? untracked"}
    at = points = 0
    while True:
        at += 1
        box = fresh()
        crasher.run(partial(slurm_finish, dataset=box.path, **_QUIET), at, when, sig)
        if not crasher.hit:
            break
        points += 1
        where = f"{when} call {at}: {crasher.hit}"
        results = finish(box)
        assert {res["status"] for res in results} <= {"ok", "notneeded"}, (where, results)
        assert jobs_in_history(box) == ids, where
        assert set(box.status().splitlines()) == before, where
        assert box.tracked() == [], where
        assert claims(box) == [], where
        assert_sound(box)
        assert box.git("annex", "fsck", "--quiet") == "", where
    assert points >= 10


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("comment", ["", "--comment=mine"])
def test_schedule_killed_at_any_call_leaves_no_job_untracked(
    box, slurm, crasher, tmp_path, when, sig, comment
):
    (box.path / "out").write_text("old\n")
    box.cli("save", "-m", "an output that is unlocked first")
    fresh = copies(box, tmp_path)
    cmd = f"sbatch {comment} --hold --wrap true"
    at = points = 0
    while True:
        at += 1
        box = fresh()
        known = {job for job, where in held_jobs(slurm) if where == str(box.path)}
        crasher.run(
            partial(slurm_schedule, cmd, dataset=box.path, outputs=["out"], **_QUIET), at, when, sig
        )
        hit = crasher.hit
        submitted = {job for job, where in held_jobs(slurm) if where == str(box.path)} - known
        assert len(submitted) <= 1
        assert set(box.tracked()) == submitted, (when, at, hit)
        if submitted:
            assert claims(box) == ["out"]
        else:
            assert claims(box) == []
        assert_sound(box)
        if submitted:
            slurm.run("scancel", *map(str, submitted))
        if not hit:
            assert submitted
            break
        points += 1
    assert points >= 4


def held_jobs(slurm):
    lines = slurm.run("squeue", "-h", "-o", "%A|%Z").splitlines()
    return [(int(line.partition("|")[0]), line.partition("|")[2]) for line in lines]


def test_reschedule_killed_at_any_call_leaves_no_job_untracked(box, slurm, crasher, tmp_path):
    job = schedule(box, ["sbatch", "--wrap", "date > out"])
    slurm.wait(job)
    finish(box)
    fresh = copies(box, tmp_path)
    for when in ("before", "after"):
        at = 0
        while True:
            at += 1
            box = fresh()
            crasher.run(partial(slurm_reschedule, dataset=box.path, **_QUIET), at, when)
            hit = crasher.hit
            tracked = box.tracked()
            assert claims(box) == ["out"] * len(tracked), (when, at, hit)
            slurm.wait(*tracked)
            results = finish(box)
            assert {res["status"] for res in results} <= {"ok", "notneeded"}, (when, at, hit)
            assert jobs_in_history(box) == sorted([job, *tracked])
            assert_sound(box)
            if not hit:
                assert tracked
                break


def test_an_orphaned_sbatch_that_still_runs_keeps_its_claim(box, slurm, tmp_path, monkeypatch):
    bin_dir = tmp_path / "slow"
    bin_dir.mkdir()
    real = shutil.which("sbatch")
    (bin_dir / "sbatch").write_text(f'#!/bin/sh\nsleep 3\nexec {real} "$@"\n')
    (bin_dir / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_dir), prepend=":")
    command = ["slurm-schedule", "-o", "out", "sbatch", "--hold", "--wrap", "true"]
    from tests.conftest import DATALAD

    scheduler = subprocess.Popen([DATALAD, *command], cwd=box.path, stderr=subprocess.DEVNULL)
    notes = box.path / ".git/datalad-slurm/submissions"
    wait_until(lambda: list(notes.glob("*/*.begun")))
    scheduler.kill()
    scheduler.wait()
    done = box.cli(*command, code=1)
    assert "conflicts with a job that process" in done.stdout
    wait_until(lambda: not list(notes.glob("*/*.begun")) or list(notes.glob("*/*.printed")))
    (job,) = box.tracked()
    assert claims(box) == ["out"]
    slurm.run("scancel", str(job))


def test_the_stand_ins_see_the_calls(crasher):
    status, calls = crasher.run(lambda: subprocess.run(["git", "version"], check=True), 0, "before")
    assert (status, calls) == (0, 1)
    assert Path(crasher.directory / "output").read_text().startswith("git version")
