"""A Slurm without accounting, which forgets how a job ended; a testbed of this module's own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import pytest
from datalad.api import slurm_schedule

from datalad_slurm.workflow import observe
from tests.conftest import TESTBED, Slurm, wait_until
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule


def run_testbed(*args):
    subprocess.run([sys.executable, str(TESTBED), *args], check=True, capture_output=True)


@pytest.fixture(scope="module")
def own_testbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tb")
    run_testbed("up", "--dir", str(directory), "--no-accounting", "--min-job-age", "10")
    yield directory
    run_testbed("down", "--dir", str(directory), "--wipe")


@pytest.fixture
def bare(own_testbed, monkeypatch):
    """The Slurm without accounting."""
    monkeypatch.setenv("SLURM_CONF", str(own_testbed / "etc" / "slurm.conf"))
    return Slurm(own_testbed)


def wait_until_forgotten(slurm, *job_ids):
    """Wait until slurmctld has purged jobs, which it does once a minute."""
    listed = ("squeue", "-h", "-t", "all", "-o", "%A %F")
    wait_until(lambda: not {*map(str, job_ids)} & {*slurm.run(*listed).split()})


def endings(box):
    directory = box.path / ".git/datalad-slurm/endings"
    return sorted(p.name for p in directory.glob("*/*")) if directory.exists() else []


def states(box):
    listed = finish(box, list_open_jobs=True)
    assert {entry["status"] for entry in listed} <= {"ok"}, listed
    return {entry["slurm_job_id"]: entry["slurm_job_status"] for entry in listed}


def record(box, job):
    (commit,) = box.git("log", "--format=%H", f"--grep=Slurm job {job}:").splitlines()
    message = box.git("show", "-s", "--format=%B", commit)
    return json.loads(message.partition("below ===\n")[2].partition("\n^^^")[0])["slurm"]


def test_a_job_is_finished_at_once_with_what_it_noted(box, bare, monkeypatch):
    # nothing is waited for, or the test would not end
    monkeypatch.setattr(observe, "_ACCOUNTING_LAG", 10**6)
    begun = time.time()
    job = schedule(box, ["sbatch", "--wrap", "sleep 1; echo x > out"])
    bare.wait(job)
    most = time.time() - begun + 1
    assert states(box) == {job: "COMPLETED"}
    assert {res["status"] for res in finish(box)} == {"ok"}
    facts = record(box, job)
    assert (facts["state"], facts["exit_code"], facts["nodes"]) == ("COMPLETED", "0:0", "n1")
    assert facts["source"] == "noted by the job"
    assert 1 <= facts["elapsed"] <= most
    assert {"start", "end", "submit"} <= set(facts)
    env = json.loads((box.path / f"slurm-job-{job}.env.json").read_text())
    assert env["accounting"][0]["source"] == "noted by the job"
    assert endings(box) == []


def test_jobs_that_slurmctld_has_forgotten_are_known_from_their_notes(box, bare, tmp_path):
    hide = box.path / "hide.sh"
    hide.write_text('#!/bin/sh\nsbatch "$@" >/dev/null\n')
    hide.chmod(0o755)
    box.script("exit 3", "fail.sh")
    box.script("[ $SLURM_ARRAY_TASK_ID != 2 ] && echo $1 > array.$SLURM_ARRAY_TASK_ID", "array.sh")
    box.script("[ $SLURM_RESTART_COUNT ] || sleep 600; echo again > requeued", "requeued.sh")
    box.script("trap 'echo TERM >> term; exit 0' TERM\nwhile :; do sleep 0.1; done", "polite.sh")
    box.script("echo x > killed; kill -9 $PPID; kill -9 $$", "killed.sh")
    box.script("", "python.py")
    (box.path / "python.py").write_text(
        "#!/usr/bin/env python3\nimport os\nopen('py', 'w').write(os.environ['SLURM_JOB_ID'])\n"
    )
    jobs = {
        name: schedule(box, command, outputs)
        for name, command, outputs in (
            ("timeout", ["sbatch", "--time=1", "--wrap", "sleep 600"], ["never"]),
            ("requeued", "sbatch --requeue requeued.sh", ["requeued"]),
            ("cancelled", "sbatch polite.sh", ["term"]),
            ("waiting", "sbatch --array=1-2%1 --wrap 'sleep 600'", ["nothing"]),
            ("completed", "sbatch --wrap 'echo x > out'", ["out"]),
            ("python", "sbatch -J py python.py", ["py"]),
            ("hidden", "./hide.sh --wrap 'echo x > hidden'", ["hidden"]),
            ("failed", "sbatch fail.sh", ["failed"]),
            ("array", "sbatch --array=1-3 array.sh 'two  words'", ["array.1", "array.3"]),
            ("killed", "sbatch killed.sh", ["killed"]),
        )
    }
    bare.wait(jobs["requeued"], until="RUNNING".__eq__)
    wait_until(lambda: f"{jobs['requeued']}.0.began" in endings(box))
    bare.run("scontrol", "requeue", str(jobs["requeued"]))
    bare.wait(jobs["cancelled"], until="RUNNING".__eq__)
    wait_until(lambda: f"{jobs['cancelled']}.0.began" in endings(box))
    wait_until(lambda: f"{jobs['waiting']}_1.0.began" in endings(box))
    bare.run("scancel", str(jobs["cancelled"]), str(jobs["waiting"]))
    bare.wait(*jobs.values())
    before = states(box)
    wait_until_forgotten(bare, *jobs.values())
    after = states(box)
    expected = {
        "timeout": "TIMEOUT",
        "requeued": "COMPLETED",
        "cancelled": "CANCELLED",
        "waiting": "CANCELLED",
        "completed": "COMPLETED",
        "python": "COMPLETED",
        "hidden": "COMPLETED",
        "failed": "FAILED",
        "array": "FAILED",
        "killed": "FAILED",
    }
    assert {name: after[job] for name, job in jobs.items()} == expected
    assert {name: before[job] for name, job in jobs.items()} == expected

    results = {res["slurm_job_id"]: res for res in finish(box) if res["action"] == "finish"}
    assert set(results) == {jobs[name] for name, word in expected.items() if word != "COMPLETED"}
    assert "killed by kill -9" in results[jobs["killed"]]["message"]
    assert "--accept-failed-jobs" in results[jobs["killed"]]["message"]
    assert "noted no ending" not in results[jobs["failed"]]["message"]
    assert f"{jobs['array']}_2: FAILED" in results[jobs["array"]]["message"]
    assert (box.path / "py").read_text() == str(jobs["python"])
    assert (box.path / "term").read_text() == "TERM\n"
    assert record(box, jobs["requeued"])["elapsed"] < 30
    runs = record(box, jobs["requeued"])["attempts"]
    assert [(run["attempt"], run["state"]) for run in runs] == [(1, "REQUEUED"), (1, "COMPLETED")]
    assert runs[0]["start"] < runs[1]["start"]

    finish(box, job=[jobs["failed"], jobs["array"], jobs["timeout"]], accept_failed_jobs=True)
    assert record(box, jobs["failed"])["exit_code"] == "3:0"
    assert record(box, jobs["timeout"])["exit_code"] == "0:15"
    assert [task["state"] for task in record(box, jobs["array"])["tasks"]] == [
        "COMPLETED",
        "FAILED",
    ]
    assert f"slurm-{jobs['array']}_2.out" in box.git("ls-files")
    (result,) = finish(box, job=[jobs["killed"]], close_unknown_jobs=True)
    assert result["status"] == "ok"
    finish(box, close_failed_jobs=True)
    assert box.tracked() == []
    assert endings(box) == []


def test_a_job_that_noted_nothing_is_dropped_by_name_only(box, bare):
    box.git("config", "datalad.slurm.exit-marker", "never")
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    bare.wait(job)
    assert endings(box) == []
    assert "runner" not in bare.run("squeue", "-h", "-t", "all", "-o", "%o", "-j", str(job))
    wait_until_forgotten(bare, job)
    for flags in ({}, {"close_failed_jobs": True}, {"accept_failed_jobs": True}):
        (result,) = finish(box, **flags)
        assert result["status"] == "impossible"
        assert "--close-unknown-jobs" in result["message"]
    assert states(box) == {job: "UNKNOWN"}
    (result,) = finish(box, job=[job], close_unknown_jobs=True)
    assert result["status"] == "ok"


SHOWN = ("JobName", "WorkDir", "StdOut", "StdErr", "TimeLimit", "NumNodes", "Dependency")


@pytest.mark.parametrize(
    "command",
    [
        "sbatch sub/job.sh 'two  words' ''",
        "sbatch -D sub job.sh x",
        "sbatch -D sub ./sub/job.sh x",
        "mkdir -p new; sbatch -D new sub/job.sh x",
        "cd sub && sbatch --job-name='a b' -o %x.%j.log -- job.sh",
        "PATH=$PWD/sub:$PATH sbatch -Ht1 job.sh",
        "sbatch < sub/job.sh",
        "cat sub/job.sh | sbatch --array=1-2 -o %A_%a.log",
        "sbatch --wrap 'sh sub/job.sh x'",
        "sbatch --hol --wra='sh sub/job.sh x'",
        "SBATCH_JOB_NAME=mine sbatch --export=NONE ./sub/job.sh x",
        "sbatch -N2 -n2 --wrap 'srun -l sh sub/job.sh x'",
        "sbatch --test-only sub/job.sh; sbatch --version; sbatch sub/job.sh",
    ],
)
def test_a_job_is_submitted_as_it_would_be_without_a_runner(box, bare, command):
    # sbatch sets no SLURM_JOB_NAME for a script from standard input
    body = '#SBATCH --time=7\n#SBATCH --comment="mine"\nsleep 0.5; printf "<%s>" "$@"; cat; pwd'
    box.script(
        body + '; echo "${SLURM_JOB_NAME:-sbatch}"; env | grep -ciE "dls_|datalad"; exit 3',
        "sub/job.sh",
    )
    shown, printed = [], []
    for setting in ("auto", "never"):
        box.git("config", "datalad.slurm.exit-marker", setting)
        job = schedule(box, command, ["out"])
        text = bare.run("scontrol", "show", "job", str(job))
        words = dict(word.partition("=")[::2] for word in text.split() if "=" in word)
        found = {key: words.get(key, "").replace(str(box.path), "") for key in SHOWN}
        # some of it slurmctld fills in when the job, or the task of an array, has started
        found["NumNodes"] = found["NumNodes"].partition("-")[0]
        if found["TimeLimit"] == "365-00:00:00":
            found["TimeLimit"] = "UNLIMITED"
        for key in ("StdOut", "StdErr"):
            found[key] = re.sub(rf"\b{job}(_\d+)?\b", "ID", found[key])
        bare.run("bash", "-c", f"scontrol release {job} || true")
        bare.wait(job)
        states = bare.run("squeue", "-h", "-t", "all", "-o", "%T", "-j", str(job))
        shown.append((found, states))
        logs = sorted(box.path.rglob(f"*{job}*"))
        # the tasks of a step print in any order
        printed.append([sorted(x.read_text().splitlines()) for x in logs if ".git" not in x.parts])
        for log in logs:
            if ".git" not in log.parts:
                log.unlink()
        assert bool(endings(box)) == (setting == "auto")
        finish(box, close_failed_jobs=True)
        assert box.tracked() == []
    assert shown[0] == shown[1]
    assert printed[0] == printed[1]
    assert any(printed[0])


def test_a_signal_before_the_time_limit_reaches_the_script(box, bare):
    box.script("trap 'echo USR1 > out; exit 0' USR1\nwhile :; do sleep 0.1; done")
    # it may come up to 60 s early (sbatch(1)), so 20 s after the start at the earliest
    job = schedule(box, "sbatch --time=3 --signal=B:USR1@100 job.sh")
    bare.wait(job)
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, results
    assert (box.path / "out").read_text() == "USR1\n"


def test_what_cannot_run_in_a_runner_is_submitted_as_it_is_and_said(box, bare):
    box.script("echo x > out")
    done = box.cli("slurm-schedule", "-o", "out", "sbatch", "-n1", ":", "-n1", "job.sh")
    assert "the job is submitted as it is" in done.stderr
    (job,) = box.tracked()
    bare.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}


def test_a_refused_submission_with_a_comment_frees_its_outputs(box, bare):
    box.script("true")
    command = ["slurm-schedule", "-o", "out", "sbatch", "--comment=mine", "-p", "no", "job.sh"]
    for _ in range(2):
        done = box.cli(*command, code=1)
        assert "submitted no job" in done.stdout
        assert "conflicts" not in done.stdout
    assert endings(box) == []


def adopt(box, job):
    return slurm_schedule(job_id=job, outputs=["out"], dataset=box.path, result_renderer="disabled")


def test_a_job_lost_with_the_database_is_tracked_again_with_its_notes(box, bare):
    box.script("until [ -e go ]; do sleep 0.1; done; printf '<%s>' \"$@\" > out")
    job = schedule(box, ["sbatch", "-t1", "job.sh", "two  words", "{{x}}"])
    (box.path / ".git/datalad-slurm/tracking.sqlite").unlink()
    (result,) = adopt(box, job)
    assert result["message"] == f"Slurm job {job} is tracked now"
    (box.path / "go").touch()
    bare.wait(job)
    wait_until_forgotten(bare, job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert record_of(box)["cmd"] == "sbatch -t1 job.sh 'two  words' '{{x}}'"
    assert record_of(box)["slurm"]["source"] == "noted by the job"


def test_a_job_of_plain_sbatch_is_adopted_without_its_options(box, bare):
    box.script("echo x > out")
    said = []
    # held, for slurmctld may forget a job at any time after its end
    for args in (["-H", "-t1", "job.sh", "x"], ["-H", "-t1", "--wrap", "echo 'a  b' > out"]):
        done = subprocess.run(
            ["sbatch", "--parsable", *args], cwd=box.path, check=True, capture_output=True
        )
        job = int(done.stdout)
        (result,) = adopt(box, job)
        said.append(result["message"])
        bare.run("scontrol", "release", str(job))
        bare.wait(job)
        assert {res["status"] for res in finish(box)} == {"ok"}
    assert all("may have forgotten the options" in message for message in said)
    assert record_of(box)["cmd"] == "sbatch --wrap 'echo '\"'\"'a  b'\"'\"' > out'"
    assert record_of(box, "HEAD~1")["cmd"] == f"sbatch {box.path}/job.sh x"


def test_a_job_that_is_not_in_slurm_any_more_cannot_be_adopted(box, bare):
    done = box.cli("slurm-schedule", "--job-id", "99999999", "-o", "out", code=1)
    assert "does not know job 99999999" in done.stdout
    assert "no accounting" in done.stdout


def test_notes_of_jobs_that_are_tracked_no_more_are_removed(box, bare):
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    bare.wait(job)
    left = box.path / ".git/datalad-slurm/endings/datalad-slurm-0"
    left.mkdir()
    (left / "1.0.began").touch()
    finish(box)
    assert not left.exists()


def test_with_accounting_the_job_is_the_users_own_script(box, slurm):
    box.script("echo x > out")
    job = schedule(box, "sbatch --hold job.sh")
    held = slurm.run("scontrol", "write", "batch_script", str(job), "-")
    assert held == (box.path / "job.sh").read_text().strip()
    assert f"{box.path}/job.sh" in slurm.run("scontrol", "show", "job", str(job))
    assert not (box.path / ".git/datalad-slurm/endings").exists()
    slurm.run("scancel", str(job))


def test_notes_stand_in_for_an_accounting_that_fails(box, slurm, stand_in):
    box.git("config", "datalad.slurm.exit-marker", "always")
    box.script("echo x > out")
    job = schedule(box, "sbatch job.sh")
    slurm.wait(job)
    stand_in("sacct", "echo 'sacct: error: Problem talking to the database' >&2; exit 1")
    stand_in("squeue", "true")
    assert states(box) == {job: "COMPLETED"}
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert record_of(box)["slurm"]["source"] == "noted by the job"


def test_notes_of_a_job_on_another_cluster_do_not_count(box, bare):
    job = schedule(box, "sbatch --wrap 'echo x > out; sleep 2'")
    wait_until(lambda: f"{job}.0.began" in endings(box))
    (began,) = box.path.glob(f".git/datalad-slurm/endings/*/{job}.0.began")
    bare.wait(job)
    for note in began.parent.iterdir():
        note.write_text(note.read_text().replace("cluster=testbed", "cluster=other"))
    wait_until_forgotten(bare, job)
    assert states(box) == {job: "UNKNOWN"}
    (result,) = finish(box, accept_failed_jobs=True)
    assert result["status"] == "impossible"


def test_an_unheard_of_setting_is_refused(box):
    box.git("config", "datalad.slurm.exit-marker", "sometimes")
    done = box.cli("slurm-schedule", "-o", "out", "sbatch", "--wrap", "true", code=1)
    assert "must be auto, always or never, not 'sometimes'" in done.stdout
