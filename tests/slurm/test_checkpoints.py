"""`--checkpoint`, `--grace` and `slurm-checkpoint`: work that goes on where it was interrupted."""

from __future__ import annotations

import re
import shutil
import subprocess
import time

from datalad.api import slurm_reschedule

from tests.conftest import ROOT
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule

_QUIET = {"result_renderer": "disabled", "on_failure": "ignore"}
_EXAMPLES = ROOT / "docs/examples/checkpoint"
_PAUSE = 0.1
_LAST = 900
_SUM = f"{_LAST * (_LAST + 1) // 2}\n"


def kept(box):
    """Return the checkpoints in the stores of all jobs."""
    return sorted(p.name for p in box.path.glob(".git/datalad-slurm/stores/*/state*.tar"))


def said(results, status="impossible"):
    return " ".join(res.get("message", "") for res in results if res["status"] == status)


def again(box, job):
    """Submit a job again that has failed, without a time limit; return its new id."""
    results = slurm_reschedule(dataset=box.path, retry=job, retry_with="--time=10", **_QUIET)
    assert results[-1]["status"] == "ok", results
    return results[-1]["slurm_job_id"]


def beginnings(box, output):
    """Return where the attempts at an output have begun."""
    logs = sorted(box.path.glob(f"{output}-*.log"), key=lambda path: path.stat().st_ino)
    found = [(path, re.findall(r"^from (\d+)", path.read_text(), re.MULTILINE)) for path in logs]
    return sorted(int(number) for _, numbers in found for number in numbers)


def commands(box):
    """Return the examples as commands of jobs, by their outputs."""
    for program in _EXAMPLES.iterdir():
        shutil.copy(program, box.path)
    found = {
        "sh": "count.sh {} {} sh",
        "py": "--wrap 'python3 count.py {} {} py'",
        "node": "--wrap 'python3 count.py {} {} node'",
        "deaf": "--wrap 'python3 deaf.py {} {} deaf 20'",
    }
    if shutil.which("g++"):
        subprocess.run(["g++", "-o", "count", "count.cpp"], cwd=box.path, check=True)
        found["cpp"] = "--wrap './count {} {} cpp'"
    box.cli("save", "-m", "programs")
    return {output: text.format(_LAST, _PAUSE) for output, text in found.items()}


def test_programs_go_on_after_time_limit_cancellation_and_requeue(box, slurm):
    """Four attempts, of which the first ends at the least limit that there is, one minute."""
    options = "--time=1 --requeue --open-mode=append"
    jobs = {
        output: schedule(
            box,
            f"sbatch {options} -o {output}-%j.log {text}",
            [output],
            checkpoint=[f"{output}.state"],
            grace=50,
            node_local=output == "node",
            inputs=["count.py"] if output == "node" else [],
        )
        for output, text in commands(box).items()
    }
    slurm.wait(*jobs.values())
    results = finish(box)
    assert {res["slurm_state"] for res in results if "slurm_state" in res} == {"TIMEOUT"}
    assert said(results).count("its last checkpoint is of") == len(jobs)
    assert said(results).count("partial") == len(jobs)
    jobs = {output: again(box, job) for output, job in jobs.items()}
    slurm.wait(*jobs.values(), until="RUNNING".__eq__)
    time.sleep(6)
    slurm.run("scancel", *map(str, jobs.values()))
    slurm.wait(*jobs.values())
    jobs = {output: again(box, job) for output, job in jobs.items()}
    slurm.wait(*jobs.values(), until="RUNNING".__eq__)
    time.sleep(6)
    for job in jobs.values():
        slurm.run("scontrol", "requeue", str(job))
    slurm.wait(*jobs.values(), until="PENDING".__eq__)
    for job in jobs.values():
        slurm.run("scontrol", "update", f"jobid={job}", "starttime=now")
    slurm.wait(*jobs.values())
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, results
    for output in jobs:
        assert (box.path / output).read_text() == _SUM
        found = beginnings(box, output)
        assert len(found) == 4
        assert found == sorted(set(found)), f"{output} has begun twice at the same number"
    assert list(box.path.glob("*.state")) == []
    assert list(box.path.glob(".git/datalad-slurm/stores/*")) == []
    assert box.status() == ""
    record = record_of(box)
    states = [entry["state"] for entry in record["slurm"]["attempts"]]
    assert states == ["TIMEOUT", "CANCELLED", "REQUEUED", "COMPLETED"], states
    assert record["slurm"]["checkpoint"]["signal"] == "USR1"
    assert record["slurm"]["grace"] == 50
