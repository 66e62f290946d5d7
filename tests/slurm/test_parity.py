"""What `datalad run` and `rerun` do by an option, and what takes its place here."""

from __future__ import annotations

import pytest
from datalad.api import Dataset

from tests.slurm.test_reschedule import record_of, reschedule
from tests.slurm.test_schedule import finish, schedule


@pytest.fixture
def clone(box, tmp_path):
    """A clone without content of a dataset in which a job reads `data` and writes `out`."""
    box.script("cat data >> out || date > out")
    for name in ("data", "out"):
        (box.path / name).write_text(f"{name}\n")
    box.cli("save", "-m", "data")
    box.cli("clone", str(box.path), str(tmp_path / "clone"), cwd=tmp_path)
    return type(box)(tmp_path / "clone")


@pytest.mark.parametrize(
    ("ready", "fetched", "out_is_link"),
    [("inputs", False, False), ("outputs", True, True), ("both", False, True)],
)
def test_what_is_said_to_be_ready_is_not_prepared(clone, slurm, ready, fetched, out_is_link):
    job = schedule(clone, "sbatch --hold job.sh", inputs=["data"], assume_ready=ready)
    assert (clone.path / "data").exists() is fetched
    assert (clone.path / "out").is_symlink() is out_is_link
    slurm.run("scancel", str(job))


def test_a_rescheduled_job_takes_what_is_ready_as_it_is(clone, slurm):
    slurm.wait(schedule(clone, "sbatch job.sh", inputs=["data"]))
    finish(clone)
    clone.git("annex", "drop", "--force", "--quiet", "data")
    job = reschedule(clone, assume_ready="both")
    assert not (clone.path / "data").exists()
    assert (clone.path / "out").is_symlink()
    slurm.wait(job)


def test_placeholders_of_the_configuration_are_filled_in(box, slurm):
    box.script('echo "$1" > "$2"')
    box.git("config", "-f", ".datalad/config", "datalad.run.substitutions.who", "joe")
    job = schedule(box, "sbatch job.sh {who} {outputs[0]}", ["{who}.txt"])
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert (box.path / "joe.txt").read_text() == "joe\n"
    assert record_of(box)["cmd"] == "sbatch job.sh {who} {outputs[0]}"


def test_a_job_is_run_again_on_another_branch_once_that_is_checked_out(box, slurm):
    box.script("cat version > out")
    (box.path / "version").write_text("old\n")
    box.cli("save", "-m", "old", "--to-git")
    before = box.git("rev-parse", "HEAD")
    slurm.wait(schedule(box, "sbatch job.sh", inputs=["version"]))
    finish(box)
    recorded, main = box.git("rev-parse", "HEAD"), box.git("branch", "--show-current")
    # as `datalad rerun --branch again --onto <before>`
    box.git("switch", "-q", "-c", "again", before)
    (box.path / "version").write_text("new\n")
    box.cli("save", "-m", "new", "--to-git")
    slurm.wait(reschedule(box, recorded))
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert (box.path / "out").read_text() == "new\n"
    assert record_of(box)["chain"] == [recorded]
    assert box.git("rev-parse", main) == recorded
    assert box.git("merge-base", main, "again") == before


def test_methods_of_a_dataset_give_the_results_of_the_functions(box, slurm):
    box.script("echo x >> out")
    dataset = Dataset(box.path)
    quiet = {"result_renderer": "disabled"}
    (scheduled,) = dataset.slurm_schedule("sbatch job.sh", outputs="out", **quiet)
    slurm.wait(scheduled["slurm_job_id"])
    assert {res["action"] for res in dataset.slurm_finish(**quiet)} == {"add", "save"}
    *_, again = dataset.slurm_reschedule(**quiet)
    slurm.wait(again["slurm_job_id"])
    assert box.tracked() == [again["slurm_job_id"]]
    assert again["action"] == "slurm-reschedule"
    assert {"slurm_job_id", "outputs", "path", "status"} <= set(scheduled) & set(again)


def test_the_jobs_to_finish_are_named_in_either_way(box, slurm):
    one, two, three, four = (
        schedule(box, ["sbatch", "--wrap", f"echo {n} > {n}"], [str(n)]) for n in range(4)
    )
    slurm.wait(one, two, three, four)
    box.cli("slurm-finish", "-d", str(box.path), "--slurm-job-id", str(one), cwd=box.path.parent)
    assert box.tracked() == [two, three, four]
    box.cli("slurm-finish", str(two), "--slurm-job-id", str(three))
    assert box.tracked() == [four]
    finish(box, slurm_job_id=four)
    assert box.tracked() == []
