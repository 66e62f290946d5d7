"""`slurm-report` tells of jobs that a real Slurm has run."""

from __future__ import annotations

import json

from datalad.api import slurm_report

from tests.slurm.test_retry import FAILS_FIRST, failed, retried
from tests.slurm.test_schedule import finish, schedule


def told(box, *args, **kwargs):
    return slurm_report(*args, dataset=box.path, result_renderer="disabled", **kwargs)


def jobs(box):
    return {res["slurm_job_id"]: res for res in told(box) if "label" in res}


def test_a_chain_with_an_array_is_told_with_what_slurm_has_accounted(box, slurm, monkeypatch):
    box.script("x=0; for ((i=0; i<600000; i++)); do ((x+=i)); done; sleep 2; echo 1 > first")
    box.script("sleep $SLURM_ARRAY_TASK_ID; echo $SLURM_ARRAY_TASK_ID > out-$SLURM_ARRAY_TASK_ID",
               "array.sh")  # fmt: skip
    one = schedule(box, ["sbatch", "-J", "one", "-c", "2", "--mem=100M", "job.sh"], ["first"])
    many = schedule(
        box, ["sbatch", "--array=1-3", "array.sh"], ["out-*"], inputs=["first"]
    )  # fmt: skip
    slurm.wait(one, many)
    assert {res["status"] for res in finish(box)} == {"ok"}
    held = schedule(box, ["sbatch", "--hold", "-J", "later", "job.sh"], ["later"])
    found = jobs(box)
    assert list(found) == [one, many, held]

    plain = found[one]
    said = slurm.run("sacct", "-nXP", "-j", str(one), "-o", "TotalCPU,CPUTimeRAW,ElapsedRaw")
    _, allocated, elapsed = said.split("|")
    assert (plain["cpu_seconds_allocated"], plain["ran"]) == (int(allocated), int(elapsed))
    assert 0 < plain["cpu_efficiency"] < 1
    assert plain["memory_asked"] == 100 * 2**20
    assert plain["waited"] >= 0

    array = found[many]
    said = slurm.run("sacct", "-nXP", "-j", str(many), "-o", "CPUTimeRAW")
    # the time of all tasks, which have run side by side
    assert array["cpu_seconds_allocated"] == sum(map(int, said.split()))
    assert array["tasks"] == 3

    assert (found[held]["slurm_state"], found[held]["commit"]) == ("OPEN", None)
    slurm.run("scancel", str(held))
    # of Slurm nothing is needed
    monkeypatch.setenv("SLURM_CONF", "/nonexistent")
    assert list(jobs(box)) == [one, many, held]
    _, *steps = told(box, history=str(box.path / "out-2"))
    assert [step.get("slurm_job_id") for step in steps[:2]] == [many, one]
    lines = box.cli("slurm-report", "HEAD").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == [str(one), str(many)]


def test_attempts_that_failed_are_part_of_what_a_job_cost(box, slurm):
    box.script(f"sleep 1; {FAILS_FIRST}")
    first = failed(box, slurm)
    (box.path / "good").touch()
    second = retried(box, first)
    slurm.wait(second)
    finish(box)
    box.script("exit 3", "bad.sh")
    bad = failed(box, slurm, ("sbatch", "bad.sh"), ("bad",))
    finish(box, accept_failed_jobs=True)
    found = jobs(box)
    assert found[second]["attempts"] == 2
    assert [run["slurm_job_id"] for run in found[second]["runs"]] == [first, second]
    assert [run["slurm_state"] for run in found[second]["runs"]] == ["FAILED", "COMPLETED"]
    assert (found[bad]["slurm_state"], found[bad]["exit_code"]) == ("FAILED", "3:0")
    done = box.cli("-f", "json", "slurm-report", "--state", "completed")
    job, totals = map(json.loads, done.stdout.splitlines())
    assert job["slurm_job_id"] == second
    assert totals["cpu_seconds_in_vain"] >= 1
