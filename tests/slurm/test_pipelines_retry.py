"""Chains in which jobs fail: run again, with what waits for them, and finished in the end."""

from __future__ import annotations

from datalad.api import clone

from tests.conftest import Box, wait_until
from tests.slurm.pipelines import dependency, release
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_reschedule_range import reschedule, submitted
from tests.slurm.test_retry import retry
from tests.slurm.test_schedule import finish, schedule

ARRAY = "mkdir -p {output}; n=$SLURM_ARRAY_TASK_ID; {body} > {output}/$n"
FAILS = "echo half > one/$n; [ -e good ] || [ $((n % 10)) != 4 ] || exit 3; echo $((n * n))"


def test_a_pipeline_of_arrays_of_which_tasks_fail_and_are_run_again(box, slurm, tmp_path):
    stages = {
        "one": FAILS,
        "two": "cat one/$n one/$((n % 20 + 1))",
        "three": "sort -n two/* | head -$n",
    }
    for stage, body in stages.items():
        box.script(ARRAY.format(output=stage, body=body), f"{stage}.sh")
    before = box.git("rev-parse", "HEAD")
    jobs, inputs = [], []
    for stage in stages:
        held = "--hold " if stage == "one" else ""
        command = f"sbatch --array=1-20 {held}{stage}.sh"
        jobs.append(schedule(box, command, [f"{stage}/%a"], inputs=inputs))
        inputs = [stage]
    one, two, three = jobs
    release(slurm, one)
    slurm.wait(one)
    slurm.wait(one)
    finish(box, partial=True)
    assert box.subjects()[0].startswith(f"[DATALAD SLURM RUN] Slurm job {one}_[1-3,5-13,15-20]:")
    assert set(box.tracked()) == set(jobs)
    box.script("", "good")
    results = retry(box, "all")
    assert [res["tasks"] for res in results if res.get("tasks")] == ["4,14"]
    (again,) = [res["slurm_job_id"] for res in results if res["action"] == "slurm-reschedule"
                and res["status"] == "ok"]  # fmt: skip
    repointed = [res for res in results if res["action"] == "repoint"]
    assert [(res["status"], res["slurm_job_id"]) for res in repointed] == [("ok", two)]
    release(slurm, again)
    done = finish(box, wait=True, timeout=60)
    assert {res["status"] for res in done} == {"ok"}, done
    assert box.tracked() == []
    assert [subject.split()[5] for subject in box.subjects(3)] == [
        f"{three}:", f"{two}:", f"{again}_[4,14]:",
    ]  # fmt: skip
    relation = record_of(box)["slurm"]["depends_on"][0]
    assert (relation["slurm_job_id"], relation["commit"]) == (two, box.git("rev-parse", "HEAD~1"))
    assert (box.path / "two/4").read_text() == "16\n25\n"

    copy = Box(tmp_path / "copy")
    clone(str(box.path), str(copy.path), result_renderer="disabled")
    new = submitted(reschedule(copy, since=before, verify=True))
    # the tasks of both commits of the first stage are one job again
    assert len(new) == 3
    assert f"{new[0]}_" in dependency(slurm, new[1])
    release(slurm, new[0])
    done = finish(copy, wait=True, timeout=60)
    assert {res["status"] for res in done} == {"ok"}, done
    verified = [res for res in done if res["action"] == "verify"]
    assert [res["verified"]["identical"] for res in verified] == [20, 20, 20]


def test_a_job_that_was_cancelled_with_the_one_before_it_is_run_again_with_it(chain, slurm):
    one = schedule(chain, "sbatch --hold a.sh 3", ["a"])
    two = schedule(chain, "sbatch b.sh", ["b"], inputs=["a"])
    release(slurm, one)
    slurm.run("scancel", str(two))
    slurm.wait(one, two)
    slurm.wait(one, two)
    (chain.path / "a.sh").unlink()
    chain.script("sleep 3; echo one > a", "a.sh")
    results = retry(chain, "all")
    assert {res["status"] for res in results if res["action"] == "slurm-reschedule"} == {"ok"}
    new = [res["slurm_job_id"] for res in results if res["action"] == "slurm-reschedule"]
    assert dependency(slurm, new[1]).startswith(f"afterok:{new[0]}")
    release(slurm, new[0])
    assert {res["status"] for res in finish(chain, wait=True, timeout=40)} == {"ok"}
    assert (chain.path / "b/two").read_text() == "one\ntwo\n"
    relation = record_of(chain)["slurm"]["depends_on"][0]
    assert relation["commit"] == chain.git("rev-parse", "HEAD~1")


def test_a_job_is_run_again_after_the_one_before_it_was_committed(chain, slurm):
    one = schedule(chain, "sbatch --hold a.sh", ["a"])
    chain.script("[ -e good ] || exit 3; mkdir -p b; cat a > b/two", "b.sh")
    two = schedule(chain, "sbatch b.sh", ["b"], inputs=["a"])
    release(slurm, one)
    slurm.wait(one, two)
    slurm.wait(one, two)
    finish(chain, one)
    made = chain.git("rev-parse", "HEAD")
    chain.script("", "good")
    retry(chain, two)
    assert {res["status"] for res in finish(chain, wait=True, timeout=40)} == {"ok"}
    record = record_of(chain)["slurm"]
    assert record["depends_on"][0]["commit"] == made
    assert [each["path"] for each in record["inputs"]] == ["a"]


def test_what_waits_stays_when_only_some_failed_tasks_are_run_again(box, slurm):
    box.script(ARRAY.format(output="one", body=FAILS), "one.sh")
    one = schedule(box, "sbatch --hold --array=1-14 one.sh", ["one/%a"])
    two = schedule(box, "sbatch --wrap 'cat one/* > all'", ["all"], inputs=["one"])
    release(slurm, one)
    slurm.wait(one)
    slurm.wait(one)
    box.script("", "good")
    results = retry(box, f"{one}_4")
    (told,) = [res for res in results if res["action"] == "repoint"]
    assert (told["status"], told["slurm_job_id"]) == ("impossible", two)
    first = next(res["slurm_job_id"] for res in results if res["action"] == "slurm-reschedule")
    release(slurm, first)
    slurm.wait(first)
    slurm.wait(first)
    results = retry(box, f"{one}_14")
    release(slurm, *(r["slurm_job_id"] for r in results if r["action"] == "slurm-reschedule"))
    (told,) = [res for res in results if res["action"] == "repoint"]
    assert (told["status"], told["slurm_job_id"]) == ("ok", two)
    assert {res["status"] for res in finish(box, wait=True, timeout=40)} == {"ok"}


def test_what_waits_for_a_job_can_be_made_to_wait_for_its_next_attempt(chain, slurm):
    from datalad_slurm.dataset.git import Repo
    from datalad_slurm.jobs.model import SlurmJob
    from datalad_slurm.tracking.store import Tracker
    from datalad_slurm.workflow.context import Context
    from datalad_slurm.workflow.settings import Settings
    from datalad_slurm.workflow.successors import repoint_successors

    one = schedule(chain, "sbatch --hold a.sh 3", ["a"])
    two = schedule(chain, "sbatch --array=1-2 b.sh", ["b"], inputs=["a"])
    release(slurm, one)
    slurm.wait(one)
    again = slurm.sbatch("-D", str(chain.path), str(chain.path / "a.sh"), "0", "2")
    tracker = Tracker(chain.path / ".git/datalad-slurm")
    context = Context(Repo(chain.path), tracker, Settings(), "", None)
    (outcome,) = repoint_successors(context, SlurmJob(one), SlurmJob(again), tracker.open_jobs())
    assert (outcome.status, outcome.details) == ("ok", {"slurm_job_id": two})
    assert dependency(slurm, two) == f"afterok:{again}_*(unfulfilled)".replace("_*", "")
    slurm.wait(again, two)
    wait_until(lambda: slurm.state(two) == "COMPLETED")
    # of one that has gone meanwhile it is said
    three = schedule(chain, "sbatch --hold b.sh", ["c"], inputs=["b"])
    slurm.run("scancel", str(three))
    slurm.wait(three)
    (outcome,) = repoint_successors(context, SlurmJob(two), SlurmJob(again), tracker.open_jobs())
    assert (outcome.status, outcome.details) == ("error", {"slurm_job_id": three})
