"""`--alt-dir`: placeholders, submissions that fail, links, subdatasets, repetition."""

from __future__ import annotations

import os
import shutil

from tests.conftest import Box
from tests.slurm.alt_dirs import assert_clean, content, held_jobs, messages
from tests.slurm.sweeps import claims
from tests.slurm.test_reschedule import record_of, reschedule
from tests.slurm.test_schedule import finish, schedule


def test_placeholders_lead_to_where_the_job_runs(box, slurm, alt):
    (box.path / "d").mkdir()
    (box.path / "d/in").write_text("1\n")
    box.script("printf '%s\\n' \"$@\" > out", "d/job.sh")
    box.cli(
        "slurm-schedule", "-a", str(alt), "-i", "in", "-o", "out",
        "sbatch {dspath}/d/job.sh {pwd} {dspath} {inputs} {outputs}", cwd=box.path / "d",
    )  # fmt: skip
    slurm.wait(*box.tracked())
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert (box.path / "d/out").read_text().split() == [f"{alt}/d", str(alt), "in", "out"]


def test_what_the_command_reads_besides_its_script_is_asked_for(box, slurm, alt):
    box.script("sbatch --wrap 'date > out'", "submit")
    done = box.cli("slurm-schedule", "-a", str(alt), "-o", "out", "bash", "submit", code=1)
    assert f"it ran in {alt}: what it reads there" in " ".join(done.stdout.split())
    assert box.tracked() == []
    assert list(alt.iterdir()) == []
    box.cli("slurm-schedule", "-a", str(alt), "-i", "submit", "-o", "out", "bash", "submit")
    slurm.wait(*box.tracked())
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert_clean(box, alt)


def test_a_submission_that_fails_leaves_nothing_there(box, slurm, alt):
    (box.path / "in").write_text("1\n")
    box.cli(
        "slurm-schedule", "-a", str(alt), "-i", "in", "-o", "deep/out",
        "sbatch", "--partition=none", "--wrap", "true", code=1,
    )  # fmt: skip
    assert list(alt.iterdir()) == []
    assert claims(box) == []
    done = box.cli(
        "slurm-schedule", "-a", str(alt), "-i", "../x", "--assume-ready", "inputs", "-o", "out",
        "sbatch", "--wrap", "true", code=1,
    )  # fmt: skip
    assert "input '../x' is outside the dataset" in done.stdout
    (box.path / "dangling").symlink_to("gone")
    done = box.cli(
        "slurm-schedule", "-a", str(alt), "-i", "dangling", "--assume-ready", "inputs", "-o", "out",
        "sbatch", "--wrap", "true", code=1,
    )  # fmt: skip
    assert "'dangling' is a link to nothing" in done.stdout
    assert claims(box) == []


def test_inputs_stay_for_a_job_that_sbatch_was_not_seen_to_submit(box, slurm, alt):
    (box.path / "in").write_text("1\n")
    real = shutil.which("sbatch")
    command = f"{real} --hold --wrap 'cat in > out' > /dev/null"
    done = box.cli("slurm-schedule", "-a", str(alt), "-i", "in", "-o", "out", command, code=1)
    (job,) = [job for job, where in held_jobs(slurm) if where == str(alt)]
    assert f"{job} was submitted from here meanwhile" in " ".join(done.stdout.split())
    assert content(alt) == ["in"]
    box.cli("slurm-schedule", "--job-id", str(job), "-a", str(alt), "-o", "out")
    slurm.run("scontrol", "release", str(job))
    slurm.wait(job)
    finish(box)
    assert (box.path / "out").read_text() == "1\n"
    assert content(alt) == ["in"]


def test_a_script_that_was_made_executable_is_copied_again(box, slurm, alt):
    (box.path / "tool").write_text("#!/bin/sh\ndate\n")
    (alt / "tool").write_text("")
    shutil.copy2(box.path / "tool", alt / "tool")
    (box.path / "tool").chmod(0o755)
    job = schedule(box, "sbatch --wrap './tool > out'", inputs=["tool"], alt_dir=str(alt))
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}


def test_what_a_job_removes_or_keeps_of_inputs_among_its_outputs(box, slurm, alt):
    (box.path / "out").mkdir()
    for name in ("gone", "kept", "changed", "not-an-input"):
        (box.path / "out" / name).write_text(f"{name}\n")
    box.cli("save", "-m", "x")
    job = schedule(
        box,
        "sbatch --wrap 'rm out/gone; echo more >> out/changed'",
        inputs=["out/gone", "out/kept", "out/changed"],
        alt_dir=str(alt),
    )
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    changed = {path for path in box.files_in_last_commit() if path.startswith("out/")}
    assert changed == {"out/gone", "out/changed"}
    assert sorted(os.listdir(box.path / "out")) == ["changed", "kept", "not-an-input"]
    assert (box.path / "out/changed").read_text() == "changed\nmore\n"
    assert_clean(box, alt)


def test_links_on_the_way_and_links_that_the_job_makes(box, slurm, alt):
    (box.path / "real/out").mkdir(parents=True)
    (box.path / "real/in").write_text("1\n")
    (box.path / "link").symlink_to("real")
    box.cli("save", "-m", "x")
    box.script(
        "cat link/in > link/out/a; ln -s a link/out/relative; ln -s $PWD/link/in link/out/absolute"
    )
    job = schedule(box, "sbatch job.sh", ["link/out"], inputs=["link/in"], alt_dir=str(alt))
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert (box.path / "real/out/a").read_text() == "1\n"
    assert os.readlink(box.path / "real/out/relative") == "a"
    assert not os.readlink(box.path / "real/out/absolute").startswith("/")
    assert (box.path / "real/out/absolute").read_text() == "1\n"
    assert_clean(box, alt)


def test_an_output_that_is_not_there_and_one_that_cannot_be_committed_are_named(box, slurm, alt):
    (box.path / "old").write_text("old\n")
    box.cli("save", "-m", "x")
    job = schedule(
        box, "sbatch --wrap 'mkdir out; mkfifo out/pipe; echo 1 > out/a'", ["old", "out"],
        alt_dir=str(alt),
    )  # fmt: skip
    slurm.wait(job)
    said = messages(finish(box))
    assert any(f"left {alt}/out/pipe, which cannot be committed" in text for text in said)
    assert f"job {job} declared this output, but there is nothing" in said
    assert (box.path / "old").read_text() == "old\n"
    assert content(alt) == ["out", "out/pipe"]
    assert box.status() == ""


def test_outputs_come_back_into_subdatasets(box, slurm, alt):
    box.cli("create", "-d", ".", "sub")
    (box.path / "sub/in").write_text("1\n")
    box.cli("save", "-d", ".", "-r", "-m", "x")
    job = schedule(
        box, "sbatch --wrap 'cat sub/in > sub/out'", ["sub/out"], inputs=["sub/in"],
        alt_dir=str(alt),
    )  # fmt: skip
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert (box.path / "sub/out").read_text() == "1\n"
    assert Box(box.path / "sub").files_in_last_commit() == {"out"}
    assert_clean(box, alt)


def test_a_recorded_job_runs_there_or_elsewhere_or_in_place_again(box, slurm, alt, tmp_path):
    (box.path / "in").write_text("1\n")
    box.cli("save", "-m", "x")
    box.script("cat in >> out")
    job = schedule(box, "sbatch job.sh", inputs=["in"], alt_dir=str(alt))
    slurm.wait(job)
    finish(box)
    (tmp_path / "other").mkdir()
    for place, expected in (
        (str(alt), "1\n"),
        (str(tmp_path / "other"), "1\n"),
        (None, "1\n1\n"),
    ):
        again = reschedule(box, alt_dir=place)
        slurm.wait(again)
        assert {res["status"] for res in finish(box)} == {"ok"}
        assert (box.path / "out").read_text() == expected
    assert len(record_of(box)["chain"]) == 3
    assert list((tmp_path / "other").iterdir()) == []
    assert_clean(box, alt)


def test_a_job_that_was_submitted_there_by_hand_can_be_tracked(box, slurm, alt, monkeypatch):
    (alt / "sub").mkdir()
    monkeypatch.chdir(alt / "sub")
    job = slurm.sbatch("--wrap", "echo 1 > out")
    done = box.cli("slurm-schedule", "--job-id", str(job), "-o", "sub/out", code=1)
    assert "if it runs in an alternative directory, name that (-a)" in " ".join(done.stdout.split())
    box.cli("slurm-schedule", "--job-id", str(job), "-a", str(alt), "-o", "sub/out")
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert (box.path / "sub/out").read_text() == "1\n"
    assert record_of(box)["pwd"] == "sub"
    assert content(alt) == ["sub"]
