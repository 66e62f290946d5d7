"""Array tasks with outputs of their own: some of them run again from a record."""

from __future__ import annotations

import os

from datalad.api import slurm_reschedule

from tests.slurm.array_tasks import OUTPUTS, SCRIPT, partly
from tests.slurm.sweeps import QUIET, claims
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule


def test_a_commit_of_some_tasks_is_run_again_for_these(box, slurm, array):
    job = array("all")
    partly(box)
    box.script(SCRIPT.rpartition("\n")[0] + "\ntrue")
    (res,) = [
        r for r in slurm_reschedule("HEAD~1", dataset=box.path, **QUIET)
        if r["action"] == "slurm-reschedule"
    ]  # fmt: skip
    assert res["status"] == "impossible"  # the failed tasks write 'all' as well
    assert f"conflicts with job {job}" in res["message"]
    finish(box, close_failed_jobs=True)
    (res,) = [
        r for r in slurm_reschedule("HEAD~1", dataset=box.path, **QUIET)
        if r["action"] == "slurm-reschedule"
    ]  # fmt: skip
    again = res["slurm_job_id"]
    assert res["cmd"] == "sbatch --array=1-2,4,6 job.sh"
    assert res["outputs"] == [*OUTPUTS, "all"]
    slurm.wait(again)
    finish(box)
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {again}: Completed"]
    assert {f"log-{again}_00{index}.txt" for index in (1, 2, 4, 6)} <= box.files_in_last_commit()
    assert "array_tasks" not in record_of(box)["slurm"]


def test_the_parts_of_an_array_are_run_again_as_one(box, slurm, array):
    job = array("all")
    before = box.git("rev-parse", "HEAD")
    partly(box)
    finish(box, accept_failed_jobs=True)
    results = slurm_reschedule(since=before, with_failed_jobs=True, dataset=box.path, **QUIET)
    first, last = [res for res in results if res["action"] == "slurm-reschedule"]
    assert (first["status"], last["status"]) == ("notneeded", "ok")
    assert "its tasks are run with those of commit" in first["message"]
    assert last["cmd"] == "sbatch --array=1-6 job.sh"
    again = last["slurm_job_id"]
    slurm.wait(again)
    finish(box, close_failed_jobs=True, partial=True)
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {again}_[1-2,4,6]: Completed"]
    commits = box.git("log", "-2", "--skip=1", "--format=%H").splitlines()
    assert record_of(box)["chain"] == commits[::-1]
    assert job != again


def test_parts_of_which_one_has_run_again_are_run_again_as_one(box, slurm, array):
    before = box.git("rev-parse", "HEAD")
    array("all")
    partly(box)
    box.script(SCRIPT.rpartition("\n")[0] + "\ntrue")
    (again,) = [
        res["slurm_job_id"]
        for res in slurm_reschedule(
            retry="all", retry_with="--mem=90M", dataset=box.path, assume_ready="outputs", **QUIET
        )
        if res["action"] == "slurm-reschedule"
    ]
    slurm.wait(again)
    finish(box)
    results = slurm_reschedule(since=before, dataset=box.path, **QUIET)
    (res,) = [r for r in results if r["action"] == "slurm-reschedule" and r["status"] == "ok"]
    assert res["cmd"] == "sbatch --array=1-6 --mem=90M job.sh"
    (skipped,) = [r for r in results if r["status"] == "notneeded"]
    assert "its tasks are run with those of commit" in skipped["message"]


def test_a_repeated_command_with_ids_in_its_outputs_is_run_again_once(box, slurm):
    before = box.git("rev-parse", "HEAD")
    for _ in range(2):
        job = schedule(
            box, "sbatch --wrap 'echo > out; echo > log-$SLURM_JOB_ID'", ["out", "log-%j"]
        )
        slurm.wait(job)
        finish(box)
    results = slurm_reschedule(since=before, dataset=box.path, **QUIET)
    found = [res["status"] for res in results if res["action"] == "slurm-reschedule"]
    assert found == ["notneeded", "ok"]
    assert len(box.tracked()) == 1


def test_a_commit_of_a_whole_array_is_run_again_as_recorded(box, slurm, array):
    array()
    finish(box, accept_failed_jobs=True)
    assert record_of(box)["slurm"]["output_patterns"] == OUTPUTS
    (res,) = [
        r for r in slurm_reschedule(dataset=box.path, **QUIET) if r["action"] == "slurm-reschedule"
    ]
    assert res["cmd"] == "sbatch --array=1-6 job.sh"
    slurm.run("scancel", str(res["slurm_job_id"]))


def test_a_part_whose_command_hides_sbatch_is_refused(box, slurm):
    box.script(SCRIPT)
    (box.path / "wrapper").write_text("#!/bin/sh\nexec sbatch --array=1-6 job.sh\n")
    (box.path / "wrapper").chmod(0o755)
    job = schedule(box, ["./wrapper"], ["sub-%a"])
    slurm.wait(job)
    partly(box)
    finish(box, close_failed_jobs=True)
    (res,) = slurm_reschedule(dataset=box.path, **QUIET)
    assert res["status"] == "impossible"
    assert "the commit holds tasks 1-2,4,6 of an array only" in res["message"]


def test_percent_signs_of_earlier_records_stand_for_themselves(box, slurm):
    name = "100%a-%j"
    job = schedule(box, ["sbatch", "--wrap", f"echo x > {name}"], [name.replace("%", "%%")])
    slurm.wait(job)
    finish(box)
    assert name in box.files_in_last_commit()
    message = box.git("log", "-1", "--format=%B")
    earlier = message.replace('"output_patterns"', '"declared_outputs"').replace("%%", "%")
    assert earlier != message
    box.git("commit", "-q", "--amend", "-m", earlier)
    (res,) = [
        r for r in slurm_reschedule(dataset=box.path, **QUIET) if r["action"] == "slurm-reschedule"
    ]
    assert claims(box) == [name]
    slurm.run("scancel", str(res["slurm_job_id"]))


def test_arrays_that_share_a_log_leave_it_to_the_last_task(box, slurm):
    box.script(SCRIPT)
    job = schedule(
        box, ["sbatch", "--array=1-6", "-o", "one.log", "--open-mode=append", "job.sh"], ["sub-%a"]
    )  # fmt: skip
    slurm.wait(job)
    partly(box)
    assert "one.log" not in box.files_in_last_commit()
    finish(box, accept_failed_jobs=True)
    assert "one.log" in box.files_in_last_commit()
    assert os.path.islink(box.path / "one.log")
