"""Slurm lags, fails, or says what nobody has heard before."""

from __future__ import annotations

import re
import threading

from datalad.api import slurm_schedule

from datalad_slurm.jobs.errors import DatabaseError
from tests.conftest import wait_until
from tests.slurm.test_schedule import finish, schedule


def test_an_unknown_state_has_not_ended(box, slurm, stand_in):
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    slurm.wait(job)
    stand_in("squeue", "$real \"$@\" | sed 's/|COMPLETED|/|TRANSCENDED|/'")
    for flags in ({}, {"close_failed_jobs": True}, {"accept_failed_jobs": True}):
        (result,) = finish(box, **flags)
        assert result["status"] == "impossible"
        assert f"{job}: TRANSCENDED" in result["message"]
    assert box.tracked() == [job]


def test_an_array_of_which_only_some_tasks_are_seen_has_not_ended(box, slurm, stand_in):
    job = schedule(box, ["sbatch", "--array=1-3", "--wrap", "echo x > out"])
    slurm.wait(job)
    stand_in("squeue", f'$real "$@" | grep -v "^{job}_2|"')
    stand_in("sacct", f'$real "$@" | grep -v "^{job}_2"')
    (result,) = finish(box)
    assert result["status"] == "impossible"
    assert f"{job}_1: COMPLETED" in result["message"]
    assert f"{job}_2: not known yet" in result["message"]


def test_queries_that_fail_or_hang_end_no_job(box, slurm, stand_in):
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    slurm.wait(job)
    box.git("config", "datalad.slurm.query-timeout", "3")
    stand_in("squeue", "sleep 60")
    stand_in("sacct", "echo 'sacct: error: Problem talking to the database' >&2; exit 1")
    done = box.cli("slurm-finish", "--accept-failed-jobs", code=1)
    assert "squeue gave no answer within 3 s" in done.stdout
    assert "Problem talking to the database" in done.stdout
    done = box.cli("slurm-finish", "-l", code=1)
    assert f"{job} " in done.stdout
    assert "UNKNOWN" in done.stdout
    assert "list-open-jobs(error)" in done.stdout


def test_a_job_the_controller_took_though_sbatch_failed_is_tracked(box, slurm, stand_in):
    stand_in(
        "sbatch",
        '$real "$@" > /dev/null\n'
        "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation'"
        " >&2; exit 1",
    )
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    assert box.tracked() == [job]
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}


def test_a_requeued_job_is_followed_to_its_last_run(box, slurm):
    box.script(
        'if [ -z "$SLURM_RESTART_COUNT" ]; then sleep 600; fi\n'
        "until [ -e ../go ]; do sleep 0.1; done; echo $SLURM_RESTART_COUNT > out"
    )
    job = schedule(box, "sbatch job.sh")
    slurm.wait(job, until="RUNNING".__eq__)
    slurm.run("scontrol", "requeue", str(job))
    (result,) = finish(box, close_failed_jobs=True)
    assert result["status"] == "impossible"
    (box.path.parent / "go").touch()
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert (box.path / "out").read_text() == "1\n"


def test_two_finishers_at_once_commit_each_job_once(box, slurm):
    ids = [schedule(box, ["sbatch", "--wrap", f"echo {n} > {n}"], [str(n)]) for n in range(4)]
    slurm.wait(*ids)
    done = []
    finishers = [
        threading.Thread(target=lambda: done.append(box.cli("slurm-finish"))) for _ in range(3)
    ]
    for finisher in finishers:
        finisher.start()
    for finisher in finishers:
        finisher.join()
    assert len(done) == 3
    assert len([s for s in box.subjects(20) if "SLURM RUN" in s]) == 4
    assert box.status() == ""


def test_programs_are_called_no_more_often_for_more_jobs(box, slurm, tmp_path, monkeypatch):
    from datalad_slurm.workflow import observe
    from tests.crash import Crasher

    # how long the accounting lags is chance
    monkeypatch.setattr(observe, "_ACCOUNTING_LAG", 0)

    crasher = Crasher(tmp_path / "count", box.path)
    calls = []
    # the first one commits the environment, which is that of all
    for turn, count in enumerate((1, 1, 6)):
        names = [f"{turn}-{n}" for n in range(count)]
        ids = [
            schedule(box, ["sbatch", "--wrap", f"mkdir {name}; echo x > {name}/a"], [name])
            for name in names
        ]
        slurm.wait(*ids)
        wait_until(lambda ids=ids: all(slurm.state(job) == "COMPLETED" for job in ids))
        calls.append(crasher.run(lambda: finish(box)).calls)
    assert box.tracked() == []
    assert [call.split()[:3] for call in calls[1]] == [call.split()[:3] for call in calls[2]]


def test_no_command_compares_the_index_with_the_working_tree(box, slurm, stand_in, tmp_path):
    log = tmp_path / "git.log"
    stand_in("git", f'printf "%s " "$@" >> {log}; echo >> {log}; exec $real "$@"')
    job = schedule(box, ["sbatch", "--wrap", "mkdir out; echo x > out/a"])
    slurm.wait(job)
    finish(box)
    finish(box, list_open_jobs=True)
    said = log.read_text()
    assert "annex add --batch" in said
    for costly in (
        "status",
        "diff-index",
        "diff-files",
        "--refresh",
        "add -A",
        "add .",
        "commit -",
    ):
        assert not any(f" {costly}" in f" {line}" for line in said.splitlines()), costly


def test_a_job_that_cannot_be_noted_is_named_and_tracked_by_the_next_command(
    box, slurm, monkeypatch
):
    from datalad_slurm.tracking.store import Tracker

    def full(*args, **kwargs):
        raise DatabaseError("the tracking database cannot be used: disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "note_submission", full)
        (result,) = slurm_schedule(
            ["sbatch", "--wrap", "echo x > out"], dataset=box.path, outputs=["out"],
            result_renderer="disabled", on_failure="ignore",
        )  # fmt: skip
    assert result["status"] == "error"
    said = re.match(
        r"Slurm job (\d+) was submitted, but that could not be noted", result["message"]
    )
    assert said, result["message"]
    assert "disk is full" in result["message"]
    assert box.tracked() == [int(said[1])]
