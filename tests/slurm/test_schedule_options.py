"""Options of `slurm-schedule` that `datalad run` has as well."""

from __future__ import annotations

import pytest
from datalad.api import slurm_schedule

from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule


@pytest.fixture
def inputs(box):
    """Return a dataset with two annexed inputs and an annexed output, all locked."""
    (box.path / "sub").mkdir()
    for name in ("sub/a 1.csv", "sub/b.csv", "sub/out"):
        (box.path / name).write_text(f"{name}\n")
    box.script('cat "$@" > out', "sub/job.sh")
    box.cli("save", "-m", "inputs")
    return box


def dry_run(box, *args, **kwargs):
    (result,) = slurm_schedule(
        *args, dataset=box.path, result_renderer="disabled", on_failure="ignore", **kwargs
    )
    return result


def test_a_dry_run_shows_what_would_be_submitted_and_changes_nothing(inputs, slurm):
    cmd = ["sbatch", "job.sh", "{inputs}", "{outputs[0]}", "{pwd}", "{{}}"]
    args = ["-i", "*.csv", "-o", "out", "--expand", "both", "--", *cmd]
    done = inputs.cli("slurm-schedule", "--dry-run", "basic", *args, cwd=inputs.path / "sub")
    pwd = inputs.path / "sub"
    assert done.stdout == (
        "Dry run information\n"
        f" location: {pwd}\n"
        " expanded inputs:\n"
        "   a 1.csv\n"
        "   b.csv\n"
        " expanded outputs: out\n"
        " command: sbatch job.sh '{inputs}' '{outputs[0]}' '{pwd}' '{{}}'\n"
        f" expanded command: sbatch job.sh ''a 1.csv' b.csv' 'out' '{pwd}' '{{}}'\n"
    )
    assert (inputs.path / "sub/out").is_symlink()
    assert inputs.tracked() == []
    assert inputs.status() == ""


def test_a_dry_run_for_the_command_prints_the_command_only(inputs, slurm):
    done = inputs.cli(
        *["slurm-schedule", "--dry-run", "command", "-i", "sub/*.csv", "-o", "out"],
        "sbatch job.sh {inputs}",
    )
    assert done.stdout == "sbatch job.sh 'sub/a 1.csv' sub/b.csv\n"


def test_a_dry_run_needs_no_slurm_and_no_content(inputs, tmp_path, monkeypatch):
    inputs.cli("clone", str(inputs.path), str(tmp_path / "clone"), cwd=tmp_path)
    clone = type(inputs)(tmp_path / "clone")
    monkeypatch.setenv("SLURM_CONF", "/nowhere")
    result = dry_run(
        clone, "sbatch job.sh", inputs=["sub/*.csv"], outputs=["out"], dry_run="basic", message="x"
    )
    assert result["action"] == "slurm-schedule [dry-run]"
    assert result["dry_run_info"]["inputs"] == ["sub/a 1.csv", "sub/b.csv"]
    assert result["run_info"]["inputs"] == ["sub/*.csv"]
    assert result["run_info"]["outputs"] == ["out"]
    assert not (clone.path / "sub/b.csv").exists()


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"cmd": "sbatch {nope}", "outputs": ["out"]}, "placeholder"),
        ({"cmd": "sbatch", "outputs": ["/etc/x"]}, "outside the dataset"),
        ({"cmd": "sbatch"}, "at least one output"),
        ({"cmd": " ", "outputs": ["out"]}, "no command"),
    ],
)
def test_a_dry_run_refuses_what_would_be_refused(box, kwargs, said):
    result = dry_run(box, dry_run="command", **kwargs)
    assert result["status"] == "impossible"
    assert said in result["message"]


@pytest.mark.parametrize(
    ("expand", "recorded"),
    [("inputs", ["a 1.csv", "b.csv"]), ("both", ["a 1.csv", "b.csv"]), ("outputs", ["*.csv"])],
)
def test_the_record_names_what_globs_match_where_that_is_wanted(
    inputs, slurm, monkeypatch, expand, recorded
):
    monkeypatch.chdir(inputs.path / "sub")
    inputs.cli(
        *["slurm-schedule", "--expand", expand, "-i", "*.csv", "-o", "out"],
        "sbatch job.sh {inputs}; touch later.csv",
        cwd=inputs.path / "sub",
    )
    slurm.wait(*inputs.tracked())
    assert {res["status"] for res in finish(inputs)} == {"ok"}
    assert record_of(inputs)["inputs"] == recorded
    assert (inputs.path / "sub/out").read_text() == "sub/a 1.csv\nsub/b.csv\n"


def test_an_expanded_name_that_looks_like_a_glob_stands_for_itself(box, slurm):
    for name in ("a[1].txt", "a1.txt"):
        (box.path / name).write_text(f"{name}\n")
    box.cli("save", "-m", "inputs")
    cmd = "sbatch --wrap 'cat '{inputs}' > out'"
    job = schedule(box, cmd, inputs=["a[[]*.txt"], expand="inputs")
    slurm.wait(job)
    finish(box)
    assert record_of(box)["inputs"] == ["a[[]1].txt"]
    result = box.cli("slurm-reschedule", "--report")
    assert " inputs: a[1].txt\n" in result.stdout


def test_outputs_of_open_jobs_are_taken_when_that_is_asked_for(box, slurm):
    box.script("echo x >> out")
    one = schedule(box, "sbatch job.sh")
    box.cli("slurm-schedule", "--check-outputs", "yes", "-o", "out", "sbatch", "job.sh", code=1)
    box.cli("slurm-schedule", "--check-outputs", "no", "-o", "out", "sbatch", "job.sh")
    two = schedule(box, "sbatch job.sh", check_outputs=False)
    jobs = box.tracked()
    assert len(jobs) == 3
    assert {one, two} < set(jobs)
    slurm.wait(*jobs)
    finish(box)
    assert box.tracked() == []


@pytest.mark.parametrize(
    "args",
    [
        ["--dry-run", "all", "-o", "x", "sbatch"],
        ["--expand", "all", "-o", "x", "sbatch"],
        ["-J", "0", "-o", "x", "sbatch"],
        ["-J", "many", "-o", "x", "sbatch"],
        ["--check-outputs", "perhaps", "-o", "x", "sbatch"],
        ["--job-id", "1", "--dry-run", "basic", "-o", "x"],
    ],
)
def test_options_with_other_values_are_refused(box, args):
    done = box.cli("slurm-schedule", *args, code=None)
    assert done.returncode != 0
    assert box.tracked() == []


@pytest.mark.parametrize("jobs", ["auto", 3])
def test_inputs_are_fetched_by_several_at_a_time(inputs, slurm, tmp_path, jobs, monkeypatch):
    inputs.cli("clone", str(inputs.path), str(tmp_path / "clone"), cwd=tmp_path)
    clone = type(inputs)(tmp_path / "clone")
    asked = []
    import datalad.core.local.run as run

    real = run.prepare_inputs
    monkeypatch.setattr(
        run, "prepare_inputs", lambda *args, **kw: asked.append(kw["jobs"]) or real(*args, **kw)
    )
    job = schedule(clone, "sbatch --wrap 'cat sub/*.csv > out'", inputs=["sub/*.csv"], jobs=jobs)
    slurm.wait(job)
    finish(clone)
    assert asked == [jobs]
    assert (clone.path / "out").read_text() == "sub/a 1.csv\nsub/b.csv\n"
