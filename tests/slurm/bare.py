"""What the tests without accounting have in common."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager

from tests.conftest import wait_until
from tests.slurm.test_schedule import finish


def wait_until_forgotten(slurm, *job_ids):
    """Have slurmctld purge jobs that have ended, which it does once a minute."""
    listed = ("squeue", "-h", "-t", "all", "-o", "%A %F")
    with _short_memory(slurm):
        wait_until(lambda: not {*map(str, job_ids)} & {*slurm.run(*listed).split()})


@contextmanager
def _short_memory(slurm):
    """Lower MinJobAge for a while: on a busy machine, jobs must not be forgotten too early."""
    conf = slurm.directory / "etc" / "slurm.conf"
    usual = conf.read_text()
    conf.write_text(re.sub(r"(?m)^MinJobAge=.*", "MinJobAge=2", usual))
    slurm.run("scontrol", "reconfigure")
    try:
        yield
    finally:
        conf.write_text(usual)
        slurm.run("scontrol", "reconfigure")


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
