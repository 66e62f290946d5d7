"""A chain of jobs on record, run again in one go."""

from __future__ import annotations

import json

from datalad.api import clone

from tests.conftest import Box, wait_until
from tests.slurm.pipelines import dependency, release
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_reschedule_range import reschedule, submitted
from tests.slurm.test_schedule import finish, schedule

ARRAY = "#!/bin/bash\nmkdir -p {output}; n=$SLURM_ARRAY_TASK_ID; {body} > {output}/$n\n"


def test_a_pipeline_of_arrays_from_scheduling_to_verification_in_a_fresh_clone(
    box, slurm, tmp_path
):
    stages = {
        "one": "echo $((n * n))",
        "two": "cat one/$n one/$((n % 20 + 1))",
        "three": "sort -n two/* | head -$n",
    }
    for stage, body in stages.items():
        box.script(ARRAY.format(output=stage, body=body).partition("\n")[2], f"{stage}.sh")
    before = box.git("rev-parse", "HEAD")
    jobs, inputs = [], []
    for stage in stages:
        held = "--hold " if stage == "one" else ""
        jobs.append(schedule(box, f"sbatch --array=1-20 {held}{stage}.sh", [stage], inputs=inputs))
        inputs = [stage]
    assert dependency(slurm, jobs[1]) == f"afterok:{jobs[0]}_*(unfulfilled)"
    release(slurm, jobs[0])
    assert {res["status"] for res in finish(box, wait=True, timeout=180)} == {"ok"}
    assert [subject.split()[5] for subject in box.subjects(3)] == [f"{j}:" for j in jobs[::-1]]

    copy = Box(tmp_path / "copy")
    clone(str(box.path), str(copy.path), result_renderer="disabled")
    told = copy.cli("-f", "json", "slurm-reschedule", "--since", before, "--report").stdout
    reports = [json.loads(line) for line in told.splitlines()]
    commits = [res["commit"] for res in reports]
    assert [res["after"] for res in reports] == [
        {},
        {commits[0]: ["one"]},
        {commits[1]: ["two"]},
    ]
    script = copy.cli("slurm-reschedule", "--since", before, "--script", "-").stdout
    assert f"# after the job of commit {commits[1][:10]}, which makes two\n" in script
    results = reschedule(copy, since=before, verify=True)
    again = submitted(results)
    assert [[each["slurm_job_id"] for each in res.get("depends_on", [])] for res in results] == [
        [],
        again[:1],
        again[1:2],
    ]
    assert not (copy.path / "one/1").exists()  # neither fetched nor there
    release(slurm, again[0])
    done = finish(copy, wait=True, timeout=180)
    assert {res["status"] for res in done} == {"ok"}, done
    verified = [res for res in done if res["action"] == "verify"]
    assert [res["verified"]["identical"] for res in verified] == [20, 20, 20]
    assert record_of(copy)["slurm"]["depends_on"][0]["commit"] == copy.git("rev-parse", "HEAD~1")


def test_a_typed_dependency_is_recorded_and_mapped_to_the_new_job(chain, slurm):
    before = chain.git("rev-parse", "HEAD")
    one = schedule(chain, "sbatch --hold a.sh", ["a"])
    two = schedule(chain, f"sbatch --dependency=afterany:{one} --wrap 'cat a > d'", ["d"])
    (relation,) = next(
        res["depends_on"] for res in finish(chain, list_open_jobs=True) if res["depends_on"]
    )
    assert relation == {"slurm_job_id": one, "reason": "typed", "typed": [one]}
    release(slurm, one)
    slurm.wait(one, two)
    assert {res["status"] for res in finish(chain, two, one)} == {"ok"}
    # the one before comes first, whatever was named first
    commits = chain.git("log", "--reverse", "--format=%H", f"{before}..").split()
    (relation,) = record_of(chain)["slurm"]["depends_on"]
    assert relation == {
        "slurm_job_id": one, "reason": "typed", "typed": [one], "commit": commits[0],
    }  # fmt: skip
    for _ in range(2):  # the record of the second says which job its first stood for
        results = reschedule(chain, since=before)
        new = submitted(results)
        release(slurm, new[0])
        slurm.wait(*new)
        asked = ["sacct", "-nXP", "-j", str(new[1]), "-o", "SubmitLine"]
        said = f"--dependency=afterany:{new[0]}"
        wait_until(lambda asked=asked, said=said: said in slurm.run(*asked))
        assert {res["status"] for res in finish(chain)} == {"ok"}
        record = record_of(chain)
        assert f"afterany:{one} " in record["cmd"]
        (relation,) = record["slurm"]["depends_on"]
        assert (relation["slurm_job_id"], relation["typed"]) == (new[0], [one])
    # alone, the last one waits for nothing any more
    done = chain.cli("slurm-reschedule")
    assert f"does not wait for job {one} any more, which is over" in done.stderr
    (job,) = chain.tracked()
    slurm.wait(job)
    finish(chain)
    assert "depends_on" not in record_of(chain)["slurm"]


def test_an_id_of_an_untracked_job_is_kept_while_slurm_knows_that_job(chain, slurm):
    other = slurm.sbatch("-o", "/dev/null", "--wrap", "true")
    slurm.wait(other)
    job = schedule(chain, f"sbatch --dependency=afterany:{other} --wrap 'echo x > d'", ["d"])
    slurm.wait(job)
    finish(chain)
    assert "depends_on" not in record_of(chain)["slurm"]
    done = chain.cli("slurm-reschedule")
    assert "any more" not in done.stderr
    (job,) = chain.tracked()
    slurm.wait(job)
    finish(chain)


def test_a_dry_run_tells_what_the_job_would_wait_for(chain, slurm):
    one = schedule(chain, "sbatch --hold a.sh", ["a"])
    args = ["slurm-schedule", "--dry-run", "basic", "-i", "a", "-o", "b", "sbatch", "b.sh"]
    assert f"depends on: job {one}, which makes a" in chain.cli(*args).stdout
    slurm.run("scancel", str(one))
