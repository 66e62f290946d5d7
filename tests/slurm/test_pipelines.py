"""Jobs that read what other open jobs write."""

from __future__ import annotations

import json

import pytest
from datalad.api import slurm_schedule

from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule


@pytest.fixture
def chain(box):
    """Return a dataset with three scripts, each of which reads what the one before it writes."""
    box.script("sleep ${2:-0}; echo one > a; exit ${1:-0}", "a.sh")
    box.script("sleep ${2:-0}; mkdir -p b; cat a > b/two && echo two >> b/two", "b.sh")
    box.script("cat b/two > c && echo three >> c", "c.sh")
    return box


def asked(box, cmd, outputs, **kwargs):
    """Schedule, and return the result, whatever it is."""
    results = slurm_schedule(
        cmd, dataset=box.path, outputs=outputs, result_renderer="disabled", on_failure="ignore",
        **kwargs,
    )  # fmt: skip
    return results[-1]


def dependency(slurm, job):
    (line,) = [
        line for line in slurm.run("scontrol", "show", "job", str(job)).splitlines()
        if "Dependency=" in line
    ]  # fmt: skip
    return line.partition("Dependency=")[2]


def test_a_chain_is_scheduled_in_one_go_and_finished_in_its_order(chain, slurm):
    one = schedule(chain, "sbatch a.sh 0 2", ["a"])
    result = asked(chain, "sbatch b.sh", ["b"], inputs=["a"])
    two = result["slurm_job_id"]
    assert result["message"] == (
        f"submitted Slurm job {two}, which comes after job {one}, which makes 'a'"
    )
    assert result["depends_on"] == [{"slurm_job_id": one, "reason": "input", "inputs": ["a"]}]
    assert dependency(slurm, two) == f"afterok:{one}(unfulfilled)"
    three = schedule(chain, "sbatch c.sh", ["c"], inputs=["b/two"])
    assert dependency(slurm, three) == f"afterok:{two}(unfulfilled)"
    slurm.wait(one, two, three)
    assert {res["status"] for res in finish(chain)} == {"ok"}
    ids = [subject.split()[5].rstrip(":") for subject in chain.subjects(3)]
    assert ids == [str(three), str(two), str(one)]
    assert (chain.path / "c").read_text() == "one\ntwo\nthree\n"
    record = record_of(chain)
    assert record["cmd"] == "sbatch c.sh"
    commit = chain.git("rev-parse", "HEAD~1")
    assert record["slurm"]["depends_on"] == [
        {"slurm_job_id": two, "reason": "input", "inputs": ["b/two"], "commit": commit}
    ]
    # what it has read is what the commit before it holds
    key = chain.git("show", "HEAD~1:b/two").rpartition("/")[2]
    assert record["slurm"]["inputs"] == [{"path": "b/two", "key": key}]
    assert chain.status() == ""
