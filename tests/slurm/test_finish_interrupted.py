"""slurm-finish is interrupted, wherever: a plain re-run ends with everything right."""

from __future__ import annotations

import pytest

from tests.crash import INTERRUPT, STRIDES, Crasher
from tests.slurm.sweeps import FinishScenario


@pytest.mark.faults
def test_a_finish_that_is_interrupted_anywhere_commits_every_job_once(
    box, slurm, tmp_path, count_faults
):
    scenario = FinishScenario(box, slurm, tmp_path / "original")
    crasher = Crasher(tmp_path / "crash", box.path)
    points = crasher.sweep(scenario.prepare, scenario.check, INTERRUPT, STRIDES[INTERRUPT])
    assert points >= 70 // STRIDES[INTERRUPT]
    count_faults("crash points", points)
