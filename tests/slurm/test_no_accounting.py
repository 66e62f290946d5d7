"""A Slurm without accounting, which forgets how a job ended: notes tell it."""

from __future__ import annotations

import json
import time

from datalad.api import slurm_reschedule

from datalad_slurm.workflow import observe
from tests.conftest import wait_until
from tests.slurm.bare import endings, record, states, wait_until_forgotten
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule


def test_a_job_is_finished_at_once_with_what_it_noted(box, bare, monkeypatch):
    # nothing is waited for, or the test would not end
    monkeypatch.setattr(observe, "_ACCOUNTING_LAG", 10**6)
    begun = time.time()
    job = schedule(box, ["sbatch", "--wrap", "sleep 1; echo x > out"])
    bare.wait(job)
    most = time.time() - begun + 1
    assert states(box) == {job: "COMPLETED"}
    assert {res["status"] for res in finish(box)} == {"ok"}
    facts = record(box, job)
    assert (facts["state"], facts["exit_code"], facts["nodes"]) == ("COMPLETED", "0:0", "n1")
    assert facts["source"] == "noted by the job"
    assert 1 <= facts["elapsed"] <= most
    assert {"start", "end", "submit"} <= set(facts)
    env = json.loads((box.path / f"slurm-job-{job}.env.json").read_text())
    assert env["accounting"][0]["source"] == "noted by the job"
    assert endings(box) == []


def test_work_on_its_node_with_checkpoints_needs_no_accounting(box, bare, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    box.script("[ -e state ] && exec cp state out\necho 7 > state; sleep 600")
    job = schedule(box, "sbatch job.sh", ["out"], node_local=True, checkpoint=["state"])
    wait_until(lambda: [*box.path.glob(".git/datalad-slurm/stores/*/state.*.tar")])
    bare.run("scancel", str(job))
    bare.wait(job)
    (refused,) = finish(box)
    assert "its last checkpoint is of" in refused["message"]
    again = slurm_reschedule(dataset=box.path, retry=job, result_renderer="disabled")
    bare.wait(again[-1]["slurm_job_id"])
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert (box.path / "out").read_text() == "7\n"
    states_told = [entry["state"] for entry in record_of(box)["slurm"]["attempts"]]
    assert states_told == ["CANCELLED", "COMPLETED"]
    assert endings(box) == []


def test_jobs_that_slurmctld_has_forgotten_are_known_from_their_notes(box, bare, tmp_path):
    hide = box.path / "hide.sh"
    hide.write_text('#!/bin/sh\nsbatch "$@" >/dev/null\n')
    hide.chmod(0o755)
    box.script("exit 3", "fail.sh")
    box.script("[ $SLURM_ARRAY_TASK_ID != 2 ] && echo $1 > array.$SLURM_ARRAY_TASK_ID", "array.sh")
    box.script("[ $SLURM_RESTART_COUNT ] || sleep 600; echo again > requeued", "requeued.sh")
    box.script("trap 'echo TERM >> term; exit 0' TERM\nwhile :; do sleep 0.1; done", "polite.sh")
    box.script("echo x > killed; kill -9 $PPID; kill -9 $$", "killed.sh")
    box.script("", "python.py")
    (box.path / "python.py").write_text(
        "#!/usr/bin/env python3\nimport os\nopen('py', 'w').write(os.environ['SLURM_JOB_ID'])\n"
    )
    jobs = {
        name: schedule(box, command, outputs)
        for name, command, outputs in (
            ("timeout", ["sbatch", "--time=1", "--wrap", "sleep 600"], ["never"]),
            ("requeued", "sbatch --requeue requeued.sh", ["requeued"]),
            ("cancelled", "sbatch polite.sh", ["term"]),
            ("waiting", "sbatch --array=1-2%1 --wrap 'sleep 600'", ["nothing"]),
            ("completed", "sbatch --wrap 'echo x > out'", ["out"]),
            ("python", "sbatch -J py python.py", ["py"]),
            ("hidden", "./hide.sh --wrap 'echo x > hidden'", ["hidden"]),
            ("failed", "sbatch fail.sh", ["failed"]),
            ("array", "sbatch --array=1-3 array.sh 'two  words'", ["array.1", "array.3"]),
            ("killed", "sbatch killed.sh", ["killed"]),
        )
    }
    bare.wait(jobs["requeued"], until="RUNNING".__eq__)
    wait_until(lambda: f"{jobs['requeued']}.0.began" in endings(box))
    bare.run("scontrol", "requeue", str(jobs["requeued"]))
    bare.wait(jobs["cancelled"], until="RUNNING".__eq__)
    wait_until(lambda: f"{jobs['cancelled']}.0.began" in endings(box))
    wait_until(lambda: f"{jobs['waiting']}_1.0.began" in endings(box))
    bare.run("scancel", str(jobs["cancelled"]), str(jobs["waiting"]))
    bare.wait(*jobs.values())
    before = states(box)
    wait_until_forgotten(bare, *jobs.values())
    # of the task that never began nothing is left; that is believed after a while
    wait_until(lambda: states(box)[jobs["waiting"]] != "UNKNOWN")
    after = states(box)
    expected = {
        "timeout": "TIMEOUT",
        "requeued": "COMPLETED",
        "cancelled": "CANCELLED",
        "waiting": "CANCELLED",
        "completed": "COMPLETED",
        "python": "COMPLETED",
        "hidden": "COMPLETED",
        "failed": "FAILED",
        "array": "FAILED",
        "killed": "FAILED",
    }
    assert {name: after[job] for name, job in jobs.items()} == expected
    assert {name: before[job] for name, job in jobs.items()} == expected

    results = {res["slurm_job_id"]: res for res in finish(box) if res["action"] == "finish"}
    assert set(results) == {jobs[name] for name, word in expected.items() if word != "COMPLETED"}
    assert "killed by kill -9" in results[jobs["killed"]]["message"]
    assert "--accept-failed-jobs" in results[jobs["killed"]]["message"]
    assert "noted no ending" not in results[jobs["failed"]]["message"]
    assert f"{jobs['array']}_2: FAILED" in results[jobs["array"]]["message"]
    assert (box.path / "py").read_text() == str(jobs["python"])
    assert (box.path / "term").read_text() == "TERM\n"
    assert record(box, jobs["requeued"])["elapsed"] < 30
    runs = record(box, jobs["requeued"])["attempts"]
    assert [(run["attempt"], run["state"]) for run in runs] == [(1, "REQUEUED"), (1, "COMPLETED")]
    assert runs[0]["start"] < runs[1]["start"]

    finish(box, job=[jobs["failed"], jobs["array"], jobs["timeout"]], accept_failed_jobs=True)
    assert record(box, jobs["failed"])["exit_code"] == "3:0"
    # slurmd is told of the signal, or of what bash makes of it
    assert record(box, jobs["timeout"])["exit_code"] in {"0:15", "143:0"}
    assert [task["state"] for task in record(box, jobs["array"])["tasks"]] == [
        "COMPLETED",
        "FAILED",
    ]
    assert f"slurm-{jobs['array']}_2.out" in box.git("ls-files")
    (result,) = finish(box, job=[jobs["killed"]], close_unknown_jobs=True)
    assert result["status"] == "ok"
    finish(box, close_failed_jobs=True)
    assert box.tracked() == []
    assert endings(box) == []


def test_a_job_that_noted_nothing_is_dropped_by_name_only(box, bare):
    box.git("config", "datalad.slurm.exit-marker", "never")
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    bare.wait(job)
    assert endings(box) == []
    assert "runner" not in bare.run("squeue", "-h", "-t", "all", "-o", "%o", "-j", str(job))
    wait_until_forgotten(bare, job)
    for flags in ({}, {"close_failed_jobs": True}, {"accept_failed_jobs": True}):
        (result,) = finish(box, **flags)
        assert result["status"] == "impossible"
        assert "--close-unknown-jobs" in result["message"]
    assert states(box) == {job: "UNKNOWN"}
    (result,) = finish(box, job=[job], close_unknown_jobs=True)
    assert result["status"] == "ok"


def test_a_signal_before_the_time_limit_reaches_the_script(box, bare):
    box.script("trap 'echo USR1 > out; exit 0' USR1\nwhile :; do sleep 0.1; done")
    # it may come up to 60 s early (sbatch(1)), so 20 s after the start at the earliest
    job = schedule(box, "sbatch --time=3 --signal=B:USR1@100 job.sh")
    bare.wait(job)
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, results
    assert (box.path / "out").read_text() == "USR1\n"


def test_notes_of_jobs_that_are_tracked_no_more_are_removed(box, bare):
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    bare.wait(job)
    left = box.path / ".git/datalad-slurm/endings/datalad-slurm-0"
    left.mkdir()
    (left / "1.0.began").touch()
    finish(box)
    assert not left.exists()


def test_notes_stand_in_for_an_accounting_that_fails(box, slurm, stand_in):
    box.git("config", "datalad.slurm.exit-marker", "always")
    box.script("echo x > out")
    job = schedule(box, "sbatch job.sh")
    slurm.wait(job)
    stand_in("sacct", "echo 'sacct: error: Problem talking to the database' >&2; exit 1")
    stand_in("squeue", "true")
    assert states(box) == {job: "COMPLETED"}
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert record_of(box)["slurm"]["source"] == "noted by the job"


def test_notes_of_a_job_on_another_cluster_do_not_count(box, bare):
    job = schedule(box, "sbatch --wrap 'echo x > out; sleep 2'")
    wait_until(lambda: f"{job}.0.began" in endings(box))
    (began,) = box.path.glob(f".git/datalad-slurm/endings/*/{job}.0.began")
    bare.wait(job)
    for note in began.parent.iterdir():
        note.write_text(note.read_text().replace("cluster=testbed", "cluster=other"))
    wait_until_forgotten(bare, job)
    assert states(box) == {job: "UNKNOWN"}
    (result,) = finish(box, accept_failed_jobs=True)
    assert result["status"] == "impossible"


def test_an_unheard_of_setting_is_refused(box):
    box.git("config", "datalad.slurm.exit-marker", "sometimes")
    done = box.cli("slurm-schedule", "-o", "out", "sbatch", "--wrap", "true", code=1)
    assert "must be auto, always or never, not 'sometimes'" in done.stdout
