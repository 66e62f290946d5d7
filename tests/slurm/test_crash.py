"""slurm-schedule is killed or interrupted, wherever: a plain re-run ends with everything right."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from datalad.api import slurm_schedule

from tests.conftest import DATALAD, wait_until
from tests.crash import INTERRUPT, KILL, STRIDES, Crasher
from tests.slurm.sweeps import SubmissionScenario, claims


@pytest.fixture
def scenario(box, slurm, tmp_path):
    """A job that overwrites a committed file."""
    (box.path / "out").write_text("old\n")
    box.cli("save", "-m", "an output that is unlocked first")
    (tmp_path / "copies").mkdir()
    return lambda command: SubmissionScenario(
        box,
        slurm,
        lambda box, **how: slurm_schedule(command, dataset=box.path, outputs=["out"], **how),
        tmp_path / "copies",
    )


@pytest.mark.faults
@pytest.mark.parametrize("action", [KILL, INTERRUPT], ids=["kill", "interrupt"])
def test_a_schedule_that_is_stopped_anywhere_submits_its_job_once(
    scenario, tmp_path, action, count_faults
):
    scenario = scenario("sbatch --wrap 'echo new > out'")
    crasher = Crasher(tmp_path / "crash", scenario.copies)
    points = crasher.sweep(scenario.prepare, scenario.run_again, action, STRIDES[action])
    scenario.finish_all()
    assert points >= 30 // STRIDES[action]
    count_faults("crash points", points)


def test_a_job_with_a_comment_of_the_users_is_found_after_a_kill(scenario, tmp_path):
    scenario = scenario("sbatch --comment=mine --wrap 'echo new > out'")
    crasher = Crasher(tmp_path / "crash", scenario.copies)
    steps = crasher.run(scenario.prepare()).steps
    scenario.run_again("not stopped")
    assert crasher.run(scenario.prepare(), steps.index("after sbatch") + 1, KILL).code == -9
    scenario.run_again("killed when sbatch had run")
    scenario.finish_all()


def test_an_orphaned_sbatch_that_still_runs_keeps_its_claim(box, slurm, tmp_path, monkeypatch):
    bin_dir = tmp_path / "slow"
    bin_dir.mkdir()
    real = shutil.which("sbatch")
    go = tmp_path / "go"
    waiting = f"while [ ! -e {go} ]; do sleep 0.1; done"
    (bin_dir / "sbatch").write_text(f'#!/bin/sh\n{waiting}\nexec {real} "$@"\n')
    (bin_dir / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_dir), prepend=":")
    command = ["slurm-schedule", "-o", "out", "sbatch", "--hold", "--wrap", "true"]
    scheduler = subprocess.Popen([DATALAD, *command], cwd=box.path, stderr=subprocess.DEVNULL)
    notes = box.path / ".git/datalad-slurm/submissions"
    wait_until(lambda: list(notes.glob("*/*.begun")))
    scheduler.kill()
    scheduler.wait()
    done = box.cli(*command, code=1)
    assert "conflicts with a job that process" in done.stdout
    go.touch()
    wait_until(lambda: not list(notes.glob("*/*.begun")) or list(notes.glob("*/*.printed")))
    (job,) = box.tracked()
    assert claims(box) == ["out"]
    slurm.run("scancel", str(job))


def test_steps_are_what_a_command_does_from_outside(box, slurm, tmp_path):
    crasher = Crasher(tmp_path / "crash", box.path)

    def work():
        subprocess.run(["git", "version"], check=True)
        (box.path / "a").write_text("a")
        (box.path / "a").rename(box.path / "b")
        (tmp_path / "elsewhere").write_text("a")

    ended = crasher.run(work)
    assert ended.code == 0
    assert ended.output.startswith("git version")
    assert ended.calls == ["git version"]
    assert [step.split()[0] for step in ended.steps] == ["before", "after", "open", "os.rename"]
    for at, action, code in ((1, KILL, -9), (4, INTERRUPT, 130), (5, KILL, 0)):
        (box.path / "b").unlink(missing_ok=True)
        assert crasher.run(work, at, action).code == code
        assert (box.path / "b").exists() == (code == 0)
