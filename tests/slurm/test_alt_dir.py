"""`--alt-dir`: a job runs in a directory that stands for the dataset's root."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from datalad.api import slurm_schedule

from tests.slurm.alt_dirs import NO_UTF8, assert_clean, content, messages
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import ODD_NAMES, finish, schedule


def test_a_job_runs_there_with_its_inputs_as_files_and_leaves_nothing(box, slurm, either):
    (box.path / "sub/data").mkdir(parents=True)
    (box.path / "sub/data/annexed").write_bytes(os.urandom(100_000))
    (box.path / "sub/tool").write_text("#!/bin/sh\necho run\n")
    (box.path / "sub/tool").chmod(0o755)
    box.cli("save", "-m", "data")
    box.script(
        "pwd; ./tool; find data -type l; touch data/annexed tool\n"
        "mkdir out; cp data/annexed out/copy",
        "sub/job.sh",
    )
    box.cli(
        "slurm-schedule", "-a", str(either), "-i", "data", "-i", "tool", "-o", "out",
        "sbatch", "job.sh", cwd=box.path / "sub",
    )  # fmt: skip
    (entry,) = (res for res in finish(box, list_open_jobs=True))
    assert entry["alt_dir"] == str(either)
    slurm.wait(entry["slurm_job_id"])
    job = entry["slurm_job_id"]
    before = (box.path / "sub/data/annexed").read_bytes()
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, results
    assert (box.path / f"sub/slurm-{job}.out").read_text() == f"{either}/sub\nrun\n"
    assert (box.path / "sub/out/copy").read_bytes() == before
    assert box.files_in_last_commit() == {
        "sub/out/copy", f"sub/slurm-{job}.out", f"sub/slurm-job-{job}.env.json"
    }  # fmt: skip
    record = record_of(box)
    assert record["pwd"] == "sub"
    assert record["slurm_outputs"] == [f"sub/slurm-{job}.out", f"sub/slurm-job-{job}.env.json"]
    assert str(either) not in json.dumps(record)
    # the job has changed their times, so they are no longer the copies that were made
    assert content(either) == ["sub", "sub/data", "sub/data/annexed", "sub/tool"]
    shutil.rmtree(either / "sub")
    assert_clean(box, either)


def test_odd_names_go_and_come_back(box, slurm, alt):
    (box.path / "in").mkdir()
    names = [*ODD_NAMES, NO_UTF8]
    for name in names:
        (box.path / "in" / name).write_text(f"{name}\n", errors="surrogateescape")
    box.git("-c", "annex.largefiles=nothing", "add", "in")
    box.git("commit", "-qm", "odd names")
    box.script("cp -r in out")
    job = schedule(box, "sbatch job.sh", inputs=["in"], alt_dir=str(alt))
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert sorted(os.listdir(box.path / "out")) == sorted(names)
    held = box.git("-c", "core.quotePath=true", "ls-tree", "-r", "--name-only", "HEAD", "out")
    assert len(held.splitlines()) == len(names)
    assert box.status() == ""
    assert list(alt.iterdir()) == []
    assert not (box.path / "pwned").exists()


def test_globs_among_inputs_are_copied_and_others_are_not(box, slurm, alt):
    for name in ("a.txt", "b.txt", "c.csv"):
        (box.path / name).write_text(f"{name}\n")
    job = schedule(
        box, ["sbatch", "--wrap", "ls > out"], inputs=["*.txt"], alt_dir=str(alt)
    )  # fmt: skip
    slurm.wait(job)
    finish(box)
    assert (box.path / "out").read_text().split()[:2] == ["a.txt", "b.txt"]
    assert "c.csv" not in (box.path / "out").read_text()


def test_globs_in_outputs_are_expanded_where_the_job_runs(box, slurm, alt):
    (box.path / "out").mkdir()
    (box.path / "out/old.csv").write_text("old\n")
    (box.path / "in.csv").write_text("in\n")
    box.cli("save", "-m", "x")
    box.script("for name in a.csv b[1].csv c.txt; do echo $name > out/$name; done")
    job = schedule(box, "sbatch job.sh", ["out/*.csv"], inputs=["*.csv"], alt_dir=str(alt))
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert sorted(os.listdir(box.path / "out")) == ["a.csv", "b[1].csv", "old.csv"]
    assert (box.path / "out/b[1].csv").read_text() == "b[1].csv\n"
    assert content(alt) == ["out", "out/c.txt"]  # nobody has declared it
    assert box.status() == ""


def test_the_record_tells_inputs_and_script_as_those_of_the_dataset(box, slurm, alt):
    (box.path / "in").write_text("1\n")
    box.cli("save", "-m", "x")
    box.script("cat ../in > ../out", "d/job.sh")
    box.cli(
        "slurm-schedule", "-a", str(alt), "-i", "../in", "-o", "../out", "sbatch", "job.sh",
        cwd=box.path / "d",
    )  # fmt: skip
    slurm.wait(*box.tracked())
    assert {res["status"] for res in finish(box)} == {"ok"}
    record = record_of(box)
    assert record["slurm"]["script"]["path"] == "d/job.sh"
    assert [entry["path"] for entry in record["slurm"]["inputs"]] == ["in"]
    assert str(alt) not in json.dumps(record)


def test_a_dry_run_shows_where_the_job_would_run_and_copies_nothing(box, slurm, alt):
    (box.path / "in").write_text("1\n")
    (result,) = slurm_schedule(
        "sbatch --wrap 'cat in > {dspath}/out'", dataset=box.path, inputs=["in"], outputs=["out"],
        alt_dir=str(alt), dry_run="basic", result_renderer="disabled",
    )  # fmt: skip
    assert result["dry_run_info"]["pwd_full"] == str(alt)
    assert result["dry_run_info"]["cmd_expanded"] == f"sbatch --wrap 'cat in > {alt}/out'"
    assert list(alt.iterdir()) == []


def test_logs_of_an_array_are_brought_back_also_from_a_directory_that_must_exist(box, slurm, alt):
    (box.path / "logs").mkdir()
    (box.path / "logs/.keep").write_text("")
    box.script("#SBATCH --array=1-3 -o logs/%A_%a\nmkdir -p out; echo $SLURM_ARRAY_TASK_ID | tee out/$SLURM_ARRAY_TASK_ID")  # fmt: skip # noqa: E501
    box.cli("save", "-m", "x")
    job = schedule(box, "sbatch job.sh", alt_dir=str(alt))
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    for task in (1, 2, 3):
        assert (box.path / f"logs/{job}_{task}").read_text() == f"{task}\n"
        assert (box.path / f"out/{task}").read_text() == f"{task}\n"
    assert_clean(box, alt)


def test_a_script_below_chdir_is_copied(box, slurm, alt):
    box.script("date > ../out", "sub/job.sh")
    job = schedule(box, "sbatch -D sub job.sh", alt_dir=str(alt))
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert (box.path / "out").exists()
    assert_clean(box, alt)


@pytest.mark.parametrize("form", ["locked", "unlocked", "untracked"])
def test_what_the_dataset_has_in_the_place_of_outputs_and_logs_is_replaced(box, slurm, alt, form):
    for name in ("out", "log"):
        (box.path / name).write_text("old\n")
    if form != "untracked":
        box.cli("save", "-m", "old")
    if form == "unlocked":
        box.git("annex", "unlock", "--quiet", "out", "log")
        box.cli("save", "-m", "unlocked")
    job = schedule(box, "sbatch -o log --wrap 'cat out; echo new | tee out'", alt_dir=str(alt))
    slurm.wait(job)
    assert (box.path / "out").read_text() == "old\n"
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert (box.path / "out").read_text() == "new\n"
    assert "No such file" in (box.path / "log").read_text()
    assert_clean(box, alt)


def test_a_failed_job_can_be_accepted_or_closed_and_then_its_files_stay(box, slurm, alt):
    box.script("echo $1 > $1; exit 3")
    jobs = [schedule(box, f"sbatch job.sh {n}", [n], alt_dir=str(alt)) for n in ("a", "b")]
    slurm.wait(*jobs)
    (said,) = messages(finish(box, jobs[0]))
    assert f"datalad slurm-reschedule -d {box.path} --retry {jobs[0]}" in said
    assert {res["status"] for res in finish(box, jobs[0], accept_failed_jobs=True)} == {"ok"}
    assert (box.path / "a").read_text() == "a\n"
    (closed,) = finish(box, jobs[1], close_failed_jobs=True)
    assert closed["message"].endswith(f"; what it has in {alt} stays there")
    # the script was copied for the first job, and the second one's files are left alone
    assert content(alt) == ["b", f"slurm-{jobs[1]}.out"]
    assert not (alt / ".datalad-slurm").exists()
    assert box.status() == ""
    assert box.tracked() == []
