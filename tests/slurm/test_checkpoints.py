"""`--checkpoint`, `--grace` and `slurm-checkpoint`: work that goes on where it was interrupted."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from datalad.api import slurm_checkpoint, slurm_reschedule, slurm_schedule

from tests.conftest import ROOT, wait_until
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule

_QUIET = {"result_renderer": "disabled", "on_failure": "ignore"}
_EXAMPLES = ROOT / "docs/examples/checkpoint"
_PAUSE = 0.1
_LAST = 1200
_SUM = f"{_LAST * (_LAST + 1) // 2}\n"


def kept(box):
    """Return the checkpoints in the stores of all jobs."""
    return sorted(p.name for p in box.path.glob(".git/datalad-slurm/stores/*/state*.tar"))


def said(results, status="impossible"):
    return " ".join(res.get("message", "") for res in results if res["status"] == status)


def again(box, job):
    """Submit a job again that has failed, without a time limit; return its new id."""
    results = slurm_reschedule(dataset=box.path, retry=job, retry_with="--time=10", **_QUIET)
    assert results[-1]["status"] == "ok", results
    return results[-1]["slurm_job_id"]


def kept_numbers(box):
    """Return how far the examples have come by their kept checkpoints, by their outputs."""
    found = {}
    for archive in sorted(box.path.glob(".git/datalad-slurm/stores/*/state*.tar")):
        with tarfile.open(archive) as members:
            for member in members:
                number = int(members.extractfile(member).read().split()[0])
                found[Path(member.name).stem] = number
    return found


def beginnings(box, output):
    """Return where the attempts at an output have begun, in their order."""
    logs = [path.read_text() for path in box.path.glob(f"{output}-*.log")]
    return sorted(int(number) for log in logs for number in re.findall(r"from (\d+)", log))


def commands(box):
    """Return the examples as commands of jobs, by their outputs."""
    for program in _EXAMPLES.iterdir():
        shutil.copy(program, box.path)
    found = {
        "sh": "count.sh {} {} sh",
        "py": "--wrap 'python3 count.py {} {} py'",
        "node": "--wrap 'python3 count.py {} {} node'",
        "deaf": "--wrap 'python3 deaf.py {} {} deaf 50'",
    }
    if shutil.which("g++"):
        subprocess.run(["g++", "-o", "count", "count.cpp"], cwd=box.path, check=True)
        found["cpp"] = "--wrap './count {} {} cpp'"
    box.cli("save", "-m", "programs")
    return {output: text.format(_LAST, _PAUSE) for output, text in found.items()}


def interrupt(box, slurm, jobs, *command):
    """Interrupt jobs when a checkpoint was kept since they began."""
    slurm.wait(*jobs.values(), until="RUNNING".__eq__)
    before = kept_numbers(box)
    time.sleep(3)  # until they handle the signal
    asked = slurm_checkpoint(dataset=box.path, **_QUIET)
    assert {res["status"] for res in asked} == {"ok"}
    wait_until(lambda: all(kept_numbers(box)[output] > before[output] for output in jobs))
    for job in jobs.values():
        slurm.run(*command, str(job))


def test_programs_go_on_after_time_limit_cancellation_and_requeue(box, slurm):
    """Four attempts, of which the first ends at the least limit that there is, one minute."""
    options = "--time=1 --requeue --open-mode=append"
    jobs = {
        output: schedule(
            box,
            f"sbatch {options} -o {output}-%j.log {text}",
            [output],
            checkpoint=[f"{output}.state"],
            grace=50,
            node_local=output == "node",
            inputs=["count.py"] if output == "node" else [],
        )
        for output, text in commands(box).items()
    }
    slurm.wait(*jobs.values())
    checkpoints = [kept_numbers(box)]
    results = finish(box)
    assert {res["slurm_state"] for res in results if "slurm_state" in res} == {"TIMEOUT"}
    assert said(results).count("its last checkpoint is of") == len(jobs)
    assert said(results).count("partial") == len(jobs)
    jobs = {output: again(box, job) for output, job in jobs.items()}
    interrupt(box, slurm, jobs, "scancel")
    slurm.wait(*jobs.values())
    checkpoints.append(kept_numbers(box))
    jobs = {output: again(box, job) for output, job in jobs.items()}
    interrupt(box, slurm, jobs, "scontrol", "requeuehold")
    slurm.wait(*jobs.values(), until="PENDING".__eq__)
    checkpoints.append(kept_numbers(box))
    for job in jobs.values():
        slurm.run("scontrol", "release", str(job))
    slurm.wait(*jobs.values())
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, results
    for output in jobs:
        assert (box.path / output).read_text() == _SUM
        # from the last checkpoint on, and from no other
        assert beginnings(box, output) == [0, *(numbers[output] for numbers in checkpoints)]
    assert list(box.path.glob("*.state")) == []
    assert list(box.path.glob(".git/datalad-slurm/stores/*")) == []
    assert box.status() == ""
    record = record_of(box)
    states = [entry["state"] for entry in record["slurm"]["attempts"]]
    assert states == ["TIMEOUT", "CANCELLED", "REQUEUED", "COMPLETED"], states
    assert record["slurm"]["checkpoint"]["signal"] == "USR1"
    assert record["slurm"]["grace"] == 50


POLITE = """
trap 'echo TERM >> got; sleep 0.5; echo done >> got; exit 0' TERM
echo begun > got
while :; do sleep 0.1; done
"""


def test_work_in_the_dataset_is_told_of_its_time_limit_and_leaves_what_it_has(box, slurm):
    box.script(POLITE)
    job = schedule(box, "sbatch --time=1 job.sh", ["got"], grace=30)
    wait_until(lambda: (box.path / "got").exists() and "done" in (box.path / "got").read_text())
    assert "DUE TO TIME LIMIT" not in (box.path / f"slurm-{job}.out").read_text()
    slurm.wait(job)
    (result,) = finish(box)
    assert result["slurm_state"] == "TIMEOUT"
    assert "its outputs are as it left them at its time limit, partial" in result["message"]
    assert {res["status"] for res in finish(box, accept_failed_jobs=True)} == {"ok"}
    assert (box.path / "got").read_text() == "begun\nTERM\ndone\n"
    slurm_facts = record_of(box)["slurm"]
    assert slurm_facts["grace"] == 30
    assert {"node_local", "checkpoint"}.isdisjoint(slurm_facts)
    assert not (box.path / ".git/datalad-slurm/stores").exists()


#: Goes on from its state; without one, it leaves a half one when it is told to, and its runner
#: is killed.
KILLED = """
cd out
if [ -e state ]; then cat state > final; exit; fi
echo whole > state; echo x > leftover
while [ ! -e ../go ]; do sleep 0.1; done
printf ha > state; kill -9 $PPID; sleep 60
"""


def test_after_a_killed_runner_the_last_whole_state_is_there_and_no_other_leftover(box, slurm):
    (box.path / "out").mkdir()
    (box.path / "out/input").write_text("")
    (box.path / "data").write_text("one")
    box.cli("save", "-m", "x")
    box.script(KILLED)
    job = schedule(box, "sbatch job.sh", ["out"], checkpoint=["out/state"], inputs=["data"])
    other = slurm_schedule(
        "sbatch job.sh", dataset=box.path, outputs=["b"], checkpoint=["out/other"], **_QUIET
    )
    assert said(other).startswith("checkpoint 'out/other' conflicts with job")
    wait_until(lambda: kept(box))
    (box.path / "go").touch()
    slurm.wait(job)
    assert (box.path / "out/state").read_text() == "ha"
    (result,) = finish(box)
    assert "its last checkpoint is of" in result["message"]
    results = slurm_reschedule(dataset=box.path, retry="all", max_attempts=1, **_QUIET)
    assert "this was attempt 1, and --max-attempts is 1" in results[0]["message"]
    assert {res["status"] for res in results} == {"notneeded"}
    box.cli("unlock", "data")
    (box.path / "data").write_text("two")
    results = slurm_reschedule(dataset=box.path, retry=job, **_QUIET)
    assert "its checkpoints were made with another content of 'data'" in said(results)
    (box.path / "data").write_text("one")
    box.cli("save", "-m", "as it was", "data")
    second = again(box, job)
    slurm.wait(second)
    assert {res["status"] for res in finish(box)} == {"ok"}
    (box.path / "go").unlink()
    assert (box.path / "out/final").read_text() == "whole\n"
    # it is an output as well, so it stays
    assert sorted(p.name for p in (box.path / "out").iterdir()) == ["final", "input", "state"]
    assert {"out/final", "out/state"} <= box.files_in_last_commit()
    assert kept(box) == []
    assert box.status() == ""


def test_running_jobs_and_tasks_are_asked_for_a_checkpoint_and_go_on(box, slurm):
    shutil.copy(_EXAMPLES / "count.py", box.path)
    box.cli("save", "-m", "program")
    script = "python3 count.py 100000 0.05 $1"
    box.script(script, "job.sh")
    box.script(f"exec {script}-$SLURM_ARRAY_TASK_ID", "array.sh")
    one = schedule(box, "sbatch job.sh one", ["one"], checkpoint=["one.state"])
    array = schedule(
        box, "sbatch --array=1-3 array.sh task", ["task-%a"], checkpoint=["task-%a.state"]
    )
    none = schedule(box, "sbatch --hold job.sh none", ["none"])
    held = schedule(box, "sbatch --hold job.sh held", ["held"], checkpoint=["held.state"])
    names = ("one", "task-1", "task-2", "task-3")
    logs = [f"slurm-{one}.out", *(f"slurm-{array}_{n}.out" for n in (1, 2, 3))]
    wait_until(lambda: all("from" in _text(box, log) for log in logs))
    results = slurm_checkpoint(job=f"{array}_2", dataset=box.path, **_QUIET)
    assert said(results, "ok") == f"sent USR1 to job {array}_[2], which asks it for a checkpoint"
    wait_until(lambda: [name.startswith("state_2.") for name in kept(box)] == [True])
    assert not (box.path / "task-1.state").exists()
    done = box.cli("-f", "json", "slurm-checkpoint", str(none), str(held), code=1)
    assert "was submitted without --checkpoint" in done.stdout
    assert f"job {held} does not run" in done.stdout
    assert "no open job 77" in said(slurm_checkpoint(77, dataset=box.path, **_QUIET))
    results = slurm_checkpoint(dataset=box.path, **_QUIET)
    assert [res["status"] for res in results] == ["ok", "ok", "notneeded"]
    wait_until(lambda: all((box.path / f"{n}.state").exists() for n in names))
    wait_until(lambda: len(kept(box)) >= 4)
    slurm.run("scancel", str(one), str(array), str(none), str(held))
    slurm.wait(one, array)
    finish(box, one, none, held, close_failed_jobs=True)
    # closed, its state stays where it is
    assert (box.path / "one.state").exists()
    box.script("cp task-$SLURM_ARRAY_TASK_ID.state task-$SLURM_ARRAY_TASK_ID", "array.sh")
    second = again(box, array)
    slurm.wait(second)
    assert {res["status"] for res in finish(box)} == {"ok"}
    for n in (1, 2, 3):
        assert int((box.path / f"task-{n}").read_text().split()[0]) > 0
        assert not (box.path / f"task-{n}.state").exists()
    assert kept(box) == []


def _text(box, name):
    path = box.path / name
    return path.read_text() if path.exists() else ""


def test_a_second_job_of_a_command_that_is_not_foreseen_is_not_submitted(box, slurm):
    box.script("true")
    command = "sh -c 'sbatch no-such.sh; sbatch --hold job.sh; sbatch job.sh'"
    (result,) = slurm_schedule(
        command, dataset=box.path, outputs=["out"], checkpoint=["state"], **_QUIET
    )
    assert "though the command ended with exit status 1" in result["message"]
    (job,) = box.tracked()
    slurm.run("scancel", str(job))
    slurm.wait(job)
    finish(box, close_failed_jobs=True)
    (result,) = slurm_schedule(
        "sh -c 'sbatch --array=1-2 job.sh'", dataset=box.path, outputs=["out"],
        checkpoint=["state"], **_QUIET,
    )  # fmt: skip
    assert "put %a into its name" in result["message"]


@pytest.mark.parametrize(
    ("command", "options", "reason"),
    [
        ("sbatch job.sh", {"checkpoint": ["state-%j"]}, "which is another id for each attempt"),
        ("sbatch job.sh", {"checkpoint": ["*.state"]}, "no pattern of several"),
        ("sbatch job.sh", {"checkpoint": ["."]}, "no pattern of several"),
        ("sbatch job.sh", {"checkpoint": ["../state"]}, "is outside the dataset"),
        ("sbatch job.sh", {"checkpoint": ["state-%a"]}, "the command submits no array"),
        ("sbatch --array=1-2 job.sh", {"checkpoint": ["state"]}, "put %a into its name"),
        ("sbatch job.sh", {"checkpoint": ["run"], "outputs": ["run/out"]}, "'run/out' is in the"),
        ("sbatch job.sh", {"checkpoint": ["empty", "own"]}, "'own' is there already"),
        ("sbatch --array=1-2 job.sh", {"checkpoint": ["own/%a.pt"]}, "'own/7.pt' is there"),
        ("sbatch --signal=B:TERM@9 job.sh", {"grace": 5}, "is what --grace does by itself"),
        ("sbatch job.sh && sbatch job.sh", {"checkpoint": ["state"]}, "submits 2 jobs"),
        ("sbatch bad.sh", {"checkpoint": ["state"]}, "submitted with --checkpoint: it does not"),
        ("sbatch job.sh", {"checkpoint": ["state"], "table": [{"x": "a"}, {"x": "b"}]},
         "checkpoint 'state' conflicts with 'state' of"),
    ],
)  # fmt: skip
def test_what_can_be_no_checkpoint_is_refused_and_nothing_is_submitted(
    box, slurm, command, options, reason
):
    box.script("true")
    for name in ("empty", "own"):
        (box.path / name).mkdir()
    (box.path / "own/7.pt").touch()
    (box.path / "bad.sh").write_text("true\n")
    if "table" in options:
        command = [*command.split(), "{x}"]
    options = {"outputs": ["out{x}" if "table" in options else "out"], **options}
    results = slurm_schedule(command, dataset=box.path, **options, **_QUIET)
    assert reason in results[-1]["message"]
    assert results[-1]["status"] in ("error", "impossible")
    assert box.tracked() == []
