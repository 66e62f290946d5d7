"""`--alt-dir`: what is copied there, what is shared, and where it cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.conftest import DATALAD, Box
from tests.slurm.alt_dirs import assert_clean, content
from tests.slurm.sweeps import claims
from tests.slurm.test_schedule import finish, schedule


def test_only_what_has_changed_is_copied_and_shared_inputs_stay_for_the_last_job(box, slurm, alt):
    for name in ("one", "two"):
        (box.path / name).write_text(f"{name}\n")
    box.cli("save", "-m", "x")
    (alt / "was-there").mkdir()
    (alt / "was-there/file").write_text("mine\n")
    shutil.copy2(box.path / "one", alt / "one")
    first = schedule(
        box, "sbatch --wrap 'cat one two > a'", ["a"], inputs=["one", "two"], alt_dir=str(alt)
    )
    times = (alt / "two").stat().st_ctime_ns
    held = schedule(
        box, "sbatch --hold --wrap 'cat two > sub/b'", ["sub/b"], inputs=["two"], alt_dir=str(alt)
    )
    assert (alt / "two").stat().st_ctime_ns == times
    slurm.wait(first)
    assert {res["status"] for res in finish(box, first)} == {"ok"}
    assert content(alt) == ["one", "sub", "two", "was-there", "was-there/file"]
    slurm.run("scontrol", "release", str(held))
    slurm.wait(held)
    assert {res["status"] for res in finish(box, held)} == {"ok"}
    assert content(alt) == ["one", "was-there", "was-there/file"]
    assert not (alt / ".datalad-slurm").exists()
    assert (box.path / "sub/b").read_text() == "two\n"


def test_a_changed_input_is_copied_again_but_not_under_an_open_job(box, slurm, alt):
    (box.path / "in").write_text("1\n")
    held = schedule(
        box, "sbatch --hold --wrap 'cat in > a'", ["a"], inputs=["in"], alt_dir=str(alt)
    )
    (box.path / "in").write_text("22\n")
    command = ["slurm-schedule", "-a", str(alt), "-i", "in", "-o", "b", "sbatch", "--wrap", "cat in > b"]  # fmt: skip # noqa: E501
    done = box.cli(*command, code=1)
    assert f"'in' has changed since it was copied to {alt} for job {held}, which is open" in (
        " ".join(done.stdout.split())
    )
    assert (alt / "in").read_text() == "1\n"
    slurm.run("scancel", str(held))
    slurm.wait(held)
    finish(box, held, close_failed_jobs=True)
    box.cli(*command)
    assert (alt / "in").read_text() == "22\n"
    slurm.wait(*box.tracked())
    finish(box)
    assert (box.path / "b").read_text() == "22\n"
    assert content(alt) == []


def test_jobs_that_are_scheduled_and_finished_at_the_same_time_share_their_inputs(box, slurm, alt):
    for name in ("in1", "in2"):
        (box.path / name).write_text(f"{name}\n")
    box.cli("save", "-m", "x")

    def start(n):
        words = ["-a", str(alt), "-i", "in*", "-o", f"o{n}/x", "sbatch", "--wrap"]
        command = [DATALAD, "slurm-schedule", *words, f"cat in1 in2 > o{n}/x"]
        return subprocess.Popen(command, cwd=box.path, stdout=subprocess.PIPE, text=True)

    for first in (0, 3):
        started = [start(n) for n in range(first, first + 3)]
        while any(process.poll() is None for process in started):
            finish(box)
        for process in started:
            assert process.returncode == 0, process.stdout.read()
    slurm.wait(*box.tracked())
    finish(box)
    assert [(box.path / f"o{n}/x").read_text() for n in range(6)] == ["in1\nin2\n"] * 6
    assert_clean(box, alt)


def test_what_marks_the_dataset_as_the_owner_is_not_written_under_a_reader(box, slurm, alt):
    jobs, seen = [], []
    for name in ("a", "b"):
        jobs.append(schedule(box, "sbatch --hold --wrap true", [name], alt_dir=str(alt)))
        found = (box.path / ".git/datalad-slurm/alt-dir/owner").stat()
        seen.append((found.st_ino, found.st_mtime_ns))
    slurm.run("scancel", *map(str, jobs))
    assert seen[0] == seen[1]


def test_an_output_of_an_open_job_there_is_no_input(box, slurm, alt):
    (box.path / "x").write_text("1\n")
    held = schedule(box, "sbatch --hold --wrap 'date > x'", ["x"], alt_dir=str(alt))
    done = box.cli(
        "slurm-schedule", "-a", str(alt), "-i", "x", "-o", "b", "sbatch", "--wrap", "true", code=1
    )
    assert f"input 'x' is an output of job {held}, which is open in {alt}" in done.stdout
    assert box.tracked() == [held]
    assert content(alt) == []
    slurm.run("scancel", str(held))


def wrong_directories(box, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "to-ds").symlink_to(box.path)
    (box.path / "sub").mkdir()
    return {
        str(tmp_path / "none"): f"directory {tmp_path}/none does not exist",
        str(tmp_path / "file"): f"directory {tmp_path}/file is not a directory",
        str(box.path): f"directory {box.path} is inside the dataset",
        str(box.path / "sub"): f"directory {box.path}/sub is inside the dataset",
        str(tmp_path): f"directory {tmp_path} contains the dataset",
        str(tmp_path / "to-ds/sub"): f"directory {box.path}/sub (given as ",
        "sub": "(given as 'sub') is inside the dataset",
        "none": "(given as 'none') does not exist",
    }


def test_a_wrong_directory_is_refused_before_anything_happens(box, slurm, tmp_path):
    for directory, said in wrong_directories(box, tmp_path).items():
        done = box.cli(
            "slurm-schedule", "-a", directory, "-o", "out", "sbatch", "--wrap", "true", code=1
        )
        assert said in done.stdout, (directory, done.stdout)
        assert "Submitted" not in done.stderr
    assert box.tracked() == []
    assert claims(box) == []


def test_a_directory_that_cannot_be_written_to_is_refused(box, slurm, alt):
    alt.chmod(0o500)
    is_root = os.geteuid() == 0
    if (
        is_root
        and subprocess.run(["chattr", "+i", alt], check=False, capture_output=True).returncode
    ):
        pytest.skip("nothing here that root cannot write to")
    try:
        done = box.cli(
            "slurm-schedule", "-a", str(alt), "-o", "out", "sbatch", "--wrap", "true", code=1
        )
    finally:
        if is_root:
            subprocess.run(["chattr", "-i", alt], check=True)
    assert f"directory {alt} cannot be written to" in done.stdout
    assert claims(box) == []


def test_a_directory_that_each_node_has_for_itself_is_warned_of(box, slurm, alt, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(alt.parent))
    done = box.cli("slurm-schedule", "-a", str(alt), "-o", "out", "sbatch", "--wrap", "date > out")
    assert f"{alt} is below" in done.stderr
    assert len(box.tracked()) == 1


def test_another_dataset_cannot_use_the_directory_meanwhile(box, slurm, alt, tmp_path):
    job = schedule(box, "sbatch --wrap 'date > out'", alt_dir=str(alt))
    shutil.copytree(box.path, tmp_path / "clone", symlinks=True)
    clone = Box(tmp_path / "clone")
    shutil.rmtree(clone.path / ".git/datalad-slurm")
    command = ["slurm-schedule", "-a", str(alt), "-o", "out", "sbatch", "--wrap", "date > out"]
    done = clone.cli(*command, code=1)
    assert f"jobs of the dataset {box.path}" in done.stdout
    slurm.wait(job)
    finish(box)
    clone.cli(*command)
    slurm.wait(*clone.tracked())
    assert {res["status"] for res in finish(clone)} == {"ok"}
    assert_clean(clone, alt)
