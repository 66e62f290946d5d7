"""Jobs that never start are run again, when what they wait for is done after all."""

from __future__ import annotations

import pytest

from tests.conftest import wait_until
from tests.slurm.pipelines import dependency, release
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_retry import retry
from tests.slurm.test_schedule import finish, schedule


def never_starts(slurm, job):
    asked = ("squeue", "-h", "-o", "%r", "-j", str(job))
    return lambda: slurm.run(*asked) == "DependencyNeverSatisfied"


@pytest.fixture
def in_vain(chain, slurm):
    """Return a job that fails, and another one that waits for it."""
    one = schedule(chain, "sbatch --hold a.sh 3", ["a"])
    two = schedule(chain, "sbatch b.sh", ["b"], inputs=["a"])
    release(slurm, one)
    slurm.wait(one)
    slurm.wait(one)
    wait_until(never_starts(slurm, two))
    return one, two


@pytest.mark.parametrize("which", ["by name", "all"])
def test_a_job_runs_again_when_what_it_waits_for_was_accepted(chain, slurm, in_vain, which):
    one, two = in_vain
    finish(chain, one, accept_failed_jobs=True)
    made = chain.git("rev-parse", "HEAD")
    (told,) = finish(chain)
    assert f"--retry {two}" in told["message"]
    (result,) = retry(chain, two if which == "by name" else "all")
    assert result["status"] == "ok"
    again = result["slurm_job_id"]
    slurm.wait(two, until="CANCELLED".__eq__)
    assert {res["status"] for res in finish(chain, wait=True, timeout=40)} == {"ok"}
    record = record_of(chain)["slurm"]
    told = [(each["slurm_job_id"], each["state"]) for each in record["attempts"]]
    assert told == [(two, "CANCELLED"), (again, "COMPLETED")]
    assert record["depends_on"][0]["commit"] == made


def test_a_job_is_left_alone_as_long_as_it_would_wait_in_vain_again(chain, slurm, in_vain):
    one, two = in_vain
    (result,) = retry(chain, two)
    assert result["status"] == "impossible"
    assert f"it waits for job {one}, which did not end well; run that" in result["message"]
    assert never_starts(slurm, two)()
    results = retry(chain, "all")
    again = next(res["slurm_job_id"] for res in results if res["action"] == "slurm-reschedule"
                 and res["status"] == "ok")  # fmt: skip
    assert dependency(slurm, two).startswith(f"afterok:{again}")
    slurm.run("scancel", str(two), str(again))


def test_a_job_whose_predecessor_was_closed_is_not_run_again(chain, slurm, in_vain):
    one, two = in_vain
    finish(chain, one, close_failed_jobs=True)
    (result,) = retry(chain, two)
    assert result["status"] == "impossible"
    assert f"'a' was an output of job {one}, which was closed meanwhile" in result["message"]
    assert never_starts(slurm, two)()
    slurm.run("scancel", str(two))


def test_a_job_that_waits_for_one_that_nobody_tracks_is_not_run_again(box, slurm):
    one = slurm.run("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap", "exit 1")
    two = schedule(box, f"sbatch --dependency=afterok:{one} --wrap 'echo > x'", ["x"])
    release(slurm, one)
    wait_until(never_starts(slurm, two))
    (result,) = retry(box, two)
    assert result["status"] == "impossible"
    assert "it waits for a job that did not end well, and that is not tracked" in result["message"]
    assert never_starts(slurm, two)()
    slurm.run("scancel", str(two))


def test_tasks_run_again_one_by_one_can_be_waited_for_by_running_again(box, slurm):
    box.script("n=$SLURM_ARRAY_TASK_ID; echo $n > o-$n; [ -e good ] && sleep 2", "a.sh")
    one = schedule(box, "sbatch --hold --array=1-2 a.sh", ["o-%a"])
    two = schedule(box, "sbatch --wrap 'cat o-* > b'", ["b"], inputs=["o-1", "o-2"])
    release(slurm, one)
    slurm.wait(one)
    slurm.wait(one)
    box.script("", "good")
    attempts = [
        res["slurm_job_id"]
        for task in (1, 2)
        for res in retry(box, f"{one}_{task}")
        if res["action"] == "slurm-reschedule"
    ]
    wait_until(never_starts(slurm, two))
    said = next(res["message"] for res in finish(box) if res["slurm_job_id"] == two)
    assert "that did not end well, and that was run again since" in said
    release(slurm, *attempts)
    slurm.wait(*attempts)
    slurm.wait(*attempts)
    (result,) = [res for res in retry(box, two) if res["action"] == "slurm-reschedule"]
    assert result["status"] == "ok"
    assert {res["status"] for res in finish(box, wait=True, timeout=40)} == {"ok"}
    assert (box.path / "b").read_text() == "1\n2\n"


def test_what_cannot_be_told_to_wait_keeps_nothing_else_from_it(chain, slurm):
    one = schedule(chain, "sbatch --hold a.sh 3", ["a"])
    two = schedule(chain, "sbatch b.sh", ["b"], inputs=["a"])
    three = schedule(chain, "sbatch --wrap 'cp a d'", ["d"], inputs=["a"])
    other = schedule(chain, "sbatch --wrap 'exit 1'", ["e"])
    release(slurm, one)
    slurm.wait(one, other)
    slurm.wait(one, other)
    slurm.run("scontrol", "hold", str(two))
    slurm.run("scontrol", "update", f"jobid={two}", "dependency=")
    done = chain.cli("slurm-reschedule", "--retry", str(one), "--retry", str(other), code=1)
    assert f"job {two} waited for job {one}, and cannot be made to wait" in done.stdout
    open_now = chain.tracked()
    assert not {one, other} & {*open_now}
    assert dependency(slurm, three).startswith(f"afterok:{open_now[0]}")
    slurm.run("scancel", *map(str, open_now))
