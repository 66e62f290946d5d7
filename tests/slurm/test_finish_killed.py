"""slurm-finish is killed, wherever: a plain re-run ends with everything right."""

from __future__ import annotations

import pytest

from datalad_slurm.dataset import stage
from tests.crash import INTERRUPT, KILL, STRIDES, Crasher, thinned
from tests.slurm.sweeps import FinishScenario, steps_of_adding


@pytest.mark.faults
def test_a_finish_that_is_killed_anywhere_commits_every_job_once(
    box, slurm, tmp_path, count_faults
):
    scenario = FinishScenario(box, slurm, tmp_path / "original")
    crasher = Crasher(tmp_path / "crash", box.path)
    points = crasher.sweep(scenario.prepare, scenario.check, KILL, STRIDES[KILL])
    assert points >= 70 // STRIDES[KILL]
    count_faults("crash points", points)


@pytest.mark.faults
def test_a_finish_that_is_stopped_while_it_adds_files_at_once_commits_every_job_once(
    box, slurm, tmp_path, monkeypatch, count_faults
):
    monkeypatch.setattr(stage, "FEWEST", 2)
    scenario = FinishScenario(box, slurm, tmp_path / "original")
    crasher = Crasher(tmp_path / "crash", box.path)
    steps = steps_of_adding(crasher.run(scenario.prepare()).steps)
    assert len(steps) >= 20
    points = [(at, KILL) for at in list(steps)[:: thinned(5)]] + [
        (at, INTERRUPT) for at in list(steps)[1 :: 4 * thinned(2)]
    ]
    for at, action in points:
        ended = crasher.run(scenario.prepare(), at, action)
        assert ended.code in (-9, 130), (at, ended)
        scenario.check(f"{action} at step {at}, {steps[at]}")
    count_faults("crash points", len(points))
