"""Daemons of Slurm that are away; on a testbed of its own, which only this module breaks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import TESTBED, Slurm
from tests.slurm.bare import wait_until_forgotten
from tests.slurm.test_schedule import finish, schedule


def run_testbed(*args):
    subprocess.run([sys.executable, str(TESTBED), *args], check=True, capture_output=True)


@pytest.fixture(scope="module")
def own_testbed(tmp_path_factory):
    """A Slurm that only this module breaks."""
    directory = tmp_path_factory.mktemp("tb")
    run_testbed("up", "--dir", str(directory))
    yield directory
    run_testbed("down", "--dir", str(directory), "--wipe")


@pytest.fixture
def own_slurm(own_testbed, monkeypatch):
    run_testbed("up", "--dir", str(own_testbed))
    monkeypatch.setenv("SLURM_CONF", str(own_testbed / "etc" / "slurm.conf"))
    return Slurm(own_testbed)


def test_without_slurmdbd_slurmctld_is_enough(box, own_slurm):
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    run_testbed("stop", "slurmdbd", "--dir", str(own_slurm.directory))
    own_slurm.wait(job, is_accounted=False)
    (entry,) = finish(box, list_open_jobs=True)
    assert entry["slurm_job_status"] == "COMPLETED"
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert "out" in box.files_in_last_commit()


def test_a_job_slurmctld_has_forgotten_is_not_guessed_about(box, own_slurm):
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    own_slurm.wait(job)
    wait_until_forgotten(own_slurm, job)
    run_testbed("stop", "slurmdbd", "--dir", str(own_slurm.directory))
    for flags in ({}, {"close_failed_jobs": True}, {"accept_failed_jobs": True}):
        (result,) = finish(box, **flags)
        assert result["status"] == "impossible"
        assert "Whether it has ended is not known" in result["message"]
    assert box.tracked() == [job]
    run_testbed("start", "slurmdbd", "--dir", str(own_slurm.directory))
    assert {res["status"] for res in finish(box)} == {"ok"}


def test_without_slurmctld_nothing_is_lost_and_the_claim_is_settled_later(box, own_slurm):
    run_testbed("stop", "slurmctld", "--dir", str(own_slurm.directory))
    command = ["slurm-schedule", "-o", "out", "sbatch", "--wrap", "echo x > out"]
    env = {"SLURM_CLIENT_TIMEOUT": "2"}
    done = box.cli(*command, code=1, **env)
    assert "it is not known whether a job was submitted" in done.stdout
    done = box.cli(*command, code=1, **env)
    assert "conflicts with" in done.stdout
    run_testbed("start", "slurmctld", "--dir", str(own_slurm.directory))
    box.cli(*command)
    (job,) = box.tracked()
    own_slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
