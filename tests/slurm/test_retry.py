"""`slurm-reschedule --retry`: a failed job is submitted again, and stays one job."""

from __future__ import annotations

import pytest
from datalad.api import slurm_reschedule

from tests.slurm.sweeps import assert_sound, claims, noted_jobs
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule

#: fails as long as there is no file `good`
FAILS_FIRST = "mkdir out; echo half > out/a; [ -e good ] || exit 3; echo whole > out/a"


def retry(box, *jobs, **kwargs):
    return slurm_reschedule(
        retry=list(jobs),
        dataset=box.path,
        result_renderer="disabled",
        on_failure="ignore",
        **kwargs,
    )


def retried(box, *jobs, **kwargs):
    """Submit again and return the new id; all must be well."""
    results = retry(box, *jobs, **kwargs)
    assert {res["status"] for res in results} == {"ok"}, results
    (result,) = [res for res in results if res["action"] == "slurm-reschedule"]
    return result["slurm_job_id"]


def failed(box, slurm, cmd=("sbatch", "job.sh"), outputs=("out",), **kwargs):
    """Schedule a job, and wait until it is known to have ended."""
    job = schedule(box, cmd, outputs, **kwargs)
    slurm.wait(job)
    return job


def test_a_failed_job_that_is_submitted_again_is_one_commit_with_all_attempts(box, slurm):
    box.script(FAILS_FIRST)
    first = failed(box, slurm)
    second = retried(box, first)
    assert second != first
    assert box.tracked() == [second]
    assert claims(box) == ["out"]
    slurm.wait(second)
    (box.path / "good").touch()
    third = retried(box, second)
    slurm.wait(third)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert box.subjects()[0] == f"[DATALAD SLURM RUN] Slurm job {third}: Completed"
    assert (box.path / "out/a").read_text() == "whole\n"
    record = record_of(box)
    assert record["slurm_job_id"] == third
    attempts = record["slurm"]["attempts"]
    assert [each["slurm_job_id"] for each in attempts] == [first, second, third]
    assert [each["attempt"] for each in attempts] == [1, 2, 3]
    assert [each["state"] for each in attempts] == ["FAILED", "FAILED", "COMPLETED"]
    assert [each["exit_code"] for each in attempts] == ["3:0", "3:0", "0:0"]
    assert {"start", "end", "elapsed", "nodes", "cluster"} <= attempts[0].keys()
    assert "cmd" not in attempts[0]
    logs = {f"slurm-{job}.out" for job in (first, second, third)}
    assert logs <= box.files_in_last_commit()
    assert set(record["slurm_outputs"]) >= logs
    assert attempts[0]["logs"] == [f"slurm-{first}.out"]
    assert box.status() == "?? good"
    assert_sound(box, "after three attempts")


def test_what_a_failed_attempt_left_of_its_outputs_is_gone_before_the_next(box, slurm):
    (box.path / "out").mkdir()
    (box.path / "out/known").write_text("known\n")
    (box.path / "out/gone").write_text("to be removed by the job\n")
    box.cli("save", "-m", "outputs of earlier jobs")
    (box.path / "out/older").write_text("not known to git, and older than the job\n")
    box.script(
        "ls out > listed; echo more >> out/known; rm -f out/gone; mkdir out/sub; "
        "echo x > out/sub/x; mkdir new; echo y > new/y; exit 1"
    )
    outputs = ["out", "new", "listed"]
    first = failed(box, slurm, outputs=outputs)
    assert (box.path / "out/known").read_text() == "known\nmore\n"
    results = retry(box, first)
    (removed,) = [res for res in results if res["action"] == "remove"]
    assert removed["files"] == 4
    assert "4 files that the failed attempt left" in removed["message"]
    second = box.tracked()[0]
    slurm.wait(second)
    assert (box.path / "out/known").read_text() == "known\nmore\n"
    assert (box.path / "listed").read_text().split() == ["gone", "known", "older"]
    assert f"slurm-{first}.out" in box.status()
    third = retried(box, second, assume_ready="outputs")
    slurm.wait(third)
    assert (box.path / "out/known").read_text() == "known\nmore\nmore\n"
    finish(box, accept_failed_jobs=True)
    assert_sound(box, "after three attempts")


def test_a_submission_that_fails_leaves_the_failed_job_as_it_was(box, slurm):
    box.script("mkdir out; echo half > out/a; exit 3")
    job = failed(box, slurm)
    (result,) = [
        res for res in retry(box, job, retry_with="--time=nonsense") if res["status"] != "ok"
    ]
    assert result["status"] == "error"
    assert "nvalid --time specification" in result["message"]
    assert box.tracked() == [job]
    assert claims(box) == ["out"]
    assert (box.path / "out/a").read_text() == "half\n"
    assert_sound(box, "after a submission that failed")
    results = finish(box, accept_failed_jobs=True)
    assert {"ok"} == {res["status"] for res in results}, results
    assert "attempts" not in record_of(box)["slurm"]


def test_options_of_a_retry_win_and_are_recorded(box, slurm):
    box.script(
        "#SBATCH --mem=100M\necho $SLURM_MEM_PER_NODE $1 > out; [ $SLURM_MEM_PER_NODE = 300 ]"
    )
    first = failed(box, slurm, ["sbatch", "--mem=200M", "job.sh", "--mem=1M"])
    assert (box.path / "out").read_text() == "200 --mem=1M\n"
    second = retried(box, first, retry_with="--mem=300M --time=2")
    slurm.wait(second)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert (box.path / "out").read_text() == "300 --mem=1M\n"
    record = record_of(box)
    assert record["cmd"] == "sbatch --mem=200M --mem=300M --time=2 job.sh --mem=1M"
    old, new = record["slurm"]["attempts"]
    assert old["cmd"] == "sbatch --mem=200M job.sh --mem=1M"
    assert "cmd" not in new
    assert (old["requested_memory"], new["requested_memory"]) == ("200M", "300M")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retry_with": "job.sh"}, "takes options of sbatch"),
        ({"retry_with": "--array=3"}, "cannot change which tasks"),
        ({"retry_with": "--mem=8G"}, "no options can be put into the command"),
    ],
)
def test_options_that_cannot_be_put_into_the_command_are_refused(box, slurm, options, said):
    job = failed(box, slurm, "true; sbatch --wrap 'exit 1'")
    (result,) = retry(box, job, **options)
    assert result["status"] == "impossible"
    assert said in result["message"]
    assert box.tracked() == [job]


def test_only_jobs_that_are_known_to_have_failed_are_submitted_again(box, slurm, stand_in):
    running = schedule(box, ["sbatch", "--wrap", "sleep 100"], ["a"])
    good = failed(box, slurm, ["sbatch", "--wrap", "echo b > b"], ["b"])
    bad = failed(box, slurm, ["sbatch", "--wrap", "exit 1"], ["c"])
    slurm.wait(running, until="RUNNING".__eq__)
    for job, said in ((running, "RUNNING"), (good, "has completed"), (99999999, "no open job")):
        (result,) = retry(box, bad, job)
        assert (result["status"], said in result["message"]) == ("impossible", True), result
    stand_in("squeue", "exit 1")
    stand_in("sacct", "exit 1")
    (result,) = retry(box, bad)
    assert "whether it has ended is not known" in result["message"]
    for program in ("squeue", "sacct"):
        stand_in(program, 'exec $real "$@"')
    assert noted_jobs(box) == [running, good, bad]
    results = retry(box, "all")
    told = {res["slurm_job_id"]: res["status"] for res in results}
    assert (told.pop(running), told.pop(good)) == ("notneeded", "notneeded")
    ((again, status),) = told.items()
    assert status == "ok"
    assert sorted(box.tracked()) == sorted([running, good, again])
    (result,) = retry(box, bad)
    assert f"job {bad} was submitted again, and is job {again} now" in result["message"]
    slurm.run("scancel", str(running), str(again))


def test_a_log_that_the_next_attempt_overwrites_is_noted_as_such(box, slurm):
    box.script("#SBATCH -o log\necho x > out; [ -e good ]")
    first = failed(box, slurm)
    (box.path / "good").touch()
    second = retried(box, first)
    slurm.wait(second)
    finish(box)
    old, new = record_of(box)["slurm"]["attempts"]
    assert old["overwritten_logs"] == ["log"]
    assert "logs" not in old
    assert "overwritten_logs" not in new


def test_a_retry_notes_inputs_and_script_anew(box, slurm):
    (box.path / "in").write_text("1\n")
    box.cli("save", "-m", "input")
    box.script("cp in out; exit 1")
    first = failed(box, slurm, inputs=["in"])
    box.script("cp in out")
    (box.path / "in").unlink()
    (box.path / "in").write_text("2\n")
    box.cli("save", "-m", "another input")
    second = retried(box, first)
    slurm.wait(second)
    (saved,) = [res for res in finish(box) if res["action"] == "save"]
    assert not saved.get("changed_inputs")
    assert not saved.get("changed_scripts")
    record = record_of(box)
    assert (box.path / "out").read_text() == "2\n"
    assert "now" not in record["slurm"]["inputs"][0]
    assert record["slurm"]["commit"] == box.git("rev-parse", "HEAD~1")


def test_a_retry_does_not_go_with_what_is_about_commits(box):
    for more in (["--since="], ["HEAD"], ["--verify"], ["-m", "words"], ["--report"]):
        done = box.cli("slurm-reschedule", "--retry", "1", *more, code=None)
        assert done.returncode == 2 or "does not go with" in done.stdout + done.stderr
        assert "--retry is about open jobs" in done.stdout + done.stderr
    done = box.cli("slurm-reschedule", "--retry-with=--mem=8G", code=None)
    assert "--retry-with is of use with --retry only" in done.stdout + done.stderr


#: a task fails as long as there is no file `good-<its index>`
TASK = "mkdir sub-$1; echo $SLURM_JOB_ID > sub-$1/a; [ -e good-$1 ]".replace(
    "$1", "$SLURM_ARRAY_TASK_ID"
)


def test_of_an_array_with_outputs_of_each_task_only_the_failed_ones_run_again(box, slurm):
    box.script(f"#SBATCH --array=1-9\n{TASK}")
    (box.path / "good-1").touch()
    (box.path / "good-3").touch()
    first = failed(box, slurm, ["sbatch", "--array=1-4%2", "job.sh"], ["sub-%a"])
    kept = (box.path / "sub-1/a").read_text()
    second = retried(box, first)
    assert claims(box) == ["sub-1", "sub-3", "sub-2", "sub-4"]
    assert noted_jobs(box) == [first, second]
    limit = slurm.run("scontrol", "show", "job", str(second))
    assert "ArrayTaskThrottle=2" in limit
    slurm.wait(second)
    (result,) = finish(box)
    assert f"2 of 4 tasks failed: {second}_[2,4]: exit code 1" in result["message"]
    (box.path / "good-2").touch()
    third = retried(box, f"{second}_2")
    assert noted_jobs(box) == [first, second, third]
    slurm.wait(third)
    (box.path / "good-4").touch()
    fourth = retried(box, "all")
    slurm.wait(fourth)
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, results
    assert (box.path / "sub-1/a").read_text() == kept
    record = record_of(box)
    assert record["cmd"] == "sbatch --array=1-4%2 job.sh"
    attempts = record["slurm"]["attempts"]
    told = [(e["slurm_job_id"], e["attempt"], e["tasks"], e["state"]) for e in attempts]
    assert told == [
        (first, 1, "2,4", "FAILED"),
        (first, 1, "1,3", "COMPLETED"),
        (second, 2, "2", "FAILED"),
        (second, 2, "4", "FAILED"),
        (third, 3, "2", "COMPLETED"),
        (fourth, 4, "4", "COMPLETED"),
    ]
    assert attempts[2]["cmd"] == "sbatch --array=1-4%2 --array=2,4%2 job.sh"
    assert attempts[-1]["cmd"] == "sbatch --array=1-4%2 --array=4%2 job.sh"
    logs = {f"slurm-{first}_{i}.out" for i in (1, 2, 3, 4)} | {f"slurm-{second}_2.out"}
    assert logs <= box.files_in_last_commit()
    assert_sound(box, "after four attempts")


def test_tasks_that_were_finished_before_the_others_do_not_run_again(box, slurm):
    box.script(TASK)
    (box.path / "good-1").touch()
    first = failed(box, slurm, ["sbatch", "--array=1-3", "job.sh"], ["sub-%a"])
    finish(box, partial=True)
    assert box.files_in_last_commit() >= {"sub-1/a"}
    (box.path / "good-2").touch()
    (box.path / "good-3").touch()
    second = retried(box, first)
    slurm.wait(second)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert {"sub-2/a", "sub-3/a"} <= box.files_in_last_commit()
    assert not [path for path in box.files_in_last_commit() if path.startswith("sub-1")]
    assert slurm.run("sacct", "-nXP", "-j", str(second), "-o", "JobID").split() == [
        f"{second}_2", f"{second}_3"
    ]  # fmt: skip


def test_a_task_whose_outputs_are_those_of_all_is_not_submitted_again_alone(box, slurm):
    job = failed(box, slurm, ["sbatch", "--array=1-2", "--wrap", "exit 1"])
    (result,) = retry(box, f"{job}_1")
    assert result["status"] == "impossible"
    assert f"`--retry {job}` runs all of it again" in result["message"]
    again = retried(box, job)
    assert noted_jobs(box) == [again]


def test_a_job_in_an_alternative_directory_is_submitted_again_there(box, slurm, tmp_path):
    (box.path / "in").write_text("in\n")
    box.cli("save", "-m", "input")
    box.script("ls; mkdir out; cat in > out/a; [ -e fine ]")
    alt_dir = tmp_path / "alt"
    alt_dir.mkdir()
    first = failed(box, slurm, inputs=["in"], alt_dir=str(alt_dir))
    (alt_dir / "fine").touch()
    results = retry(box, first)
    (removed,) = [res for res in results if res["action"] == "remove"]
    assert removed["first"] == "out/a"
    (second,) = box.tracked()
    slurm.wait(second)
    results = finish(box)
    assert {res["status"] for res in results} <= {"ok", "notneeded"}, results
    logs = {f"slurm-{job}.out" for job in (first, second)}
    assert {"out/a", *logs} <= box.files_in_last_commit()
    assert "out" not in (box.path / f"slurm-{second}.out").read_text().split()
    assert [path.name for path in alt_dir.iterdir()] == ["fine"]
    assert_sound(box, "after two attempts elsewhere")


def test_outputs_in_a_subdataset_are_cleared_and_put_back_there(box, slurm):
    box.cli("create", "-d", ".", "sub")
    (box.path / "sub/known").write_text("known\n")
    box.cli("save", "-r", "-m", "output in a subdataset")
    box.script(
        "ls sub >> listed; echo more >> sub/known; mkdir sub/d; echo x > sub/d/x; [ -e fine ]"
    )
    first = failed(box, slurm, outputs=["sub/known", "sub/d", "listed"])
    (box.path / "fine").touch()
    second = retried(box, first)
    slurm.wait(second)
    assert (box.path / "sub/known").read_text() == "known\nmore\n"
    assert (box.path / "listed").read_text() == "known\n"
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert_sound(box, "after two attempts")
