"""What the tests without accounting have in common."""

from __future__ import annotations

import json

from tests.conftest import wait_until
from tests.slurm.test_schedule import finish


def wait_until_forgotten(slurm, *job_ids):
    """Wait until slurmctld has purged jobs, which it does once a minute."""
    listed = ("squeue", "-h", "-t", "all", "-o", "%A %F")
    wait_until(lambda: not {*map(str, job_ids)} & {*slurm.run(*listed).split()})


def endings(box):
    directory = box.path / ".git/datalad-slurm/endings"
    return sorted(p.name for p in directory.glob("*/*")) if directory.exists() else []


def states(box):
    listed = finish(box, list_open_jobs=True)
    assert {entry["status"] for entry in listed} <= {"ok"}, listed
    return {entry["slurm_job_id"]: entry["slurm_job_status"] for entry in listed}


def record(box, job):
    (commit,) = box.git("log", "--format=%H", f"--grep=Slurm job {job}:").splitlines()
    message = box.git("show", "-s", "--format=%B", commit)
    return json.loads(message.partition("below ===\n")[2].partition("\n^^^")[0])["slurm"]
