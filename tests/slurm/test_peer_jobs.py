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

from tests.dataset.test_peer_jobs import DUMP
from tests.slurm.test_reschedule import record_of
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
