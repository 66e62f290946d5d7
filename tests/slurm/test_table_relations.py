"""Rows of a table that read what others write, and values with sbatch's percent sign."""

from __future__ import annotations

import pytest
from datalad.api import slurm_schedule

from tests.slurm.pipelines import dependency, release
from tests.slurm.sweeps import QUIET, claims
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule
from tests.slurm.test_table import submit, table, told


def test_each_row_waits_for_the_open_job_that_makes_its_input(box, slurm):
    makers = [
        schedule(box, ["sbatch", "--hold", "--wrap", f"echo {name} > {name}"], [name])
        for name in "xy"
    ]
    path = table(box, "x,1", "y,2", "z,3")
    (box.path / "z").write_text("z\n")
    box.cli("save", "-m", "an input that is there", "z")
    command = ["sbatch", "--wrap", "cat {name} > {name}.out"]
    results = submit(box, path, command, ["{name}.out"], inputs=["{name}"])
    jobs = [job for _, _, job in told(results)]
    assert [
        [each["slurm_job_id"] for each in res.get("depends_on", ())] for res in results
    ] == [[makers[0]], [makers[1]], []]  # fmt: skip
    for maker, job in zip(makers, jobs, strict=False):
        assert dependency(slurm, job) == f"afterok:{maker}(unfulfilled)"
    slurm.wait(jobs[2])
    release(slurm, *makers)
    slurm.wait(*jobs)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert [(box.path / f"{name}.out").read_text() for name in "xyz"] == ["x\n", "y\n", "z\n"]
    for job in jobs[:2]:
        commit = box.git("log", "--format=%H", f"--grep=Slurm job {job}:")
        (relation,) = record_of(box, commit)["slurm"]["depends_on"]
        made = f"--grep=Slurm job {relation['slurm_job_id']}:"
        assert relation["commit"] == box.git("log", "--format=%H", made)


@pytest.mark.parametrize(("reader", "writer"), [(0, 1), (1, 0)], ids=["later", "earlier"])
@pytest.mark.parametrize("how", ["submit", "dry_run"])
def test_a_row_that_reads_what_another_one_writes_is_refused(box, slurm, reader, writer, how):
    rows = {reader: "one,two", writer: "two,three"}
    path = table(box, rows[0], rows[1], header="to,from")
    (box.path / "three").write_text("")
    more = {"dry_run": "basic"} if how == "dry_run" else {}
    (result,) = submit(
        box, path, ["sbatch", "--wrap", "cat {from} > {to}"], ["{to}"], inputs=["{from}"], **more
    )
    assert result["status"] == "impossible"
    assert (
        f"line {reader + 2} of {path}: input 'two' is an output of line {writer + 2} of {path}, "
        "and rows of one table cannot wait for each other"
    ) in result["message"]
    assert box.tracked() == []


def test_a_percent_sign_in_a_value_stands_for_itself(box, slurm):
    names = ["50%", "%a", "%j%%", "a%4x"]
    path = table(box, *names, header="name")
    results = submit(
        box, path, ["sbatch", "--wrap", "mkdir -p out; printf %s {name} > out/{name}"],
        ["out/{name}"],
    )  # fmt: skip
    jobs = [job for _, _, job in told(results)]
    assert claims(box) == [f"out/{name}" for name in names]
    slurm.wait(*jobs)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert [(box.path / "out" / name).read_text() for name in names] == names
    # and in a record, from which the job is run again
    assert [each for each in record_of(box)["outputs"] if "%" in each] == [f"out/{names[-1]}"]
    done = box.cli("slurm-reschedule")
    (job,) = box.tracked()
    assert claims(box) == [f"out/{names[-1]}"], done.stdout
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}


@pytest.mark.parametrize("option", [{"then_finish": True}, {"then_push": "origin"}])
def test_the_jobs_of_a_table_are_not_finished_one_by_one(box, slurm, option):
    path = table(box, "x", header="name")
    with pytest.raises(ValueError, match="--then-finish is for one job"):
        slurm_schedule(
            ["sbatch", "--wrap", "true"], dataset=box.path, outputs=["{name}"], table=path,
            **QUIET, **option,
        )  # fmt: skip
    assert box.tracked() == []
