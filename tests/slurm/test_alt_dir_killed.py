"""`--alt-dir`: commands that are killed while they copy."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from functools import partial

import pytest
from datalad.api import slurm_finish, slurm_reschedule, slurm_schedule

from datalad_slurm.workflow import alt_dir as placing
from tests.conftest import wait_until
from tests.crash import Crasher, thinned
from tests.slurm.alt_dirs import assert_clean, content, held_jobs
from tests.slurm.sweeps import QUIET, assert_sound, jobs_in_history
from tests.slurm.test_reschedule import reschedule
from tests.slurm.test_schedule import finish, schedule


class Killer:
    """Runs a function in a child that is killed at the n-th call of some functions."""

    def __init__(self, *targets):
        self.targets = targets

    def run(self, function, at, when):
        """Return whether the child was killed."""
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                self._patch(at, when)
                silence = os.open(os.devnull, os.O_WRONLY)
                os.dup2(silence, 1)
                os.dup2(silence, 2)
                function()
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        return os.WIFSIGNALED(status)

    def _patch(self, at, when):
        calls = iter(range(1, 10_000))
        for owner, name in self.targets:
            setattr(owner, name, self._killing(getattr(owner, name), calls, at, when))

    @staticmethod
    def _killing(real, calls, at, when):
        def call(*args, **kwargs):
            is_here = next(calls) == at
            if is_here and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            answer = real(*args, **kwargs)
            if is_here:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return call


def both_fresh(box, alt, tmp_path):
    """Return a function that puts the dataset and the directory back as they are now."""
    kept = tmp_path / "kept"
    kept.mkdir()
    for name, path in (("ds", box.path), ("alt", alt)):
        subprocess.run(["cp", "-a", path, kept / name], check=True)

    def fresh():
        for name, path in (("ds", box.path), ("alt", alt)):
            subprocess.run(["chmod", "-R", "u+w", path], check=True)
            shutil.rmtree(path)
            subprocess.run(["cp", "-a", kept / name, path], check=True)

    return fresh


def two_ended_jobs(box, slurm, alt):
    (box.path / "in").write_text("1\n")
    (box.path / "o0").write_text("old\n")
    box.cli("save", "-m", "input")
    jobs = [
        schedule(
            box,
            f"sbatch --wrap 'mkdir -p d{n}; cat in | tee o{n} d{n}/x'",
            [f"o{n}", f"d{n}"],
            inputs=["in"],
            alt_dir=str(alt),
        )
        for n in range(2)
    ]
    slurm.wait(*jobs)
    wait_until(lambda: all(slurm.state(job) == "COMPLETED" for job in jobs))
    return jobs


def assert_all_came_home(box, alt, jobs, where):
    assert jobs_in_history(box) == jobs, where
    assert box.tracked() == [], where
    for n in range(2):
        assert (box.path / f"o{n}").read_text() == "1\n", where
        assert (box.path / f"d{n}/x").read_text() == "1\n", where
        assert (box.path / f"slurm-{jobs[n]}.out").read_text() == "1\n", where
    assert_sound(box, where)
    assert_clean(box, alt)


def kill_at_each(crasher, fresh, function, first):
    """Kill a function at every sixteenth step, or fourth of all, and yield each of these steps."""
    at = first
    while True:
        fresh()
        ended = crasher.run(function, at)
        if len(ended.steps) < at:
            return
        yield f"step {at}, {ended.steps[at - 1]}"
        at += 4 * thinned(4)


@pytest.mark.parametrize("first", range(1, 5))
def test_finish_killed_at_any_step_brings_everything_home_once(box, slurm, alt, tmp_path, first):
    jobs = two_ended_jobs(box, slurm, alt)
    crasher = Crasher(tmp_path / "crash", tmp_path)
    fresh = both_fresh(box, alt, tmp_path)
    run = partial(slurm_finish, dataset=box.path, **QUIET)
    points = 0
    for where in kill_at_each(crasher, fresh, run, first):
        results = finish(box)
        assert {res["status"] for res in results} <= {"ok", "notneeded"}, (where, results)
        assert_all_came_home(box, alt, jobs, where)
        points += 1
    assert points > 12 // thinned(4)


def test_schedule_killed_at_any_copy_leaves_nothing_half_and_can_be_repeated(
    box, slurm, alt, tmp_path
):
    for name in ("one", "two"):
        (box.path / name).write_text(f"{name}\n" * 1000)
    box.cli("save", "-m", "inputs")
    fresh = both_fresh(box, alt, tmp_path)
    again = partial(
        slurm_schedule, "sbatch --wrap 'mkdir out; cat one two > out/sum'", dataset=box.path,
        inputs=["one", "two"], outputs=["out"], alt_dir=str(alt), **QUIET,
    )  # fmt: skip
    killer = Killer(
        (placing, "copy_file"), (placing, "write_note"), (placing, "take"),
        (placing, "_warn_of_left_overs"),
    )  # fmt: skip
    for when in ("before", "after"):
        at = 0
        while True:
            at += 1
            fresh()
            was_killed = killer.run(again, at, when)
            for name in ("one", "two"):
                if (alt / name).exists():
                    assert (alt / name).read_text() == f"{name}\n" * 1000
            if not was_killed:
                break
            assert box.tracked() == []
            (result,) = [res for res in again() if res["action"] == "slurm-schedule"]
            slurm.wait(result["slurm_job_id"])
            assert {res["status"] for res in finish(box)} == {"ok"}
            assert (box.path / "out/sum").read_text() == "one\n" * 1000 + "two\n" * 1000
            assert_clean(box, alt)
        slurm.wait(*box.tracked())
        assert at == 7


@pytest.mark.parametrize("first", range(1, 5))
def test_schedule_killed_at_any_step_leaves_no_job_untracked(box, slurm, alt, tmp_path, first):
    (box.path / "in").write_text("1\n")
    box.cli("save", "-m", "input")
    crasher = Crasher(tmp_path / "crash", tmp_path)
    fresh = both_fresh(box, alt, tmp_path)
    run = partial(
        slurm_schedule, "sbatch --hold --wrap true", dataset=box.path, inputs=["in"],
        outputs=["out"], alt_dir=str(alt), **QUIET,
    )  # fmt: skip
    seen: set[int] = set()
    points = 0
    for where in kill_at_each(crasher, fresh, run, first):
        submitted = {job for job, place in held_jobs(slurm) if place == str(alt)} - seen
        seen |= submitted
        assert set(box.tracked()) == submitted, where
        finish(box)
        assert content(alt) == (["in"] if submitted else []), where
        if submitted:
            slurm.run("scancel", *map(str, submitted))
        points += 1
    assert points > 12 // thinned(4)


def test_reschedule_killed_while_it_copies_can_be_repeated(box, slurm, alt):
    (box.path / "in").write_text("1\n")
    box.cli("save", "-m", "input")
    job = schedule(box, "sbatch --wrap 'cat in > out'", inputs=["in"])
    slurm.wait(job)
    finish(box)
    killer = Killer((placing, "copy_file"))
    run = partial(slurm_reschedule, dataset=box.path, alt_dir=str(alt), **QUIET)
    assert killer.run(run, 1, "after")
    again = reschedule(box, alt_dir=str(alt))
    slurm.wait(again)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert_clean(box, alt)
