"""slurmctld restarts, or forgets all jobs; on a testbed that only this module breaks."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from tests.conftest import TESTBED, Slurm, wait_until
from tests.slurm.test_outage import run_testbed
from tests.slurm.test_schedule import finish, schedule


@pytest.fixture(scope="module")
def own_testbed(tmp_path_factory):
    """A Slurm that only this module breaks."""
    directory = tmp_path_factory.mktemp("tb")
    run_testbed("up", "--dir", str(directory), "--nodes", "2")
    yield directory
    run_testbed("down", "--dir", str(directory), "--wipe")


@pytest.fixture
def own(own_testbed, monkeypatch):
    run_testbed("up", "--dir", str(own_testbed))
    monkeypatch.setenv("SLURM_CONF", str(own_testbed / "etc" / "slurm.conf"))
    return Slurm(own_testbed)


def daemon(own, *args):
    run_testbed(*args, "--dir", str(own.directory))


def restart(own):
    """Return shell words that stop slurmctld and start it a little later, in the background."""
    command = f"{sys.executable} {TESTBED}"
    place = f"--dir {own.directory} > /dev/null 2>&1"
    return f"{command} stop slurmctld {place}; (sleep 1; {command} start slurmctld {place}) &"


@pytest.mark.parametrize("when", ["before", "after"])
def test_slurmctld_that_restarts_in_the_middle_of_a_submission_loses_no_job(
    box, own, stand_in, when
):
    submit = 'said=$($real "$@"); status=$?'
    steps = (restart(own), submit) if when == "before" else (submit, restart(own))
    stand_in("sbatch", "\n".join((*steps, 'echo "$said"; exit $status')))
    done = box.cli("slurm-schedule", "-o", "out", "sbatch", "--wrap", "echo x > out", code=None)
    wait_until(lambda: own.run("scontrol", "ping").count("UP"))
    stand_in("sbatch", 'exec $real "$@"')
    held = own.run("squeue", "-h", "-t", "all", "-o", "%A %Z").splitlines()
    jobs = [int(line.split()[0]) for line in held if line.endswith(str(box.path))]
    assert box.tracked() == jobs, done.stdout + done.stderr
    assert len(jobs) == (done.returncode == 0)
    if jobs:
        own.wait(*jobs)
        assert {res["status"] for res in finish(box)} == {"ok"}
        assert "out" in box.files_in_last_commit()


def test_slurmctld_that_restarts_in_the_middle_of_a_finish_ends_no_job(box, own, stand_in):
    ended = schedule(box, ["sbatch", "--wrap", "echo x > a"], ["a"])
    running = schedule(box, ["sbatch", "--wrap", "sleep 600"], ["b"])
    own.wait(ended)
    own.wait(running, until="RUNNING".__eq__)
    stand_in("squeue", f'{restart(own)}\nexec $real "$@"')
    finish(box, accept_failed_jobs=True)
    stand_in("squeue", 'exec $real "$@"')
    wait_until(lambda: own.run("scontrol", "ping").count("UP"))
    finish(box)
    assert box.tracked() == [running]
    assert [s for s in box.subjects(9) if "SLURM RUN" in s] == [
        f"[DATALAD SLURM RUN] Slurm job {ended}: Completed"
    ]
    own.run("scancel", str(running))


def forget_all_jobs(own):
    """Let slurmctld lose its state, as a site does that sets it up anew: ids begin again."""
    daemon(own, "stop", "slurmctld")
    shutil.rmtree(own.directory / "state" / "slurmctld")
    (own.directory / "state" / "slurmctld").mkdir(mode=0o700)
    daemon(own, "start", "slurmctld")


def submit_up_to(own, job_id, *args):
    while own.sbatch("-o", "/dev/null", *args) < job_id:
        pass


def test_a_job_that_got_the_id_of_a_tracked_one_is_not_taken_for_it(box, own):
    ended = schedule(box, ["sbatch", "--wrap", "echo x > a"], ["a"])
    lost = schedule(box, ["sbatch", "--wrap", "echo half > b; sleep 600"], ["b"])
    own.wait(ended)
    own.wait(lost, until="RUNNING".__eq__)
    wait_until(lambda: own.state(ended) == "COMPLETED")
    forget_all_jobs(own)
    submit_up_to(own, lost, "--hold", "--wrap", "exit 3")
    # of the same ids, slurmctld knows new jobs only, the accounting both
    results = finish(box)
    states = {res["slurm_job_id"]: res.get("slurm_state") for res in results if "commit" not in res}
    assert states == {lost: "CANCELLED"}
    assert [s for s in box.subjects(9) if "SLURM RUN" in s] == [
        f"[DATALAD SLURM RUN] Slurm job {ended}: Completed"
    ]
    own.run("scontrol", "release", str(lost))
    own.run("scontrol", "update", f"JobId={lost}", "TimeLimit=1")
    own.wait(lost)
    (result,) = finish(box)
    assert f"{lost}: CANCELLED" in result["message"]
    own.run("scancel", "-u", str(os.getuid()))
