"""Chains of jobs whose commits go to branches of their own, or are merged."""

from __future__ import annotations

import pytest

from tests.slurm.test_reschedule import record_of
from tests.slurm.test_reschedule_range import reschedule, submitted
from tests.slurm.test_schedule import finish, schedule


def run_chain(box, slurm):
    one = schedule(box, "sbatch a.sh", ["a"])
    two = schedule(box, "sbatch b.sh", ["b"], inputs=["a"])
    three = schedule(box, "sbatch c.sh", ["c"], inputs=["b/two"])
    slurm.wait(one, two, three)
    return [one, two, three]


def said_of(results):
    return [res["message"] for res in results if res["action"] == "save"]


@pytest.mark.parametrize("how", ["at once", "one by one"])
def test_each_job_of_a_chain_gets_a_branch_that_names_the_commit_it_has_read(chain, slurm, how):
    (chain.path / "a").write_text("an earlier version\n")
    chain.cli("save", "-m", "earlier", "a")
    before = chain.git("rev-parse", "HEAD")
    jobs = run_chain(chain, slurm)
    named = [[]] if how == "at once" else [[job] for job in jobs]
    results = [res for names in named for res in finish(chain, *names, branches=True)]
    assert {res["status"] for res in results} == {"ok"}
    branches = [f"slurm-job-branch-{job}" for job in jobs]
    # what the jobs have read is on other branches, and was taken away: that is no change
    assert said_of(results) == [f"on branch {branch}" for branch in branches]
    assert {chain.git("rev-parse", f"{branch}~1") for branch in branches} == {before}
    for earlier, branch, path in zip(branches, branches[1:], ("a", "b/two"), strict=False):
        facts = record_of(chain, branch)["slurm"]
        (relation,) = facts["depends_on"]
        assert relation["commit"] == chain.git("rev-parse", earlier)
        (noted,) = facts["inputs"]
        key = chain.git("show", f"{earlier}:{path}").rpartition("/")[2]
        assert noted == {"path": path, "key": key}
    assert chain.status() == ""
    assert (chain.path / "a").read_text() == "an earlier version\n"


def test_what_somebody_puts_in_the_place_of_an_input_on_another_branch_is_told(chain, slurm):
    one, two, three = run_chain(chain, slurm)
    finish(chain, one, branches=True)
    (chain.path / "a").write_text("somebody's\n")
    (said,) = said_of(finish(chain, two, branches=True))
    assert "this input has changed since the submission: 'a' (not committed)" in said
    finish(chain, three, branches=True)


def test_the_jobs_of_a_chain_that_can_be_side_by_side_are_merged(chain, slurm):
    one = schedule(chain, "sbatch a.sh", ["a"])
    middle = [
        schedule(chain, ["sbatch", "--wrap", f"cat a > {name}"], [name], inputs=["a"])
        for name in ("x", "y")
    ]
    last = schedule(chain, ["sbatch", "--wrap", "cat x y > z"], ["z"], inputs=["x", "y"])
    slurm.wait(one, *middle, last)
    before = chain.git("rev-parse", "HEAD")
    results = finish(chain, octopus=True)
    assert {res["status"] for res in results} == {"ok"}
    assert not any("changed_inputs" in res for res in results)
    parents = chain.git("log", "--first-parent", "--format=%P", f"{before}..").splitlines()
    assert [len(line.split()) for line in parents] == [1, 3, 1]
    relations = record_of(chain)["slurm"]["depends_on"]
    commits = {relation["slurm_job_id"]: relation["commit"] for relation in relations}
    assert [commits[job] for job in middle] == parents[1].split()[1:]
    # all are found again, and wait for one another
    again = [res for res in reschedule(chain, since=before) if res["action"] == "slurm-reschedule"]
    waits = [sorted(each["slurm_job_id"] for each in res.get("depends_on", ())) for res in again]
    new = submitted(again)
    assert sorted(waits) == [[], [new[0]], [new[0]], sorted(new[1:3])]
    slurm.wait(*new)
    assert {res["status"] for res in finish(chain)} == {"ok"}
