"""`slurm-reschedule --retry`: a failed job is submitted again, and stays one job."""

from __future__ import annotations

from datalad.api import slurm_reschedule

from tests.slurm.sweeps import assert_sound, claims
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule

#: fails as long as there is no file `good`
FAILS_FIRST = "mkdir out; echo half > out/a; [ -e good ] || exit 3; echo whole > out/a"


def retry(box, *jobs, **kwargs):
    return slurm_reschedule(
        retry=list(jobs),
        dataset=box.path,
        result_renderer="disabled",
        on_failure="ignore",
        **kwargs,
    )


def retried(box, *jobs, **kwargs):
    """Submit again and return the new id; all must be well."""
    results = retry(box, *jobs, **kwargs)
    assert {res["status"] for res in results} == {"ok"}, results
    (result,) = [res for res in results if res["action"] == "slurm-reschedule"]
    return result["slurm_job_id"]


def failed(box, slurm, cmd=("sbatch", "job.sh"), outputs=("out",), **kwargs):
    """Schedule a job, and wait until it is known to have ended."""
    job = schedule(box, cmd, outputs, **kwargs)
    slurm.wait(job)
    return job


def test_a_failed_job_that_is_submitted_again_is_one_commit_with_all_attempts(box, slurm):
    box.script(FAILS_FIRST)
    first = failed(box, slurm)
    second = retried(box, first)
    assert second != first
    assert box.tracked() == [second]
    assert claims(box) == ["out"]
    slurm.wait(second)
    (box.path / "good").touch()
    third = retried(box, second)
    slurm.wait(third)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert box.subjects()[0] == f"[DATALAD SLURM RUN] Slurm job {third}: Completed"
    assert (box.path / "out/a").read_text() == "whole\n"
    record = record_of(box)
    assert record["slurm_job_id"] == third
    attempts = record["slurm"]["attempts"]
    assert [each["slurm_job_id"] for each in attempts] == [first, second, third]
    assert [each["attempt"] for each in attempts] == [1, 2, 3]
    assert [each["state"] for each in attempts] == ["FAILED", "FAILED", "COMPLETED"]
    assert [each["exit_code"] for each in attempts] == ["3:0", "3:0", "0:0"]
    assert {"start", "end", "elapsed", "nodes", "cluster"} <= attempts[0].keys()
    assert "cmd" not in attempts[0]
    logs = {f"slurm-{job}.out" for job in (first, second, third)}
    assert logs <= box.files_in_last_commit()
    assert set(record["slurm_outputs"]) >= logs
    assert attempts[0]["logs"] == [f"slurm-{first}.out"]
    assert box.status() == "?? good"
    assert_sound(box, "after three attempts")
