"""`slurm-schedule --job-id`: tracking a job that is in Slurm already."""

from __future__ import annotations

import subprocess

from datalad.api import slurm_schedule

from tests.conftest import DATALAD, wait_until
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule


def sbatch(box, *args, cwd="."):
    """Submit without this extension."""
    command = ["sbatch", "--parsable", *args]
    done = subprocess.run(command, cwd=box.path / cwd, check=True, capture_output=True, text=True)
    return int(done.stdout)


def adopt(box, job, *outputs):
    return slurm_schedule(
        job_id=job, outputs=list(outputs), dataset=box.path, result_renderer="disabled"
    )


def test_a_job_of_plain_sbatch_is_tracked_and_finished(box, slurm):
    box.script("mkdir -p out; printf '%s' \"$1\" > out/{a}", "sub/job.sh")
    job = sbatch(box, "job.sh", "two words; {x}", cwd="sub")
    slurm.wait(job)
    wait_until(lambda: slurm.state(job))
    head = box.git("rev-parse", "HEAD")
    (result,) = adopt(box, job, "sub/out")
    assert "without quotes" in result["message"]
    assert box.tracked() == [job]
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert "sub/out/{a}" in box.files_in_last_commit()
    assert f"sub/slurm-{job}.out" in box.files_in_last_commit()
    record = record_of(box)
    assert record["pwd"] == "sub"
    assert record["outputs"][0] == "sub/out"
    assert record["cmd"] == "sbatch --parsable job.sh two words; {{x}}"
    assert record["slurm"]["commit"] == head


def test_jobs_lost_with_the_database_are_tracked_again(box, slurm):
    job = schedule(box, ["sbatch", "--array=1-3", "--wrap", "echo x > out"])
    (box.path / ".git/datalad-slurm/tracking.sqlite").unlink()
    assert box.tracked() == []
    slurm.wait(job)
    done = box.cli("slurm-schedule", "--job-id", str(job), "-o", "out")
    assert f"Slurm job {job} is tracked now" in done.stdout
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert len([p for p in box.files_in_last_commit() if p.endswith(".out")]) == 3


def test_what_cannot_be_adopted_is_refused(box, slurm, tmp_path):
    tracked = schedule(box, ["sbatch", "--hold", "--wrap", "true"], ["a"])
    outside = sbatch(box, "--hold", "--chdir", str(tmp_path), "--wrap", "true")
    other = sbatch(box, "--hold", "--wrap", "true")
    for args, said in (
        (["--job-id", str(tracked), "-o", "b"], "is tracked already"),
        (["--job-id", "99999999", "-o", "b"], "knows no job 99999999"),
        (["--job-id", str(outside), "-o", "b"], "outside the dataset"),
        (["--job-id", str(other), "-o", "a/x"], f"conflicts with job {tracked}"),
        (["--job-id", str(other)], "at least one output"),
        (["--job-id", "x", "-o", "b"], "no id of a Slurm job"),
        (["--job-id", str(other), "-o", "b", "sbatch", "job.sh"], "no command with it"),
    ):
        done = box.cli("slurm-schedule", *args, code=1)
        assert said in done.stdout + done.stderr, args
    assert box.tracked() == [tracked]
    slurm.run("scancel", *map(str, (tracked, outside, other)))


def test_a_job_that_two_adopt_at_once_is_tracked_once(box, slurm):
    job = sbatch(box, "--hold", "--wrap", "true")
    command = [DATALAD, "slurm-schedule", "--job-id", str(job)]
    both = [
        subprocess.Popen([*command, "-o", output], cwd=box.path, stdout=subprocess.PIPE, text=True)
        for output in ("a", "b")
    ]
    said = [process.communicate()[0] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert sum(f"job {job} is tracked already" in text for text in said) == 1
    assert box.tracked() == [job]
    slurm.run("scancel", str(job))


def test_a_database_that_is_gone_is_said(box, slurm):
    done = box.cli("slurm-finish", "-l")
    assert "was gone" not in done.stderr
    job = schedule(box, ["sbatch", "--hold", "--wrap", "true"])
    (box.path / ".git/datalad-slurm/tracking.sqlite").unlink()
    done = box.cli("slurm-finish", "-l")
    assert "tracking.sqlite was gone" in done.stderr
    assert "slurm-schedule --job-id" in done.stderr
    assert "was gone" not in box.cli("slurm-finish", "-l").stderr
    slurm.run("scancel", str(job))
