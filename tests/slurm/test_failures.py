"""What `slurm-finish` tells of jobs that have failed: why, how to go on, what their logs say."""

from __future__ import annotations

import json
import os

from tests.slurm.test_retry import failed
from tests.slurm.test_schedule import finish, schedule


def told(box, job=None, **kwargs):
    (result,) = finish(box, *([job] if job else []), **kwargs)
    assert result["status"] == "impossible"
    return result


def test_an_exit_code_and_a_signal_are_named_with_the_command_to_retry(box, slurm):
    code = failed(box, slurm, ["sbatch", "--wrap", "exit 3"], ["a"])
    killed = failed(box, slurm, ["sbatch", "--wrap", "kill -SEGV $$"], ["b"])
    result = told(box, code)
    assert result["reasons"] == [
        {
            "tasks": str(code),
            "count": 1,
            "state": "FAILED",
            "reason": "exit code 3",
            "exit_code": "3:0",
        }
    ]
    assert result["retry"] == f"datalad slurm-reschedule -d {box.path} --retry {code}"
    assert f"; exit code 3. To run it again: {result['retry']}; to commit" in result["message"]
    assert "(SIGSEGV)" in told(box, killed)["reasons"][0]["reason"]


def test_the_command_to_retry_names_the_dataset_where_it_is_needed(box, slurm, tmp_path):
    job = failed(box, slurm, ["sbatch", "--wrap", "exit 3"])
    here = box.cli("slurm-finish", code=1).stdout
    assert f"datalad slurm-reschedule --retry {job};" in here
    (box.path / "sub").mkdir()
    assert (
        f"reschedule --retry {job};" in box.cli("slurm-finish", cwd=box.path / "sub", code=1).stdout
    )
    there = box.cli("slurm-finish", "-d", str(box.path), cwd=tmp_path, code=1).stdout
    assert f"datalad slurm-reschedule -d {box.path} --retry {job};" in there
    assert f"datalad slurm-finish -d {box.path} {job} --accept-failed-jobs" in there


def test_a_time_limit_is_named_with_twice_of_it_for_the_retry(box, slurm):
    job = schedule(box, ["sbatch", "--time=1", "--wrap", "sleep 200"])
    slurm.wait(job)
    result = told(box)
    assert result["slurm_state"] == "TIMEOUT"
    assert result["reasons"][0]["reason"] == "it reached its time limit of 00:01:00"
    assert result["retry"].endswith(f"--retry {job} --retry-with=--time=00:02:00")


def test_who_cancelled_a_job_is_named(box, slurm):
    job = schedule(box, ["sbatch", "--wrap", "sleep 100"])
    slurm.wait(job, until="RUNNING".__eq__)
    slurm.run("scancel", str(job))
    slurm.wait(job)
    assert told(box)["reasons"][0]["reason"] == "cancelled by you"


def test_used_and_asked_memory_are_named_with_twice_of_it_for_the_retry(box, slurm, stand_in):
    # jobs of the testbed are in no cgroup, so nothing there ends like this
    job = failed(box, slurm, ["sbatch", "--mem=300M", "--wrap", "sleep 3; exit 1"])
    for program in ("squeue", "sacct"):
        stand_in(program, '$real "$@" | sed "s/FAILED/OUT_OF_MEMORY/"')
    result = told(box)
    reason = result["reasons"][0]["reason"]
    assert reason.startswith("out of memory (used ")
    assert reason.endswith(" of 300.0 MiB asked for)")
    assert result["retry"].endswith(f"--retry {job} --retry-with=--mem=600M")


def test_a_wrapper_gets_no_options_for_the_retry(box, slurm, stand_in):
    job = failed(box, slurm, "true; sbatch --mem=300M --wrap 'exit 1'")
    for program in ("squeue", "sacct"):
        stand_in(program, '$real "$@" | sed "s/FAILED/OUT_OF_MEMORY/"')
    assert told(box)["retry"].endswith(f"--retry {job}")


def test_a_job_whose_dependency_failed_is_named_as_one_that_never_starts(box, slurm):
    first = failed(box, slurm, ["sbatch", "--wrap", "exit 1"], ["a"])
    job = schedule(box, ["sbatch", f"--dependency=afterok:{first}", "--wrap", "true"], ["b"])
    slurm.wait(job, until="PENDING".__eq__)
    message = told(box, job)["message"]
    assert f"It will never start, as job {first}" in message
    assert f"--retry {job}" in message
    slurm.run("scancel", str(job))


def test_tasks_of_an_array_are_told_by_their_reasons(box, slurm):
    box.script("exit $((SLURM_ARRAY_TASK_ID % 3))")
    job = failed(box, slurm, ["sbatch", "--array=0-6", "job.sh"])
    result = told(box)
    assert (
        f"4 of 7 tasks failed: {job}_[1,4]: exit code 1; {job}_[2,5]: exit code 2."
        in (result["message"])
    )
    assert [(r["tasks"], r["count"]) for r in result["reasons"]] == [
        (f"{job}_[1,4]", 2), (f"{job}_[2,5]", 2)
    ]  # fmt: skip


def test_the_end_of_a_log_is_shown_and_harmless(box, slurm):
    box.script(r"seq 30; printf '50%%\r\033[31m99%%\xff\tend\n' >&2; exit 1")
    outs = failed(box, slurm, ["sbatch", "job.sh"], ["a"])
    err = failed(box, slurm, ["sbatch", "-e", "err", "job.sh"], ["b"])
    gone = failed(box, slurm, ["sbatch", "-o", "log-%j", "job.sh"], ["c"])
    (box.path / f"log-{gone}").unlink()
    done = box.cli("slurm-finish", "--show-log", "--log-lines", "3", code=1)
    assert "\033[31m" not in done.stdout
    assert "    29\n    30\n    \\x1b[31m99%\ufffd" in done.stdout
    assert f"log of {outs}, {box.path}/slurm-{outs}.out, the last lines:" in done.stdout
    assert f"log of {gone}: {box.path}/log-{gone}: it is not there" in done.stdout
    records = [
        json.loads(line)
        for line in box.cli(
            "-f", "json", "slurm-finish", "--show-log", "--log-lines", "3", code=1
        ).stdout.splitlines()
    ]
    logs = {res["slurm_job_id"]: res["logs"][0] for res in records if "logs" in res}
    assert logs[outs]["lines"][:2] == ["29", "30"]
    assert logs[err]["path"] == str(box.path / "err")
    assert len(logs[err]["lines"]) == 1
    assert logs[err]["lines"][0].startswith("\\x1b[31m99%\ufffd")
    assert logs[gone]["missing"] == "it is not there"
    assert "logs" not in told(box, outs)
    assert os.sep in logs[outs]["path"]
