"""slurm-reschedule is killed or interrupted, wherever: a plain re-run ends with all right."""

from __future__ import annotations

import pytest
from datalad.api import slurm_reschedule

from tests.crash import INTERRUPT, KILL, STRIDES, Crasher
from tests.slurm.sweeps import SubmissionScenario
from tests.slurm.test_schedule import finish, schedule


@pytest.mark.faults
@pytest.mark.parametrize("action", [KILL, INTERRUPT], ids=["kill", "interrupt"])
def test_a_reschedule_that_is_stopped_anywhere_submits_its_job_once(
    box, slurm, tmp_path, action, count_faults
):
    job = schedule(box, ["sbatch", "--wrap", "echo new > out"])
    slurm.wait(job)
    finish(box)
    (tmp_path / "copies").mkdir()
    scenario = SubmissionScenario(
        box,
        slurm,
        lambda box, **how: slurm_reschedule(dataset=box.path, **how),
        tmp_path / "copies",
    )
    crasher = Crasher(tmp_path / "crash", scenario.copies)
    points = crasher.sweep(scenario.prepare, scenario.run_again, action, STRIDES[action])
    scenario.finish_all()
    assert points >= 30 // STRIDES[action]
    count_faults("crash points", points)
