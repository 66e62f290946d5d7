"""`slurm-reschedule --retry` is stopped, wherever, or meets another: each job is submitted once."""

from __future__ import annotations

import pytest
from datalad.api import slurm_finish, slurm_reschedule

from tests.crash import INTERRUPT, KILL, Crasher
from tests.slurm.sweeps import (
    QUIET,
    SubmissionScenario,
    assert_sound,
    claims,
    jobs_in_history,
    noted_jobs,
)
from tests.slurm.test_concurrency import Crowd
from tests.slurm.test_schedule import finish, schedule

#: The submission, what is moved away before it, and each change of the database.
_TELLING = "sbatch|leftovers|commit"


class RetryScenario(SubmissionScenario):
    """A failed job that is submitted again, stopped each time in a dataset of its own."""

    failed: int

    def run_again(self, where: str) -> None:
        """Run the command again, and assert that there is one new job, with the claim."""
        box = self._box
        assert claims(box) == ["out"], where
        results = self._submit(box, **QUIET)
        assert {res["status"] for res in results} <= {"ok", "notneeded"}, (where, results)
        (job,) = noted_jobs(box)
        assert job != self.failed, (where, results)
        assert claims(box) == ["out"], where
        self._boxes.append((box, where, job))


@pytest.mark.faults
@pytest.mark.parametrize("action", [KILL, INTERRUPT], ids=["kill", "interrupt"])
def test_a_retry_that_is_stopped_anywhere_submits_its_job_once(
    box, slurm, tmp_path, action, count_faults
):
    (box.path / "out").write_text("old\n")
    box.cli("save", "-m", "an output that is put back and unlocked")
    job = schedule(box, ["sbatch", "-o", "/dev/null", "--wrap", "echo new > out; [ -e untracked ]"])
    slurm.wait(job)
    (tmp_path / "copies").mkdir()
    scenario = RetryScenario(
        box,
        slurm,
        lambda box, **how: slurm_reschedule(retry="all", dataset=box.path, **how),
        tmp_path / "copies",
    )
    scenario.failed = job
    crasher = Crasher(tmp_path / "crash", scenario.copies)
    points = crasher.sweep_some(scenario.prepare, scenario.run_again, action, _TELLING, 16)
    scenario.finish_all()
    assert points >= 12
    count_faults("crash points", points)


def test_a_retry_killed_before_sbatch_leaves_the_failed_job_as_it_was(box, slurm, tmp_path):
    job = schedule(box, ["sbatch", "--wrap", "mkdir out; echo half > out/a; exit 1"])
    slurm.wait(job)
    crasher = Crasher(tmp_path / "crash", box.path)
    assert crasher.run(submit_of(box, job), "before sbatch", KILL).code == -9
    assert not (box.path / "out").exists()
    assert box.tracked() == [job]
    assert (box.path / "out/a").read_text() == "half\n"
    assert {res["status"] for res in finish(box, accept_failed_jobs=True)} == {"ok"}
    assert "out/a" in box.files_in_last_commit()
    assert_sound(box, "killed before sbatch")


def submit_of(box, job):
    return lambda: slurm_reschedule(retry=job, dataset=box.path)


@pytest.mark.faults
def test_of_eight_retries_of_all_failed_jobs_each_job_is_submitted_once(
    box, slurm, tmp_path, count_faults
):
    jobs = [schedule(box, ["sbatch", "--wrap", f"echo {n} > {n}; [ -e good ]"], [n]) for n in "abc"]
    slurm.wait(*jobs)
    (box.path / "good").touch()
    crowd = Crowd(tmp_path / "crowd")
    for _ in range(8):
        crowd.add(lambda: slurm_reschedule(retry="all", dataset=box.path, on_failure="ignore"))
    ended = crowd.run()
    assert [(code, said) for code, said in ended if code or "(error)" in said] == []
    listed = slurm.run("squeue", "-h", "-t", "all", "-o", "%A %Z").splitlines()
    submitted = sorted(int(line.split()[0]) for line in listed if line.endswith(f" {box.path}"))
    new = [job for job in submitted if job not in jobs]
    assert len(new) == 3
    assert sorted(noted_jobs(box)) == new
    slurm.wait(*new)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert jobs_in_history(box) == new
    assert_sound(box, "after all")
    count_faults("concurrent processes", 8)


@pytest.mark.faults
def test_of_a_retry_and_a_finish_at_once_one_has_the_job(box, slurm, tmp_path, count_faults):
    job = schedule(box, ["sbatch", "--wrap", "echo x > out; exit 1"])
    slurm.wait(job)
    crowd = Crowd(tmp_path / "crowd")
    crowd.add(lambda: slurm_reschedule(retry=job, dataset=box.path))
    crowd.add(lambda: slurm_finish(job, dataset=box.path, accept_failed_jobs=True))
    (retry_code, retried), (finish_code, finished) = crowd.run()
    if finish_code == 0:
        assert retry_code == 1, retried
        assert "meanwhile" in retried or "no open job" in retried
        assert jobs_in_history(box) == [job]
        assert noted_jobs(box) == []
    else:
        assert retry_code == 0, retried
        assert f"job {job} was submitted again" in finished or "no open job" in finished
        assert jobs_in_history(box) == []
        (again,) = noted_jobs(box)
        assert again != job
    assert_sound(box, "after both")
    count_faults("concurrent processes", 2)
