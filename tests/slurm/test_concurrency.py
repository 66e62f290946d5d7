"""Many at once in one dataset: nothing is lost, nothing comes twice, nobody fails."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from datalad.api import Dataset, slurm_finish, slurm_schedule
from datalad.support.exceptions import IncompleteResultsError

from datalad_slurm.jobs.model import SlurmJob
from datalad_slurm.jobs.names import JobName
from datalad_slurm.tracking.finisher import only_finisher
from datalad_slurm.tracking.store import Tracker
from datalad_slurm.workflow import submissions
from datalad_slurm.workflow.context import open_context
from datalad_slurm.workflow.schedule import Request, claim_of
from tests.conftest import DATALAD
from tests.slurm.sweeps import assert_sound, claims, jobs_in_history
from tests.slurm.test_schedule import finish, schedule


class Crowd:
    """Processes that are forked from this one, which has imported everything, and start at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir()
        self._gate, self._open = os.pipe()
        self._pids: list[int] = []

    def add(self, function: Callable[[], object]) -> None:
        """Have a process wait for the start, to call a function then."""
        pid = os.fork()
        if pid:
            self._pids.append(pid)
            return
        code = 2
        try:
            output = os.open(self._directory / str(os.getpid()), os.O_WRONLY | os.O_CREAT)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(self._open)
            os.read(self._gate, 1)
            function()
            code = 0
        except IncompleteResultsError:
            code = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def run(self) -> list[tuple[int, str]]:
        """Let all start; return their exit statuses and what they printed."""
        os.close(self._open)
        os.close(self._gate)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self._pids]
        printed = [(self._directory / str(pid)).read_text() for pid in self._pids]
        return list(zip(codes, printed, strict=True))


@pytest.mark.faults
def test_of_sixteen_schedules_of_one_output_one_submits(
    box, slurm, stand_in, tmp_path, count_faults
):
    stand_in("sbatch", 'sleep 1; exec $real "$@"')
    crowd = Crowd(tmp_path / "crowd")
    for _ in range(16):
        crowd.add(
            lambda: slurm_schedule(
                ["sbatch", "--wrap", "echo x > out"], dataset=box.path, outputs=["out"]
            )
        )
    ended = crowd.run()
    assert sorted(code for code, _ in ended) == [0] + [1] * 15, ended
    refused = [printed for code, printed in ended if code == 1]
    assert all("output 'out' conflicts with" in printed for printed in refused), refused
    (job,) = box.tracked()
    listed = slurm.run("squeue", "-h", "-t", "all", "-o", "%A %Z").splitlines()
    assert [line for line in listed if line.endswith(f" {box.path}")] == [f"{job} {box.path}"]
    assert claims(box) == ["out"]
    count_faults("concurrent processes", 16)


@pytest.mark.faults
def test_fifty_schedules_beside_four_finishes_track_and_commit_each_job_once(
    box, slurm, tmp_path, count_faults
):
    before = [schedule(box, ["sbatch", "--wrap", f"echo {n} > old{n}"], [f"old{n}"]) for n in "abc"]
    slurm.wait(*before)
    crowd = Crowd(tmp_path / "crowd")
    for number in range(50):
        crowd.add(
            lambda number=number: slurm_schedule(
                ["sbatch", "--wrap", f"echo {number} > out{number}"],
                dataset=box.path,
                outputs=[f"out{number}"],
            )
        )
    for _ in range(4):
        crowd.add(lambda: slurm_finish(dataset=box.path, on_failure="ignore"))
    ended = crowd.run()
    assert [(code, printed) for code, printed in ended if code or "(error)" in printed] == []
    listed = slurm.run("squeue", "-h", "-t", "all", "-o", "%A %Z").splitlines()
    submitted = {int(line.split()[0]) for line in listed if line.endswith(f" {box.path}")}
    assert len(submitted) == 53
    assert sorted({*box.tracked(), *jobs_in_history(box)}) == sorted(submitted)
    slurm.wait(*submitted)
    results = finish(box)
    assert {res["status"] for res in results} <= {"ok", "notneeded"}, results
    assert jobs_in_history(box) == sorted(submitted)
    assert claims(box) == []
    assert all((box.path / f"out{n}").read_text() == f"{n}\n" for n in range(50))
    assert box.status() == ""
    assert_sound(box, "after all")
    count_faults("concurrent processes", 54)


def test_a_finisher_says_for_whom_it_waits_and_goes_on_after_it(box, slurm):
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    slurm.wait(job)
    with only_finisher(Tracker(box.path / ".git/datalad-slurm").database, 0, print):
        process = subprocess.Popen(
            [DATALAD, "slurm-finish"], cwd=box.path, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        said = process.stderr.readline()
        assert f"waiting for another slurm-finish: process {os.getpid()} on" in said
        assert jobs_in_history(box) == []
    process.communicate(timeout=300)
    assert process.returncode == 0
    assert jobs_in_history(box) == [job]


def test_a_finisher_that_cannot_be_seen_is_named_and_can_be_overruled(box, slurm):
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    slurm.wait(job)
    state = box.path / ".git/datalad-slurm"
    with only_finisher(Tracker(state).database, 0, print):
        with sqlite3.connect(state / "tracking.sqlite") as database:
            move = "update finisher set process = json_set(process, '$.host', 'elsewhere')"
            database.execute(move)
        done = box.cli("-c", "datalad.slurm.finish-timeout=0", "slurm-finish", code=1)
        assert f"process {os.getpid()} on elsewhere" in done.stdout
        assert "datalad.slurm.take-over=true" in done.stdout
        assert jobs_in_history(box) == []
        box.cli("-c", "datalad.slurm.take-over=true", "slurm-finish")
    assert jobs_in_history(box) == [job]


def test_a_job_that_is_finished_while_its_scheduling_describes_it_is_no_error(
    box, slurm, stand_in, tmp_path
):
    others = tmp_path / "other.txt"
    is_done = f"git -C {box.path} log -1 --format=%s | grep -q 'SLURM RUN'"
    finish_it = f"{DATALAD} slurm-finish -d {box.path} >> {others}"
    finishing = f"touch {others}; until {is_done}; do {finish_it}; done"
    describing = f'case "$*" in *"show job"*) [ -e {others} ] || {{ {finishing}; }} ;; esac'
    stand_in("scontrol", f'{describing}\nexec $real "$@"')
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    assert jobs_in_history(box) == [job], others.read_text()
    assert box.tracked() == []


def test_the_script_is_known_though_another_command_drops_the_notes_meanwhile(box, slurm, stand_in):
    box.script("sleep 600")
    box.script("sbatch job.sh", "submit.sh")
    notes = box.path / ".git/datalad-slurm/submissions"
    dropping = f'case "$*" in *"show job"*) rm -r {notes}/* ;; esac'
    stand_in("scontrol", f'{dropping}\nexec $real "$@"')
    job = schedule(box, ["bash", "submit.sh"])
    (tracked,) = Tracker(box.path / ".git/datalad-slurm").open_jobs()
    assert [script["path"] for script in tracked.identities["scripts"]] == ["job.sh"]
    slurm.run("scancel", str(job))


def test_a_claim_that_gets_its_job_while_another_command_settles_it_is_kept(
    box, slurm, monkeypatch
):
    context = open_context(Dataset(box.path))
    request = Request("sbatch", box.path, ("out",))
    claim = context.tracker.claim(claim_of(context, request)[0])
    job = slurm.sbatch("--hold", "--wrap", "true")

    def has_just_ended(claim):
        context.tracker.note_submission(claim.id, [SlurmJob(job)])
        return False

    monkeypatch.setattr(submissions, "_is_being_submitted", has_just_ended)
    submissions.settle_claims(context)
    assert [open_job.id for open_job in context.tracker.open_jobs([JobName(job)])] == [claim.id]
    slurm.run("scancel", str(job))
