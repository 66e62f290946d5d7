"""`--alt-dir`: a job runs in a directory that stands for the dataset's root."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from datalad.api import slurm_finish, slurm_reschedule, slurm_schedule

from datalad_slurm.jobs.errors import TransferError
from datalad_slurm.workflow import alt_dir as placing
from datalad_slurm.workflow import bring_back
from tests.conftest import DATALAD, Box, wait_until
from tests.crash import Crasher
from tests.slurm.sweeps import assert_sound, claims, jobs_in_history
from tests.slurm.test_reschedule import record_of, reschedule
from tests.slurm.test_schedule import ODD_NAMES, finish, schedule

_QUIET = {"result_renderer": "disabled", "on_failure": "ignore"}
NO_UTF8 = os.fsdecode(b"\xff\xfe")


@pytest.fixture
def alt(tmp_path):
    path = tmp_path / "alt"
    path.mkdir()
    return path


@pytest.fixture(params=["same file system", "other file system"])
def either(request, alt):
    if request.param.startswith("same"):
        yield alt
        return
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no /dev/shm")
    path = Path(f"/dev/shm/alt-{os.getpid()}-{time.time_ns()}")
    path.mkdir()
    yield path
    shutil.rmtree(path)


def held_jobs(slurm):
    lines = slurm.run("squeue", "-h", "-o", "%A|%Z").splitlines()
    return [(int(line.partition("|")[0]), line.partition("|")[2]) for line in lines]


def content(directory):
    """Return all that is in a directory, without what is ours."""
    return sorted(
        os.path.relpath(os.path.join(where, name), directory)
        for where, dirs, files in os.walk(directory)
        for name in (*dirs, *files)
        if ".datalad-slurm" not in os.path.join(where, name)
    )


def assert_clean(box, directory):
    assert list(directory.iterdir()) == []
    assert box.status() == ""
    assert box.git("annex", "fsck", "--quiet") == ""
    assert list((box.path / ".git/datalad-slurm/alt-dir").glob("*.json")) == []
    assert not (box.path / ".git/datalad-slurm/incoming").exists()


def messages(results):
    return [res.get("message", "") for res in results if res["status"] not in ("ok", "notneeded")]


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


def test_a_directory_that_is_not_mounted_leaves_the_job_open(box, slurm, alt):
    job = schedule(box, "sbatch --wrap 'echo 1 > out'", alt_dir=str(alt))
    slurm.wait(job)
    alt.rename(alt.parent / "away")
    alt.mkdir()
    (said,) = messages(finish(box))
    assert said.startswith(f"Slurm job {job} was not committed and is still open: {alt}/.datalad-")
    assert "may not be mounted here" in said
    assert box.tracked() == [job]
    alt.rmdir()
    (alt.parent / "away").rename(alt)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert_clean(box, alt)


def test_outputs_that_are_lost_do_not_keep_a_job_open_for_ever(box, slurm, alt):
    job = schedule(box, "sbatch --wrap 'echo 1 > out'", alt_dir=str(alt))
    slurm.wait(job)
    shutil.rmtree(alt)
    (alt / ".datalad-slurm").mkdir(parents=True)
    assert f"job {job} declared this output, but there is nothing" in messages(finish(box))
    assert box.tracked() == []


def test_something_else_in_the_place_of_an_output_leaves_the_job_open(box, slurm, alt):
    job = schedule(box, "sbatch --wrap 'mkdir d; echo 1 > d/out'", ["d/out"], alt_dir=str(alt))
    slurm.wait(job)
    (box.path / "d").rmdir() if (box.path / "d").exists() else None
    (box.path / "d").write_text("mine\n")
    (said,) = messages(finish(box))
    assert f"Slurm job {job} was not committed and is still open: 'd/out' cannot be brought" in said
    assert (box.path / "d").read_text() == "mine\n"
    assert (alt / "d/out").read_text() == "1\n"
    (box.path / "d").unlink()
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert_clean(box, alt)


def test_a_copy_that_fails_leaves_that_job_open_and_names_it(box, slurm, alt, monkeypatch):
    jobs = [
        schedule(box, f"sbatch --wrap 'echo {n} > {n}'", [n], alt_dir=str(alt)) for n in ("a", "b")
    ]
    slurm.wait(*jobs)

    def fails(source, *args, **kwargs):
        if source.name == "a":
            raise TransferError(f"{source} cannot be copied: No space left on device")
        return real(source, *args, **kwargs)

    real = bring_back.copy_file
    with monkeypatch.context() as patch:
        patch.setattr(bring_back, "copy_file", fails)
        (said,) = messages(finish(box))
    assert said.startswith(f"Slurm job {jobs[0]} was not committed and is still open: {alt}/a ")
    assert jobs_in_history(box) == [jobs[1]]
    assert box.tracked() == [jobs[0]]
    assert content(alt) == ["a", f"slurm-{jobs[0]}.out"]
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert jobs_in_history(box) == jobs
    assert_clean(box, alt)


def test_a_file_that_is_still_written_to_leaves_the_job_open(box, slurm, alt, monkeypatch):
    job = schedule(box, "sbatch --wrap 'echo 1 > out'", alt_dir=str(alt))
    slurm.wait(job)

    def written_to(source, *args, **kwargs):
        real(source, *args, **kwargs)
        with source.open("a") as file:
            file.write("late\n")

    real = bring_back.copy_file
    with monkeypatch.context() as patch:
        patch.setattr(bring_back, "copy_file", written_to)
        (said,) = messages(finish(box))
    assert f"{alt}/" in said and "changed while it was copied; is it still written to?" in said
    finish(box)
    assert (box.path / "out").read_text() == "1\nlate\n"
    assert_clean(box, alt)


class Killer:
    """Runs a function in a child that is killed at the n-th call of some functions."""

    def __init__(self, *targets):
        self.targets = targets

    def run(self, function, at, when):
        """Return whether the child was killed."""
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                self._patch(at, when)
                silence = os.open(os.devnull, os.O_WRONLY)
                os.dup2(silence, 1)
                os.dup2(silence, 2)
                function()
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        return os.WIFSIGNALED(status)

    def _patch(self, at, when):
        calls = iter(range(1, 10_000))
        for owner, name in self.targets:
            setattr(owner, name, self._killing(getattr(owner, name), calls, at, when))

    @staticmethod
    def _killing(real, calls, at, when):
        def call(*args, **kwargs):
            is_here = next(calls) == at
            if is_here and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            answer = real(*args, **kwargs)
            if is_here:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return call


def both_fresh(box, alt, tmp_path):
    """Return a function that puts the dataset and the directory back as they are now."""
    kept = tmp_path / "kept"
    kept.mkdir()
    for name, path in (("ds", box.path), ("alt", alt)):
        subprocess.run(["cp", "-a", path, kept / name], check=True)

    def fresh():
        for name, path in (("ds", box.path), ("alt", alt)):
            subprocess.run(["chmod", "-R", "u+w", path], check=True)
            shutil.rmtree(path)
            subprocess.run(["cp", "-a", kept / name, path], check=True)

    return fresh


def two_ended_jobs(box, slurm, alt):
    (box.path / "in").write_text("1\n")
    (box.path / "o0").write_text("old\n")
    box.cli("save", "-m", "input")
    jobs = [
        schedule(
            box,
            f"sbatch --wrap 'mkdir -p d{n}; cat in | tee o{n} d{n}/x'",
            [f"o{n}", f"d{n}"],
            inputs=["in"],
            alt_dir=str(alt),
        )
        for n in range(2)
    ]
    slurm.wait(*jobs)
    wait_until(lambda: all(slurm.state(job) == "COMPLETED" for job in jobs))
    return jobs


def assert_all_came_home(box, alt, jobs, where):
    assert jobs_in_history(box) == jobs, where
    assert box.tracked() == [], where
    for n in range(2):
        assert (box.path / f"o{n}").read_text() == "1\n", where
        assert (box.path / f"d{n}/x").read_text() == "1\n", where
        assert (box.path / f"slurm-{jobs[n]}.out").read_text() == "1\n", where
    assert_sound(box, where)
    assert_clean(box, alt)


def kill_at_each(crasher, fresh, function, first):
    """Kill a function at every fourth step, and yield each step at which it was killed."""
    at = first
    while True:
        fresh()
        ended = crasher.run(function, at)
        if len(ended.steps) < at:
            return
        yield f"step {at}, {ended.steps[at - 1]}"
        at += 4


@pytest.mark.parametrize("first", range(1, 5))
def test_finish_killed_at_any_step_brings_everything_home_once(box, slurm, alt, tmp_path, first):
    jobs = two_ended_jobs(box, slurm, alt)
    crasher = Crasher(tmp_path / "crash", tmp_path)
    fresh = both_fresh(box, alt, tmp_path)
    run = partial(slurm_finish, dataset=box.path, **_QUIET)
    points = 0
    for where in kill_at_each(crasher, fresh, run, first):
        results = finish(box)
        assert {res["status"] for res in results} <= {"ok", "notneeded"}, (where, results)
        assert_all_came_home(box, alt, jobs, where)
        points += 1
    assert points > 10


def test_schedule_killed_at_any_copy_leaves_nothing_half_and_can_be_repeated(
    box, slurm, alt, tmp_path
):
    for name in ("one", "two"):
        (box.path / name).write_text(f"{name}\n" * 1000)
    box.cli("save", "-m", "inputs")
    fresh = both_fresh(box, alt, tmp_path)
    again = partial(
        slurm_schedule, "sbatch --wrap 'mkdir out; cat one two > out/sum'", dataset=box.path,
        inputs=["one", "two"], outputs=["out"], alt_dir=str(alt), **_QUIET,
    )  # fmt: skip
    killer = Killer(
        (placing, "copy_file"), (placing, "write_note"), (placing, "take"),
        (placing, "_warn_of_left_overs"),
    )  # fmt: skip
    for when in ("before", "after"):
        at = 0
        while True:
            at += 1
            fresh()
            was_killed = killer.run(again, at, when)
            for name in ("one", "two"):
                if (alt / name).exists():
                    assert (alt / name).read_text() == f"{name}\n" * 1000
            if not was_killed:
                break
            assert box.tracked() == []
            (result,) = [res for res in again() if res["action"] == "slurm-schedule"]
            slurm.wait(result["slurm_job_id"])
            assert {res["status"] for res in finish(box)} == {"ok"}
            assert (box.path / "out/sum").read_text() == "one\n" * 1000 + "two\n" * 1000
            assert_clean(box, alt)
        slurm.wait(*box.tracked())
        assert at == 7


@pytest.mark.parametrize("first", range(1, 5))
def test_schedule_killed_at_any_step_leaves_no_job_untracked(box, slurm, alt, tmp_path, first):
    (box.path / "in").write_text("1\n")
    box.cli("save", "-m", "input")
    crasher = Crasher(tmp_path / "crash", tmp_path)
    fresh = both_fresh(box, alt, tmp_path)
    run = partial(
        slurm_schedule, "sbatch --hold --wrap true", dataset=box.path, inputs=["in"],
        outputs=["out"], alt_dir=str(alt), **_QUIET,
    )  # fmt: skip
    seen: set[int] = set()
    points = 0
    for where in kill_at_each(crasher, fresh, run, first):
        submitted = {job for job, place in held_jobs(slurm) if place == str(alt)} - seen
        seen |= submitted
        assert set(box.tracked()) == submitted, where
        finish(box)
        assert content(alt) == (["in"] if submitted else []), where
        if submitted:
            slurm.run("scancel", *map(str, submitted))
        points += 1
    assert points > 5


def test_reschedule_killed_while_it_copies_can_be_repeated(box, slurm, alt):
    (box.path / "in").write_text("1\n")
    box.cli("save", "-m", "input")
    job = schedule(box, "sbatch --wrap 'cat in > out'", inputs=["in"])
    slurm.wait(job)
    finish(box)
    killer = Killer((placing, "copy_file"))
    run = partial(slurm_reschedule, dataset=box.path, alt_dir=str(alt), **_QUIET)
    assert killer.run(run, 1, "after")
    again = reschedule(box, alt_dir=str(alt))
    slurm.wait(again)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert_clean(box, alt)
