"""A Slurm without accounting: what is submitted there, and taken over."""

from __future__ import annotations

import re
import subprocess

import pytest
from datalad.api import slurm_schedule

from tests.slurm.bare import endings, wait_until_forgotten
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule

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


def test_with_accounting_the_job_is_the_users_own_script(box, slurm):
    box.script("echo x > out")
    job = schedule(box, "sbatch --hold job.sh")
    held = slurm.run("scontrol", "write", "batch_script", str(job), "-")
    assert held == (box.path / "job.sh").read_text().strip()
    assert f"{box.path}/job.sh" in slurm.run("scontrol", "show", "job", str(job))
    assert not (box.path / ".git/datalad-slurm/endings").exists()
    slurm.run("scancel", str(job))
