"""What may happen to a job before it ends; on a testbed of its own, whose nodes die."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager

import pytest

from tests.conftest import Slurm, wait_until
from tests.slurm.test_outage import run_testbed
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_retry import retried
from tests.slurm.test_schedule import finish, schedule

#: BatchStartTimeout: until slurmctld believes a node that it has lost a job (seconds)
_UP = ("--requeue-delay", "7", "--nodes", "2", "--conf", "BatchStartTimeout=1")
#: ends at once when it runs for the second time
_AGAIN = """
[ "$SLURM_RESTART_COUNT" ] || { echo $PPID $$ > pids.$SLURM_JOB_ID; sleep 600; }
echo x > $1"""
_UNTIL_GO = "until [ -e go ]; do sleep 0.2; done"

#: what is said of an ending
_REASONS = {
    "PREEMPTED": "preempted for another job on n1",
    "NODE_FAIL": "a node failed on n1",
    "DEADLINE": "it could not be done before its deadline",
}


@pytest.fixture(scope="module")
def own_testbed(tmp_path_factory):
    """A Slurm that only this module breaks."""
    directory = tmp_path_factory.mktemp("tb")
    run_testbed("up", "--dir", str(directory), *_UP)
    yield directory
    run_testbed("down", "--dir", str(directory), "--wipe")


@pytest.fixture
def own(own_testbed, monkeypatch):
    run_testbed("up", "--dir", str(own_testbed), *_UP)
    monkeypatch.setenv("SLURM_CONF", str(own_testbed / "etc" / "slurm.conf"))
    return Slurm(own_testbed)


def daemon(own, *args):
    run_testbed(*args, "--dir", str(own.directory))


def runs_in(box, revision="HEAD"):
    """Return the attempts in a record, each as its number, its tasks if it has any, its state."""
    attempts = record_of(box, revision)["slurm"]["attempts"]
    words = [(str(each["attempt"]), each.get("tasks", ""), each["state"]) for each in attempts]
    return [" ".join(filter(None, each)) for each in words]


def assert_open(box, job, word):
    """Nothing that can be asked for closes or commits a job that has not ended."""
    for flags in ({}, {"close_failed_jobs": True}, {"accept_failed_jobs": True}):
        (result,) = finish(box, job, **flags)
        assert result["status"] == "impossible"
        assert f"{job}: {word}" in result["message"]
    assert job in box.tracked()


def assert_refused_then_committed(box, job, word):
    box.git("config", "datalad.slurm.latency-wait", "0")
    (result,) = finish(box, job)
    assert (result["status"], result["slurm_state"]) == ("impossible", word)
    assert "--accept-failed-jobs" in result["message"]
    assert f"--retry {job}" in result["retry"]
    assert _REASONS[word] in result["reasons"][0]["reason"]
    results = finish(box, job, accept_failed_jobs=True)
    assert {res["status"] for res in results if res["action"] == "save"} == {"ok"}
    said = word.replace("_", " ").capitalize()
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}: {said}"]
    assert job not in box.tracked()


def test_a_job_that_waits_suspends_and_goes_on_is_open_until_its_end(box, own):
    job = schedule(box, ["sbatch", "--hold", "--wrap", f"{_UNTIL_GO}; echo x > out"])
    assert_open(box, job, "PENDING")
    own.run("scontrol", "release", str(job))
    own.wait(job, until="RUNNING".__eq__)
    own.run("scontrol", "suspend", str(job))
    own.wait(job, until="SUSPENDED".__eq__)
    assert_open(box, job, "SUSPENDED")
    own.run("scontrol", "resume", str(job))
    (box.path / "go").touch()
    own.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert "out" in box.files_in_last_commit()


def test_jobs_that_are_requeued_and_held_are_open_until_their_second_end(box, own):
    box.script(_AGAIN)
    jobs = [schedule(box, f"sbatch job.sh {name}", [name]) for name in "ab"]
    own.wait(*jobs, until="RUNNING".__eq__)
    own.run("scontrol", "requeuehold", str(jobs[0]))
    own.run("scontrol", "requeuehold", "State=SpecialExit", str(jobs[1]))
    for job, word in zip(jobs, ("PENDING", "SPECIAL_EXIT"), strict=True):
        own.wait(job, until=word.__eq__)
        # a release that comes before the first run is cleaned up would be lost
        wait_until(lambda job=job: own.run("squeue", "-h", "-o", "%Q", "-j", str(job)) == "0")
        assert_open(box, job, word)
        own.run("scontrol", "release", str(job))
    own.wait(*jobs)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert box.tracked() == []
    for revision in ("HEAD", "HEAD~1"):
        assert runs_in(box, revision) == ["1 REQUEUED", "1 COMPLETED"]


def test_each_run_of_a_task_that_is_requeued_is_told_beside_the_attempts(box, own):
    box.script(
        "echo x > out-$SLURM_ARRAY_TASK_ID; [ -e good ] && exit\n"
        '[ $SLURM_ARRAY_TASK_ID = 1 ] || { [ "$SLURM_RESTART_COUNT" ] || sleep 600; exit 3; }'
    )
    job = schedule(box, "sbatch --requeue --array=1-2 job.sh", ["out-%a"])
    wait_until((box.path / "out-2").exists)
    own.wait(f"{job}_1")
    time.sleep(1)  # runs are told apart by when they were submitted, to the second
    own.run("scontrol", "requeue", f"{job}_2")
    own.wait(job)
    (box.path / "good").touch()
    again = retried(box, job)
    own.wait(again)
    finish(box, f"{job}_1")
    assert "attempts" not in record_of(box)["slurm"]
    finish(box)
    assert runs_in(box) == ["1 2 REQUEUED", "1 2 FAILED", "2 2 COMPLETED"]
    first, second, third = record_of(box)["slurm"]["attempts"]
    assert first["slurm_job_id"] == second["slurm_job_id"] == job
    assert first["submit"] < second["submit"] <= third["submit"]
    assert first["start"] < second["start"] < third["start"]
    assert "logs" not in first
    assert second["logs"] == [f"slurm-{job}_2.out"]


@contextmanager
def preempting(own, *jobs, word):
    """Push jobs off node n1, and leave it free again at the end."""
    pushing = own.sbatch("-w", "n1", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 600")
    own.wait(pushing, until="RUNNING".__eq__)
    own.wait(*jobs, until=word.__eq__)
    yield
    own.run("scancel", str(pushing))


def test_a_job_that_is_preempted_and_requeued_is_followed_to_its_last_run(box, own):
    box.script(_AGAIN)
    job = schedule(box, "sbatch -p preempt -w n1 job.sh out")
    own.wait(job, until="RUNNING".__eq__)
    with preempting(own, job, word="PENDING"):
        assert_open(box, job, "PENDING")
    own.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert "out" in box.files_in_last_commit()
    assert runs_in(box) == ["1 PREEMPTED", "1 COMPLETED"]


def test_a_job_that_is_preempted_for_good_has_ended(box, own):
    own.run(
        "scontrol", "create", "PartitionName=cheap", "Nodes=ALL", "PriorityTier=1",
        "PreemptMode=CANCEL",
    )  # fmt: skip
    job = schedule(box, ["sbatch", "-p", "cheap", "-w", "n1", "--wrap", "echo x > out; sleep 600"])
    own.wait(job, until="RUNNING".__eq__)
    with preempting(own, job, word="PREEMPTED"):
        assert_refused_then_committed(box, job, "PREEMPTED")


def crash_node(own, box, *jobs):
    """Let node n1 lose power and come back; no process of its jobs survives."""
    notes = [box.path / f"pids.{job}" for job in jobs]
    wait_until(lambda: all(note.exists() and note.read_text().endswith("\n") for note in notes))
    daemon(own, "stop", "--kill", "slurmd:n1")
    for pid in (pid for note in notes for pid in note.read_text().split()):
        os.kill(int(pid), signal.SIGKILL)
    for job in jobs:
        # slurmctld does not believe it of jobs that began a moment ago
        while own.run("squeue", "-h", "-t", "all", "-o", "%T", "-j", str(job)) == "RUNNING":
            daemon(own, "stop", "slurmd:n1")
            time.sleep(1)
            daemon(own, "start", "slurmd:n1")


def test_a_job_whose_node_dies_has_ended_only_when_it_is_not_requeued(box, own):
    box.script(f"{_AGAIN}; {_UNTIL_GO}")
    again, gone = (
        schedule(box, f"sbatch {option} -w n1 job.sh {option[2:]}", [option[2:]])
        for option in ("--requeue", "--no-requeue")
    )
    own.wait(again, gone, until="RUNNING".__eq__)
    # so that no job begins there before it is looked at
    own.run("scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=test")
    crash_node(own, box, again, gone)
    assert_open(box, again, "PENDING")
    assert_refused_then_committed(box, gone, "NODE_FAIL")
    own.run("scontrol", "update", "NodeName=n1", "State=RESUME")
    own.wait(again, until="RUNNING".__eq__)
    assert_open(box, again, "RUNNING")
    (box.path / "go").touch()
    own.wait(again)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert "requeue" in box.files_in_last_commit()
    assert runs_in(box) == ["1 NODE_FAIL", "1 COMPLETED"]


def test_on_a_node_that_dies_work_is_lost_but_for_what_was_kept_of_it(
    box, own, tmp_path, monkeypatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    box.script(
        "[ ! -e state ] || { cat state > $1; exit; }\necho whole > state; echo half > $1; sleep 1\n"
        "set -- $(ps -o ppid= -p $PPID) $PPID $$ $(pgrep -P $PPID)\n"
        f"echo $* > {box.path}/pids.$SLURM_JOB_ID; sleep 600"
    )
    again, gone = (
        schedule(
            box, f"sbatch {option} -w n1 job.sh {option[2:]}", [option[2:]],
            node_local=True, checkpoint=["state"] if option == "--requeue" else None,
        )
        for option in ("--requeue", "--no-requeue")
    )  # fmt: skip
    own.wait(again, gone, until="RUNNING".__eq__)
    wait_until(lambda: [*box.path.glob(".git/datalad-slurm/stores/*/state.*.tar")])
    own.run("scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=test")
    crash_node(own, box, again, gone)
    own.wait(gone)
    told = {res["slurm_job_id"]: res["message"] for res in finish(box)}
    assert "its outputs are not here: it was killed, or lost with its node" in told[gone]
    own.run("scontrol", "update", "NodeName=n1", "State=RESUME")
    own.wait(again)
    results = finish(box, again)
    assert {res["status"] for res in results} == {"ok"}, results
    assert (box.path / "requeue").read_text() == "whole\n"
    assert runs_in(box) == ["1 NODE_FAIL", "1 COMPLETED"]


def test_a_job_that_gives_nodes_back_is_one_job(box, own):
    job = schedule(box, ["sbatch", "-N2", "--wrap", f"{_UNTIL_GO}; echo x > out"])
    own.wait(job, until="RUNNING".__eq__)
    own.run("scontrol", "update", f"JobId={job}", "NumNodes=1")
    assert_open(box, job, "RUNNING")
    (box.path / "go").touch()
    own.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert record_of(box)["slurm"]["state"] == "COMPLETED"
    assert "attempts" not in record_of(box)["slurm"]
    assert "out" in box.files_in_last_commit()


def test_a_job_that_misses_its_deadline_has_ended(box, own):
    job = schedule(box, ["sbatch", "--deadline=now+8", "-w", "n1", "--wrap", "sleep 600"])
    own.wait(job, until="DEADLINE".__eq__)
    assert_refused_then_committed(box, job, "DEADLINE")
