"""`slurm-finish --wait`, and jobs that finish others."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from datalad.api import slurm_schedule

from tests.conftest import DATALAD, wait_until
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule


@pytest.fixture
def jobs(box):
    """Return a dataset with a script that writes what it is told to, and ends as it is told to."""
    box.script('sleep "${3:-0}"; echo "$1" >> "$1"; exit "${2:-0}"')
    return box


def release(slurm, *jobs):
    slurm.run("scontrol", "release", *map(str, jobs))


def started(box, *args):
    """Start datalad and return the process."""
    return subprocess.Popen(
        [DATALAD, *args], cwd=box.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_jobs_are_finished_as_they_end_and_failed_ones_are_named(jobs, slurm):
    first = schedule(jobs, "sbatch job.sh a", ["a"])
    held = schedule(jobs, "sbatch --hold job.sh b", ["b"])
    failed = schedule(jobs, "sbatch job.sh c 3", ["c"])
    next_one = schedule(jobs, "sbatch job.sh d", ["d"], inputs=["b"])
    doomed = schedule(jobs, "sbatch --hold job.sh e 3", ["e"])
    in_vain = schedule(jobs, "sbatch job.sh f", ["f"], inputs=["e"])
    release(slurm, doomed)
    process = started(jobs, "-f", "json", "slurm-finish", "--wait")
    try:
        wait_until(lambda: str(first) in jobs.subjects()[0])
        assert process.poll() is None
        assert failed in jobs.tracked()
        release(slurm, held)
        out, err = process.communicate(timeout=90)
    finally:
        process.kill()
    results = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 1, err
    finished = [res["slurm_job_id"] for res in results if res["action"] == "save"]
    assert sorted(finished) == [first, held, next_one]
    assert finished.index(held) < finished.index(next_one)
    kept = [res["slurm_job_id"] for res in results if res["status"] == "impossible"]
    assert sorted(kept) == [failed, doomed, in_vain]
    assert jobs.tracked() == [failed, doomed, in_vain]


def test_waiting_ends_at_its_time(jobs, slurm):
    held = schedule(jobs, "sbatch --hold job.sh a", ["a"])
    begun = time.monotonic()
    done = jobs.cli("slurm-finish", "--wait", "--timeout", "2", code=1)
    assert time.monotonic() - begun < 30
    assert f"job {held} has not been finished within 2 s, and stays open" in done.stdout
    assert jobs.tracked() == [held]
    slurm.run("scancel", str(held))


def test_waiting_can_be_interrupted_and_others_can_finish_meanwhile(jobs, slurm):
    held = schedule(jobs, "sbatch --hold job.sh a", ["a"])
    done = schedule(jobs, "sbatch job.sh b", ["b"])
    process = started(jobs, "slurm-finish", "--wait")
    wait_until(lambda: str(done) in jobs.subjects()[0])
    # nothing is locked while it sleeps
    finish(jobs, held)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"waiting was interrupted; open are jobs {held}" in out, err
    assert jobs.tracked() == [held]
    process = started(jobs, "slurm-finish", "--wait")
    slurm.run("scancel", str(held))
    out, err = process.communicate(timeout=60)
    assert f"{held}: CANCELLED" in out, err
    # one that somebody else has finished is waited for no more
    process = started(jobs, "slurm-finish", "--wait")
    finish(jobs, held, close_failed_jobs=True)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err


def test_slurm_is_asked_less_and_less_often(jobs, slurm, monkeypatch, stand_in, tmp_path):
    from datalad_slurm.workflow import wait

    class Clock:
        """Stands still but for the pauses."""

        now, pauses = 0.0, []
        time = staticmethod(time.time)

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            self.pauses.append(seconds)
            self.now += seconds

    held = schedule(jobs, "sbatch --hold job.sh a", ["a"])
    for program in ("squeue", "sacct"):
        stand_in(program, f'echo {program} >> {tmp_path}/calls; exec $real "$@"')
    clock = Clock()
    monkeypatch.setattr(wait, "time", clock)
    finish(jobs, wait=True, timeout=75)
    assert clock.pauses[:3] == [1, 1.5, 2.25]
    assert clock.pauses[-4:-1] == [10, 10, 10]
    # and nobody else but slurmctld, as long as that says that the job waits
    assert (tmp_path / "calls").read_text().split() == ["squeue"] * (len(clock.pauses) + 1)
    slurm.run("scancel", str(held))


def test_an_outage_is_waited_out_and_said_once(jobs, slurm, stand_in, tmp_path):
    job = schedule(jobs, "sbatch job.sh a", ["a"])
    slurm.wait(job)
    down = tmp_path / "down"
    down.touch()
    said = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    for program in ("squeue", "sacct", "scontrol"):
        stand_in(program, f'[ ! -e {down} ] || {{ echo "{said}" >&2; exit 1; }}; exec $real "$@"')
    told = tmp_path / "told"
    with told.open("w") as file:
        process = subprocess.Popen(
            [DATALAD, "slurm-finish", "--wait"], cwd=jobs.path, stdout=file, stderr=file
        )
    wait_until(lambda: "Slurm does not answer; waiting until it does" in told.read_text())
    time.sleep(4)
    assert process.poll() is None
    down.unlink()
    assert process.wait(60) == 0, told.read_text()
    assert told.read_text().count("Slurm does not answer") == 1
    assert jobs.tracked() == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--timeout", "5"], "--timeout is for --wait"),
        (["--wait", "--timeout", "soon"], "must be a number of seconds"),
        (["--wait", "-l"], "only lists"),
    ],
)
def test_what_makes_no_sense_is_refused(jobs, args, said):
    done = jobs.cli("slurm-finish", *args, code=None)
    assert done.returncode
    assert said in done.stdout + done.stderr


def test_without_open_jobs_there_is_nothing_to_wait_for(jobs):
    assert "there are no open jobs" in jobs.cli("slurm-finish", "--wait").stdout


def test_a_job_is_finished_and_pushed_by_another(jobs, slurm, tmp_path):
    jobs.cli("create-sibling", "-s", "store", str(tmp_path / "store"))
    results = slurm_schedule(
        "sbatch --array=1-3 job.sh a", dataset=jobs.path, outputs=["a"], then_push="store",
        result_renderer="disabled",
    )  # fmt: skip
    job, helper = results[0]["slurm_job_id"], results[-1]["finish_job_id"]
    facts = slurm.run("scontrol", "show", "job", str(helper))
    assert f"JobName=finish-{job}" in facts
    wait_until(lambda: not jobs.tracked())
    slurm.wait(helper)
    assert slurm.state(helper) == "COMPLETED", Path(results[-1]["finish_log"]).read_text()
    commit = jobs.git("rev-parse", "HEAD")
    assert record_of(jobs)["slurm_job_id"] == job
    pushed = subprocess.run(
        ["git", "-C", str(tmp_path / "store"), "log", "--all", "--format=%H"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert commit in pushed.stdout.split()
    # its log is not in the working tree
    assert jobs.status() == ""


def test_a_failed_job_is_told_of_in_the_log_of_the_one_that_was_to_finish_it(jobs, slurm):
    jobs.git("config", "datalad.slurm.finish-job-options", "--comment='two words' --mem=500M")
    args = ["-f", "json", "slurm-schedule", "-o", "a", "--then-finish", "sbatch", "job.sh", "a"]
    done = jobs.cli(*args, "3")
    helper = json.loads(done.stdout.splitlines()[-1])
    facts = slurm.run("scontrol", "show", "job", str(helper["finish_job_id"]))
    assert "Comment=two words" in facts
    slurm.wait(helper["finish_job_id"])
    wait_until(lambda: slurm.state(helper["finish_job_id"]) == "FAILED")
    text = Path(helper["finish_log"]).read_text()
    assert f"{helper['slurm_job_id']}: FAILED" in text
    assert jobs.tracked() == [helper["slurm_job_id"]]


def test_stages_that_are_finished_each_by_a_job_come_in_their_order(jobs, slurm):
    kwargs = {"dataset": jobs.path, "then_finish": True, "result_renderer": "disabled"}
    ids = []
    for inputs, output in (([], "a"), (["a"], "b"), (["b"], "c")):
        cmd = f"sbatch job.sh {output}"
        results = slurm_schedule(cmd, inputs=inputs, outputs=[output], **kwargs)
        ids.append(results[0]["slurm_job_id"])
    wait_until(lambda: not jobs.tracked())
    subjects = jobs.subjects(3)
    assert [int(subject.split()[5].rstrip(":")) for subject in subjects] == ids[::-1]


def test_without_the_job_that_finishes_the_other_stays_tracked(jobs, slurm):
    jobs.git("config", "datalad.slurm.finish-job-options", "--partition=nowhere")
    done = jobs.cli("slurm-schedule", "-o", "a", "--then-finish", "sbatch", "job.sh", "a", code=1)
    (job,) = jobs.tracked()
    assert f"job {job} is submitted and tracked, but not the job that was to" in done.stdout
    assert "invalid partition" in done.stdout


def test_a_sibling_that_is_not_there_is_refused_first(jobs, slurm):
    done = jobs.cli(
        "slurm-schedule", "-o", "a", "--then-push", "nobody", "sbatch", "job.sh", "a", code=1
    )
    assert "has no sibling 'nobody' to push to" in done.stdout
    assert jobs.tracked() == []


def test_waiting_is_for_whole_jobs(jobs, slurm):
    job = schedule(jobs, "sbatch --array=1-2 --wrap 'echo > o-$SLURM_ARRAY_TASK_ID'", ["o-%a"])
    done = jobs.cli("slurm-finish", "--wait", f"{job}_1", code=1)
    assert "--wait waits for whole jobs, not for tasks of them" in done.stderr
    assert jobs.tracked() == [job]
    assert {res["status"] for res in finish(jobs, job, wait=True, timeout=60)} == {"ok"}


def test_a_job_that_waits_for_the_commit_of_another_one_names_it(chain, slurm):
    one = schedule(chain, "sbatch a.sh", ["a"])
    two = schedule(chain, "sbatch b.sh", ["b"], inputs=["a"])
    done = chain.cli("slurm-finish", "--wait", "--timeout", "15", str(two), code=1)
    said = f"job {two} has ended; it waits until job {one} is committed, whose output it has read"
    assert done.stderr.count(said) == 1
    assert {res["status"] for res in finish(chain, wait=True, timeout=30)} == {"ok"}
