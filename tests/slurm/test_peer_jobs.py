"""Jobs that datalad-slurm 0.2 has scheduled are finished here.

With ``DATALAD_SLURM_EARLIER=/path/to/its/datalad`` its own `slurm-schedule` is
used as well.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess

import pytest
from datalad.api import Dataset

from tests.conftest import wait_until
from tests.dataset.test_peer_jobs import DUMP
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_reschedule_range import reschedule, submitted
from tests.slurm.test_schedule import finish

EARLIER = os.environ.get("DATALAD_SLURM_EARLIER")


def earlier_database(box):
    return box.path / ".git" / f"{Dataset(box.path).id}.db"


def test_a_job_in_the_earlier_database_is_finished_with_the_right_record(box, slurm):
    (box.path / "sub").mkdir()
    (box.path / "sub/in.csv").write_text("input\n")
    box.cli("save", "-m", "input")
    box.script("mkdir -p out; cat in.csv > out/a", "sub/job.sh")
    command = ["sbatch", "--parsable", "job.sh"]
    told = subprocess.run(
        command, cwd=box.path / "sub", check=True, capture_output=True, text=True
    ).stdout
    job = int(told)
    # what that version writes at submission
    (box.path / f"sub/slurm-job-{job}.env.json").write_text("{}")
    row = {
        "slurm_job_id": job,
        "message": "said at scheduling",
        "chain": "[]",
        "cmd": "sbatch job.sh",
        "dsid": Dataset(box.path).id,
        "inputs": '["in.csv"]',
        "extra_inputs": "[]",
        "outputs": '["sub/out"]',
        "slurm_outputs": json.dumps([f"slurm-{job}.out", f"slurm-job-{job}.env.json"]),
        "pwd": "sub",
        "alt_dir": "",
    }
    with sqlite3.connect(earlier_database(box)) as database:
        database.executescript(DUMP.read_text())
        for table in ("open_jobs", "locked_names", "locked_prefixes"):
            database.execute(f"delete from {table}")
        names = ", ".join(f":{name}" for name in row)
        database.execute(f"insert into open_jobs ({', '.join(row)}) values ({names})", row)
        database.execute("insert into locked_names values (?, 'sub/out')", (job,))
        database.execute("insert into locked_prefixes values (?, 'sub')", (job,))
    slurm.wait(job)
    done = box.cli("slurm-finish")
    assert f"took over open job(s) {job} of an earlier datalad-slurm" in done.stderr
    assert box.files_in_last_commit() == {
        "sub/out/a", f"sub/slurm-{job}.out", f"sub/slurm-job-{job}.env.json",
    }  # fmt: skip
    assert "said at scheduling" in box.git("log", "-1", "--format=%B")
    record = record_of(box)
    assert record["slurm_job_id"] == job
    assert record["cmd"] == "sbatch job.sh"
    assert record["pwd"] == "sub"
    assert record["inputs"] == ["in.csv"]
    assert record["outputs"][0] == "sub/out"
    assert record["dsid"] == Dataset(box.path).id
    assert record["slurm"]["state"] == "COMPLETED"
    assert box.status() == ""
    assert box.cli("slurm-finish").stderr == ""
    results = map(json.loads, box.cli("-f", "json", "slurm-reschedule").stdout.splitlines())
    (new,) = [res for res in results if res["action"] == "slurm-reschedule"]
    assert new["outputs"] == ["sub/out"]


def earlier(box, *args, cwd="."):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [EARLIER, *args], cwd=box.path / cwd, env=env, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.skipif(not EARLIER, reason="DATALAD_SLURM_EARLIER names no earlier datalad-slurm")
def test_what_the_earlier_version_schedules_is_finished_here_and_not_there(box, slurm):
    (box.path / "sub").mkdir()
    box.script("mkdir -p out; echo x > out/a", "sub/job.sh")
    earlier(box, "slurm-schedule", "-o", "out", "sbatch", "job.sh", cwd="sub")
    array = "sbatch --array=1-3 --wrap 'mkdir -p arr; date > arr/$SLURM_ARRAY_TASK_ID'"
    earlier(box, "slurm-schedule", "-o", "arr/", array)
    first, second = box.tracked()
    assert str(first) not in earlier(box, "slurm-finish", "--list-open-jobs")
    slurm.wait(first, second)
    before = box.git("rev-parse", "HEAD")
    earlier(box, "slurm-finish")
    assert box.git("rev-parse", "HEAD") == before
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert {f"arr/{index}" for index in (1, 2, 3)} < box.files_in_last_commit()
    assert "sub/out/a" in box.files_in_last_commit("HEAD~1")
    assert box.status() == ""
    assert box.tracked() == []


@pytest.mark.skipif(not EARLIER, reason="DATALAD_SLURM_EARLIER names no earlier datalad-slurm")
def test_a_history_made_there_is_run_again_here_and_the_other_way_round(box, slurm):
    (box.path / "data").write_text("input\n")
    box.cli("save", "-m", "input")
    box.script("cat ../data > out; date +%N >> out", "sub/job.sh")
    array = "sbatch --array=1-2 --wrap 'mkdir -p arr; date +%N > arr/$SLURM_ARRAY_TASK_ID'"
    fails = "sbatch --wrap 'date +%N > part; [ -e may-end ]'"

    def wait_and_finish(*jobs, **fate):
        slurm.wait(*jobs)
        assert {res["status"] for res in finish(box, **fate)} == {"ok"}

    def wait_and_finish_there(*options):
        with sqlite3.connect(earlier_database(box)) as database:
            jobs = [job for (job,) in database.execute("select slurm_job_id from open_jobs")]
        slurm.wait(*jobs)
        # that version asks the accounting only, and fails when this does not know a job yet
        told = ["sacct", "-nXP", "-o", "State", "-j"]
        ended = {"COMPLETED", "FAILED"}
        wait_until(lambda: all(set(slurm.run(*told, str(j)).split() or "?") <= ended for j in jobs))
        earlier(box, "slurm-finish", *options)
        assert "slurm-job-id" not in earlier(box, "slurm-finish", "--list-open-jobs")

    earlier(box, "slurm-schedule", "-i", "../data", "-o", "out", "sbatch", "job.sh", cwd="sub")
    earlier(box, "slurm-schedule", "-m", "said", "-o", "arr", array)
    earlier(box, "slurm-schedule", "-o", "part", fails)
    wait_and_finish_there("--commit-failed-jobs")
    there = box.git("log", "-3", "--format=%H", "--reverse").split()

    *jobs, left_out = reschedule(box, since="")
    assert "did not complete (Failed)" in left_out["message"]
    wait_and_finish(*submitted(jobs))
    wait_and_finish(*submitted(reschedule(box, there[2])), accept_failed_jobs=True)
    here = box.git("log", "-3", "--format=%H", "--reverse").split()
    assert [record_of(box, commit)["chain"] for commit in here] == [[it] for it in there]
    assert {"sub/out", "arr/2", "part"} < set.union(*map(box.files_in_last_commit, here))
    assert "\n\nsaid\n\n===" in box.git("log", "-1", "--format=%B", here[1])

    earlier(box, "slurm-reschedule", f"--since={there[2]}")
    earlier(box, "slurm-reschedule", "--with-failed-jobs", here[2])
    (box.path / "may-end").touch()
    wait_and_finish_there("--commit-failed-jobs")
    again = box.git("log", "-3", "--format=%H", "--reverse").split()
    pairs = zip(there, here, strict=True)
    assert [record_of(box, commit)["chain"] for commit in again] == [list(pair) for pair in pairs]
    assert {"sub/out", "arr/2", "part"} < set.union(*map(box.files_in_last_commit, again))

    wait_and_finish(*submitted(reschedule(box, since=here[2], with_failed_jobs=True)))
    assert record_of(box)["chain"] == [there[2], here[2], again[2]]
    assert box.git("annex", "fsck", "--quiet") == ""
