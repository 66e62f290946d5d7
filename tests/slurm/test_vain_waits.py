"""Jobs, and tasks of them, that Slurm will never start, as what they wait for did not end well."""

from __future__ import annotations

import pytest

from tests.conftest import wait_until
from tests.slurm.pipelines import release
from tests.slurm.sweeps import claims
from tests.slurm.test_schedule import finish, schedule


@pytest.fixture
def half_in_vain(box, slurm):
    """Return an array of three tasks, each of which waits for one of another; the second fails."""
    box.script("mkdir -p one; n=$SLURM_ARRAY_TASK_ID; echo > one/$n; [ $n != 2 ]", "one.sh")
    box.script("mkdir -p two; echo > two/$SLURM_ARRAY_TASK_ID", "two.sh")
    one = schedule(box, "sbatch --hold --array=1-3 one.sh", ["one/%a"])
    two = schedule(box, f"sbatch --dependency=aftercorr:{one} --array=1-3 two.sh", ["two/%a"])
    release(slurm, one)
    asked = ("squeue", "-h", "-r", "-t", "all", "-o", "%i %T %r", "-j", str(two))
    vain = f"{two}_2 PENDING DependencyNeverSatisfied"
    wait_until(
        lambda: (
            sorted(slurm.run(*asked).splitlines())
            == [f"{two}_1 COMPLETED None", vain, f"{two}_3 COMPLETED None"]
        )
    )
    return two


def state(slurm, task):
    return slurm.run("squeue", "-h", "-t", "all", "-o", "%T", "-j", task)


@pytest.mark.parametrize("how", ["partial", "by name"])
def test_tasks_that_never_start_are_cancelled_when_they_are_closed(box, slurm, half_in_vain, how):
    job = half_in_vain
    if how == "partial":
        results = finish(box, job, partial=True, close_failed_jobs=True)
    else:
        results = finish(box, f"{job}_2", close_failed_jobs=True)
    assert {res["status"] for res in results} == {"ok"}
    said = [res["message"] for res in results if res["action"] == "finish"]
    assert len(said) == 1
    assert said[0].startswith("Cancelled and closed a job that would never have started.")
    assert f"{job}_2: PENDING" in said[0]
    assert state(slurm, f"{job}_2") == "CANCELLED"
    left = [] if how == "partial" else ["two/1", "two/3"]
    assert sorted(path for path in claims(box) if path.startswith("two")) == left


def test_a_task_that_cannot_be_cancelled_stays_open(box, slurm, half_in_vain, stand_in):
    job = half_in_vain
    stand_in("scancel", "echo no >&2; exit 1")
    results = finish(box, job, partial=True, close_failed_jobs=True)
    (told,) = [res for res in results if res["action"] == "finish"]
    assert told["status"] == "error"
    assert f"Slurm job {job} could not be cancelled, and stays open: " in told["message"]
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}_[1,3]: Completed"]
    assert [path for path in claims(box) if path.startswith("two")] == ["two/2"]
    assert state(slurm, f"{job}_2") == "PENDING"
    stand_in("scancel", 'exec $real "$@"')
    assert {res["status"] for res in finish(box, job, close_failed_jobs=True)} == {"ok"}
    assert state(slurm, f"{job}_2") == "CANCELLED"
    assert job not in box.tracked()


def test_a_task_that_has_begun_meanwhile_stays_open(box, slurm, half_in_vain, monkeypatch):
    """Somebody lets it start after all, right before it is cancelled."""
    from datalad_slurm.workflow import vain_waits

    job, real = half_in_vain, vain_waits.pending.cancel

    def begun_first(*args):
        slurm.run("scontrol", "update", f"jobid={job}_2", "dependency=")
        slurm.wait(f"{job}_2", until="COMPLETED".__eq__)
        real(*args)

    monkeypatch.setattr(vain_waits.pending, "cancel", begun_first)
    (told,) = finish(box, f"{job}_2", close_failed_jobs=True)
    assert told["status"] == "error"
    assert "could not be cancelled, and stays open: " in told["message"]
    assert {res["status"] for res in finish(box, job)} == {"ok"}
    assert {"two/1", "two/2", "two/3"} <= box.files_in_last_commit()


def test_a_job_that_never_starts_is_told_and_cancelled_when_it_is_closed(chain, slurm):
    one = schedule(chain, "sbatch --hold a.sh 3", ["a"])
    two = schedule(chain, "sbatch b.sh", ["b"], inputs=["a"])
    three = schedule(chain, "sbatch c.sh", ["c"], inputs=["b"])
    release(slurm, one)
    slurm.wait(one)
    asked = ("squeue", "-h", "-o", "%r", "-j", str(two))
    wait_until(lambda: slurm.run(*asked) == "DependencyNeverSatisfied")
    listed = {res["slurm_job_id"]: res for res in finish(chain, list_open_jobs=True)}
    assert [listed[job]["never_starts"] for job in (one, two, three)] == [False, True, True]
    assert listed[three]["reason"] == "DependencyNeverSatisfied"
    results = {res["slurm_job_id"]: res["message"] for res in finish(chain)}
    assert f"It will never start, as job {one}, for which it waits" in results[two]
    assert f"It will never start, as job {two}, for which it waits" in results[three]
    # accepting what the first has left does not accept what has not run
    assert {res["status"] for res in finish(chain, two, accept_failed_jobs=True)} == {"impossible"}
    assert {res["status"] for res in finish(chain, close_failed_jobs=True)} == {"ok"}
    assert chain.tracked() == []
    assert slurm.run("squeue", "-h", "-t", "PD", "-j", f"{two},{three}") == ""
    slurm.wait(two, three, until=lambda word: word == "CANCELLED")
