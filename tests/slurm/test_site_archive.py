"""The archive of a site beside a real slurmctld: from submission to file."""

from __future__ import annotations

import os
import pwd
import shlex
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from datalad_slurm.jobs.acl import DEFAULT, directory_acl
from datalad_slurm.slurm import squeue
from tests.conftest import DATALAD, Box, wait_until

USER = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture(autouse=True)
def _user(monkeypatch):
    monkeypatch.setenv("USER", USER)


@pytest.fixture
def spool(slurm):
    return slurm.directory / "state" / "slurmctld"


@pytest.fixture
def to(tmp_path):
    return tmp_path / "archive"


@pytest.fixture
def watch(spool, to, tmp_path):
    """Return a function that starts the command, and waits until it watches."""
    started = []

    def start(*options, **env):
        log = tmp_path / f"log-{len(started)}"
        argv = [DATALAD, "slurm-archive", "--spool", spool, "--to", to, *options]
        with log.open("wb") as file:
            process = subprocess.Popen(argv, stdout=file, stderr=file, env=os.environ | env)
        process.log = log
        started.append(process)
        wait_until(lambda: "watching" in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def end(process, number=signal.SIGTERM):
    """End a watcher with a signal; return what it has printed."""
    process.send_signal(number)
    assert process.wait(240) == 0, process.log.read_text()
    printed = process.log.read_text()
    assert "slurm-archive(ok): " in printed
    assert "Traceback" not in printed
    return printed


def files_of(to, *job_ids):
    """Return the archived files of jobs."""
    found = []
    for job_id in job_ids:
        found += to.glob(f"*/*/*/{job_id}-*")
    return sorted(found)


def wait_for(to, *job_ids):
    wait_until(lambda: len(files_of(to, *job_ids)) == 2 * len(job_ids))
    return files_of(to, *job_ids)


def submit(slurm, *args, script="", **env):
    """Submit a job from standard input or with --wrap, in an environment of its own."""
    argv = ["sbatch", "--parsable", *args]
    done = subprocess.run(
        argv, input=script, env=os.environ | env, check=True, capture_output=True, text=True
    )
    return int(done.stdout)


def test_each_job_is_archived_as_it_was_submitted(slurm, watch, to, tmp_path):
    watcher = watch()
    body = "#!/bin/bash\n#SBATCH --output=/dev/null\necho 'two  words'\n"
    hostile = "it's $(two)\n\texport PATH=no"
    month = time.strftime("%Y/%m")
    odd = submit(slurm, "-J", "../a b/\n.c", script=body, HOSTILE=hostile)
    array = submit(slurm, "--output=/dev/null", "--array=1-3", "-J", "arr", script=body)
    bare = submit(slurm, "--output=/dev/null", "--export=NONE", "--wrap", "true")
    het_script = tmp_path / "het.sh"
    het_script.write_text("#!/bin/sh\n#SBATCH -o /dev/null\n#SBATCH hetjob\n#SBATCH -o /dev/null\n")
    het = submit(slurm, "-J", "one", "--hold", het_script)
    wait_for(to, odd, array, het, het + 1)
    # whose this one is has to be asked
    wait_for(to, bare)

    names = [f"{odd}-.._a_b__.c", f"{array}-arr", f"{bare}-wrap", f"{het}-one"]
    for name in names:
        for suffix in (".sh", ".env"):
            assert (to / USER / month / f"{name}{suffix}").stat().st_mode & 0o777 == 0o440
    first = to / USER / month / names[0]
    assert first.with_name(f"{names[0]}.sh").read_text() == body
    assert "wrap" in (to / USER / month / f"{names[2]}.sh").read_text()

    # used again, the environment is the one that the job had
    env_file = first.with_name(f"{names[0]}.env")
    again = subprocess.run(
        ["env", "-i", "bash", "--norc", "-c", f". {shlex.quote(str(env_file))}; exec env -0"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    got = dict(entry.split("=", 1) for entry in again.stdout.split("\0") if entry)
    assert (got["HOSTILE"], got["PATH"]) == (hostile, os.environ["PATH"])
    assert got["SLURM_JOB_NAME"] == "../a b/\n.c"

    slurm.run("scancel", str(het))
    slurm.wait(array)
    # the tasks of the array have no files of their own
    assert len(files_of(to, array)) == 2
    end(watcher)


def test_slurmctld_says_whose_jobs_are_of_however_many(slurm):
    array = submit(slurm, "--hold", "--array=1-3", "--wrap", "true")
    unknown = range(10_000_000, 10_000_600)
    whose = {array: os.getuid()}
    assert squeue.find_owners([array, unknown[0]]) == whose
    assert squeue.find_owners([array, *unknown]) == whose
    assert squeue.find_owners(unknown[:1]) == {}
    slurm.run("scancel", str(array))


def test_a_requeued_job_is_archived_once_and_again_at_no_later_start(slurm, watch, to):
    watcher = watch()
    job = submit(slurm, "--output=/dev/null", "--wrap", "sleep 100")
    before = [(path, path.stat().st_ino) for path in wait_for(to, job)]
    slurm.wait(job, until=lambda word: word == "RUNNING")
    slurm.run("scontrol", "requeue", str(job))
    slurm.run("scontrol", "update", f"JobId={job}", "JobName=another")
    later = submit(slurm, "--output=/dev/null", "--wrap", "true")
    wait_for(to, later)
    slurm.run("scancel", str(job))
    end(watcher, signal.SIGINT)
    end(watch())
    assert [(path, path.stat().st_ino) for path in files_of(to, job)] == before


def test_kills_in_the_middle_of_many_jobs_lose_none_and_repeat_none(slurm, watch, to, count_faults):
    watcher = watch()
    with ThreadPoolExecutor(3) as pool:
        submissions = [
            pool.submit(
                submit, slurm, "--output=/dev/null", "-J", f"many{number}", "--wrap", "true"
            )
            for number in range(60)
        ]
        wait_until(lambda: len(list(to.glob("*/*/*/*-many*.sh"))) > 20)
        watcher.kill()
        jobs = [each.result() for each in submissions]
    end(watch())
    assert len(files_of(to, *jobs)) == 2 * 60
    assert not [path for path in files_of(to, *jobs) if not path.stat().st_size]
    assert not list(to.rglob(".part"))
    count_faults("crash points", 1)


def test_on_sighup_the_groups_are_read_again_and_nonsense_changes_nothing(
    slurm, watch, to, tmp_path
):
    groups = tmp_path / "groups"
    groups.write_text("daemon\n")
    watcher = watch("--groups", groups)
    job = submit(slurm, "--output=/dev/null", "--wrap", "true")
    wait_for(to, job)

    def lists():
        return {os.getxattr(path, DEFAULT) for path in (to / USER).rglob("*") if path.is_dir()}

    daemon, bin_ = (directory_acl([os.getuid()], [group]) for group in (1, 2))
    assert lists() == {daemon}
    groups.write_text("daemon\nno-such-group\n")
    watcher.send_signal(signal.SIGHUP)
    wait_until(lambda: "no group 'no-such-group'" in watcher.log.read_text())
    assert lists() == {daemon}
    groups.write_text("bin\n")
    watcher.send_signal(signal.SIGHUP)
    wait_until(lambda: lists() == {bin_})
    assert "the groups stay as they were" in end(watcher)


def test_once_takes_what_is_there_and_ends(slurm, to, spool, tmp_path):
    job = submit(slurm, "--output=/dev/null", "--wrap", "true")
    box = Box(tmp_path)
    archive = ("slurm-archive", "--spool", spool, "--to", to, "--once", "--dataset")
    box.cli(*archive)
    (env_file, _) = files_of(to, job)
    assert Box(to).git("ls-files", str(env_file.relative_to(to)))
    assert Box(to).status() == ""
    head = Box(to).git("rev-parse", "HEAD")
    box.cli(*archive)
    # other tests submit as well
    assert f"{job}-" not in Box(to).git("log", "--format=", "--name-only", f"{head}..")


def test_a_dataset_gets_one_commit_for_many_jobs(slurm, watch, to):
    watcher = watch("--dataset", DATALAD_SLURM_ARCHIVE__INTERVAL="0.5")
    box = Box(to)
    wait_until(lambda: (to / ".git").exists() and len(box.subjects(5)) > 0)
    jobs = [submit(slurm, "--output=/dev/null", "--wrap", "true") for _ in range(5)]
    wait_for(to, *jobs)

    def committed():
        listed = box.git("ls-files").splitlines()
        return all(str(path.relative_to(to)) in listed for path in files_of(to, *jobs))

    wait_until(committed)
    assert "commits" in end(watcher)
    assert box.status() == ""
    assert (to / ".git").stat().st_mode & 0o777 == 0o700
    commits = box.git("log", "--format=%H", "--", *map(str, files_of(to, *jobs))).split()
    assert len(commits) < 5


def test_while_the_disk_is_full_it_says_so_and_catches_up_after(slurm, watch, disk, to):
    to.symlink_to(disk.root)
    watcher = watch()
    subprocess.run(["sh", "-c", disk.fill_up], check=False)
    jobs = [submit(slurm, "--output=/dev/null", "--wrap", "true") for _ in range(3)]
    wait_until(lambda: "cannot be archived: " in watcher.log.read_text())
    assert "No space left on device; it is tried again" in watcher.log.read_text()
    assert len(files_of(to, *jobs)) < 2 * len(jobs)
    disk.free()
    wait_for(to, *jobs)
    assert "the archive can be written again" in end(watcher)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--spool", "/no/spool"], "the spool /no/spool cannot be read: No such file"),
        (["--groups", "/no/file"], "the groups in /no/file cannot be read: No such file"),
        (["--to", "/no/where/at/all"], "/no/where/at/all cannot be used as an archive"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(spool, to, tmp_path, options, said):
    where = {"--spool": str(spool), "--to": str(to)} | dict([options])
    argv = [word for pair in where.items() for word in pair]
    done = Box(tmp_path).cli("slurm-archive", *argv, "--once", code=1)
    assert f"slurm-archive(impossible): [{said}" in done.stdout
    assert len(done.stdout.splitlines()) == 1
