"""Array tasks with outputs of their own: claimed, committed, closed and run again one by one."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from datalad.api import slurm_finish, slurm_reschedule, slurm_schedule

from tests.slurm.sweeps import QUIET, claims, wait_for_accounting
from tests.slurm.test_schedule import finish, schedule

#: Tasks 3 and 5 fail.
SCRIPT = """\
mkdir -p sub-$SLURM_ARRAY_TASK_ID
echo $SLURM_ARRAY_TASK_ID > sub-$SLURM_ARRAY_TASK_ID/res
echo log > log-${SLURM_ARRAY_JOB_ID}_$(printf %03d $SLURM_ARRAY_TASK_ID).txt
echo x >> all
[ $SLURM_ARRAY_TASK_ID != 3 ] && [ $SLURM_ARRAY_TASK_ID != 5 ]"""
OUTPUTS = ["sub-%a", "log-%A_%3a.txt"]


@pytest.fixture
def array(box, slurm):
    """Return a function that runs an array of six tasks, of which two fail, and its job."""
    box.script(SCRIPT)

    def run(*outputs, indices="1-6"):
        job = schedule(box, ["sbatch", f"--array={indices}", "job.sh"], [*OUTPUTS, *outputs])
        wait_for_accounting(slurm, [job])
        return job

    return run


def record(box, revision="HEAD"):
    message = box.git("log", "-1", "--format=%B", revision)
    text = message.partition("=== Do not change lines below ===")[2].partition("^^^")[0]
    return json.loads(text)


def facts(box, job):
    return json.loads((box.path / f"slurm-job-{job}.env.json").read_text())["accounting"]


def files_of(job, *tasks):
    return {
        path
        for task in tasks
        for path in (f"sub-{task}/res", f"log-{job}_{task:03}.txt", f"slurm-{job}_{task}.out")
    } | {f"slurm-job-{job}.env.json"}


def refused(box, command, outputs):
    """Return why a command is refused; nothing is submitted or claimed for it."""
    before = claims(box) if (box.path / ".git/datalad-slurm").exists() else []
    (res,) = slurm_schedule(command, dataset=box.path, outputs=outputs, **QUIET)
    assert res["status"] == "impossible"
    assert [*claims(box)] == before
    return res["message"]


def statuses(results, status):
    return [res["message"] for res in results if res["status"] == status and "message" in res]


def partly(box, job=None, **how):
    return slurm_finish(job, dataset=box.path, partial=True, **QUIET, **how)


# --- claims


def test_each_task_claims_its_outputs_and_others_can_have_other_tasks(box, slurm):
    box.script(SCRIPT)
    command = ["sbatch", "--hold", "--array=1-3", "job.sh"]
    job = schedule(box, command, ["sub-%a", "log-%A_%3a.txt"])
    assert sorted(claims(box)) == [
        *(f"log-{job}_00{index}.txt" for index in (1, 2, 3)), "sub-1", "sub-2", "sub-3",
    ]  # fmt: skip
    other = schedule(box, ["sbatch", "--hold", "-a", "4,6", "job.sh"], ["sub-%a", "log-%A_%3a.txt"])
    said = refused(box, ["sbatch", "--hold", "--array=3-5", "job.sh"], ["sub-%a"])
    assert f"output 'sub-3' conflicts with task {job}_3" in said
    assert f"(datalad slurm-finish {job})" in said
    assert f"task {other}_4" in refused(box, ["sbatch", "job.sh"], ["sub-4/res"])
    assert box.tracked() == [job, other]
    slurm.run("scancel", str(job), str(other))


def test_the_tasks_are_known_from_a_directive_and_from_the_environment(box, slurm, monkeypatch):
    box.script("true", "plain.sh")
    box.script("#SBATCH --hold --array=7-8\ntrue", "directive.sh")
    first = schedule(box, ["sbatch", "directive.sh"], ["sub-%a"])
    said = refused(box, ["sbatch", "directive.sh"], ["sub-%a"])
    assert f"output 'sub-7' conflicts with task {first}_7" in said
    monkeypatch.setenv("SBATCH_ARRAY_INX", "9")
    second = schedule(box, ["sbatch", "--hold", "plain.sh"], ["sub-%a"])
    assert sorted(claims(box)) == ["sub-7", "sub-8", "sub-9"]
    slurm.run("scancel", str(first), str(second))


def test_a_wrapper_claims_what_could_match_until_the_array_is_known(box, slurm):
    wrapper = box.path / "wrapper"
    wrapper.write_text("#!/bin/sh\nexec sbatch --hold --array=2-3 --wrap true >&2\n")
    wrapper.chmod(0o755)
    job = schedule(box, ["./wrapper"], ["sub-%a", "res-%x"])
    assert sorted(claims(box)) == ["res-wrap", "sub-2", "sub-3"]
    said = refused(box, ["./wrapper"], ["sub-%a"])
    assert f"output 'sub-[0-9]*' conflicts with task {job}_2" in said
    slurm.run("scancel", str(job))


def test_names_and_ids_are_filled_in_when_slurm_has_told_them(box, slurm):
    command = ["sbatch", "--hold", "-J", "a*b", "--wrap", "true"]
    outputs = [["out-%j", "0-%x", "0/%6A", "100%%a", "5%"], ["out-%j", "1-%x", "1/%6A"]]
    jobs = [schedule(box, command, declared) for declared in outputs]
    assert claims(box) == [
        f"out-{jobs[0]}", "0-a[*]b", f"0/{jobs[0]:06}", "100%a", "5%",
        f"out-{jobs[1]}", "1-a[*]b", f"1/{jobs[1]:06}",
    ]  # fmt: skip
    slurm.run("scancel", *map(str, jobs))


def test_what_slurm_writes_by_a_pattern_is_what_is_committed(box, slurm):
    (box.path / "o").mkdir()
    pattern = "o/%x-%A_%a-%4a-%012a-%%-%q-50%"
    job = schedule(
        box, ["sbatch", "-o", pattern, "-J", "n.m", "--array=7", "--wrap", "true"], [pattern]
    )
    wait_for_accounting(slurm, [job])
    assert {res["status"] for res in finish(box)} == {"ok"}
    written = f"o/n.m-{job}_7-0007-0000000007-%-%q-50%"
    assert written in box.files_in_last_commit()
    assert written in record(box)["outputs"]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("out-%N", "has sbatch's pattern '%N', of which it is not known what it will stand for"),
        ("out-%4t", "pattern '%4t'"),
        ("out-%a", "the command submits no array; add --array, or type %%a"),
        ("%x/.git/x", "inside the git directory"),
    ],
)
def test_patterns_that_say_nothing_are_refused_before_submission(box, slurm, output, said):
    assert said in refused(box, ["sbatch", "--wrap", "true"], [output])
    assert box.tracked() == []


def test_a_tasks_own_id_is_refused_in_an_array(box, slurm):
    said = refused(box, ["sbatch", "--array=1-2", "--wrap", "true"], ["out-%j"])
    assert "has sbatch's pattern %j, which in an array is the own id of each task" in said
    assert box.tracked() == []


# --- parts


def test_partial_commits_what_completed_tasks_have_left(box, array):
    job = array("all")
    results = partly(box)
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}_[1-2,4,6]: Completed"]
    assert box.files_in_last_commit() == files_of(job, 1, 2, 4, 6)
    (said,) = statuses(results, "impossible")
    assert f"{job}_3: FAILED, {job}_5: FAILED" in said
    finish_here = f"datalad slurm-finish -d {box.path}"
    assert f"{finish_here} '{job}_[3,5]' --accept-failed-jobs" in said
    assert sorted(claims(box)) == [
        "all", f"log-{job}_003.txt", f"log-{job}_005.txt", "sub-3", "sub-5",
    ]  # fmt: skip
    found = record(box)
    assert found["slurm"]["array_tasks"] == "1-2,4,6"
    assert found["slurm"]["output_patterns"] == [*OUTPUTS, "all"]
    assert found["slurm"]["tasks"] == [
        {"ids": f"{job}_[1-2,4,6]", "state": "COMPLETED", "count": 4, "exit_code": "0:0"}
    ]
    assert {f"sub-{index}" for index in (1, 2, 4, 6)} <= {*found["outputs"]}
    assert "all" not in found["outputs"]
    assert [row["task"] for row in facts(box, job)] == [f"{job}_{i}" for i in (1, 2, 4, 6)]


def test_a_second_partial_finish_commits_nothing_twice(box, array):
    job = array()
    partly(box)
    head = box.git("rev-parse", "HEAD")
    assert [res["status"] for res in partly(box)] == ["impossible"]
    assert box.git("rev-parse", "HEAD") == head
    assert box.tracked() == [job]


def test_the_last_tasks_take_with_them_what_all_share(box, array):
    job = array("all")
    partly(box)
    results = finish(box, accept_failed_jobs=True)
    assert {res["status"] for res in results} == {"ok"}
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}_[3,5]: Failed"]
    assert box.files_in_last_commit() == {*files_of(job, 3, 5), "all"}
    assert [row["task"] for row in facts(box, job)] == [f"{job}_{i}" for i in range(1, 7)]
    assert box.tracked() == claims(box) == []
    assert box.status() == ""


def test_a_task_is_committed_or_closed_by_its_name(box, array):
    job = array("all")
    finish(box, f"{job}_2")
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}_2: Completed"]
    assert box.files_in_last_commit() == files_of(job, 2)
    assert statuses(finish(box, f"{job}_[1,3]"), "impossible")  # all or nothing
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}_2: Completed"]
    finish(box, f"{job}_3", accept_failed_jobs=True)
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}_3: Failed"]
    head = box.git("rev-parse", "HEAD")
    (closed,) = finish(box, f"{job}_5", close_failed_jobs=True)
    assert closed["message"] == f"Closing failed / cancelled jobs. Statuses: {job}_5: FAILED"
    assert box.git("rev-parse", "HEAD") == head
    assert "sub-5" not in claims(box)
    assert (box.path / "sub-5/res").exists()
    finish(box)
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}_[1,4,6]: Completed"]
    assert box.files_in_last_commit() == {*files_of(job, 1, 4, 6), "all"}
    assert box.tracked() == []


def test_a_task_that_is_not_open_is_refused(box, array):
    job = array()
    finish(box, f"{job}_2")
    for name in (f"{job}_2", f"{job}_[6-7]"):
        (res,) = finish(box, name)
        assert (res["status"], res["message"].partition(" in ")[0]) == (
            "impossible", f"no open task {job}_{'2' if name.endswith('2') else '7'}",
        )  # fmt: skip
    assert box.tracked() == [job]


def test_partial_and_close_ends_an_array_at_once(box, array):
    job = array("all")
    results = partly(box, close_failed_jobs=True)
    assert {res["status"] for res in results} == {"ok"}
    assert box.files_in_last_commit() == {*files_of(job, 1, 2, 4, 6), "all"}
    assert record(box)["slurm"]["array_tasks"] == "1-2,4,6"
    assert box.tracked() == claims(box) == []


def test_running_tasks_and_their_logs_are_left_alone(box, slurm, tmp_path):
    go = tmp_path / "go"
    wait = f"[ $SLURM_ARRAY_TASK_ID = 1 ] || while [ ! -e {go} ]; do sleep 0.1; done"
    for index in (1, 2, 3):
        (box.path / f"sub-{index}").mkdir()
    box.script(f"echo a > sub-$SLURM_ARRAY_TASK_ID/res\n{wait}")
    job = schedule(box, ["sbatch", "--array=1-3", "-o", "sub-%a/log", "job.sh"], ["sub-%a"])
    slurm.wait(f"{job}_1")
    results = partly(box)
    assert box.files_in_last_commit() == {
        "sub-1/log", "sub-1/res", f"sub-1/slurm-job-{job}.env.json",
    }  # fmt: skip
    assert any(f"{job}_2: RUNNING" in said for said in statuses(results, "impossible"))
    assert not (box.path / "sub-2/log").is_symlink()
    (entry,) = slurm_finish(dataset=box.path, list_open_jobs=True, **QUIET)
    assert entry["progress"] == "0/2 done, 2 running, 1 finished before"
    assert entry["tasks_by_state"] == {"RUNNING": 2}
    assert entry["outputs"] == ["sub-%a"]
    go.touch()
    wait_for_accounting(slurm, [job])
    finish(box)
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}_[2-3]: Completed"]


def test_an_array_without_outputs_of_its_tasks_stays_whole(box, slurm):
    box.script(SCRIPT)
    job = schedule(box, ["sbatch", "--array=1-3", "job.sh"], ["sub-1", "sub-2", "sub-3", "all"])
    wait_for_accounting(slurm, [job])
    for results in (partly(box), finish(box, f"{job}_1")):
        (said,) = statuses(results, "impossible")
        assert "stays open as a whole: which of its outputs are those of which task" in said
        assert "declared for each task, such as 'out-%a'" in said
    (said,) = statuses(finish(box, f"{job}_3", close_failed_jobs=True), "impossible")
    assert "stays open as a whole" in said
    assert box.tracked() == [job]


def test_partial_says_nothing_new_of_an_array_that_has_completed(box, slurm):
    box.script("echo > o-$SLURM_ARRAY_TASK_ID")
    job = schedule(box, ["sbatch", "--array=1-3", "job.sh"], ["o-%a"])
    wait_for_accounting(slurm, [job])
    partly(box)
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}: Completed"]
    assert "array_tasks" not in record(box)["slurm"]
    assert box.tracked() == []


def test_parts_go_to_branches_of_their_own(box, array):
    job = array()
    partly(box, branches=True)
    finish(box, branches=True, accept_failed_jobs=True)
    branches = box.git("branch", "--format=%(refname:short)", "--list", "slurm-job-branch-*")
    first, second = branches.splitlines()
    assert box.files_in_last_commit(first) == files_of(job, 1, 2, 4, 6)
    assert box.files_in_last_commit(second) == files_of(job, 3, 5)
    assert box.tracked() == []


def test_parts_of_an_alternative_directory_are_brought_back_one_by_one(box, slurm, tmp_path):
    alt = tmp_path / "alt"
    alt.mkdir()
    box.script(SCRIPT)
    job = schedule(
        box, ["sbatch", "--array=1-6", "job.sh"], [*OUTPUTS, "all"], alt_dir=str(alt)
    )  # fmt: skip
    wait_for_accounting(slurm, [job])
    partly(box)
    assert box.files_in_last_commit() == files_of(job, 1, 2, 4, 6)
    assert not (box.path / "sub-3").exists()
    finish(box, accept_failed_jobs=True)
    assert box.files_in_last_commit() == {*files_of(job, 3, 5), "all"}
    assert list(alt.iterdir()) == []


def test_parts_in_a_subdataset_are_committed_there(box, slurm):
    box.cli("create", "-d", ".", "inner")
    box.script("cd inner\n" + SCRIPT)
    job = schedule(box, ["sbatch", "--array=1-6", "job.sh"], ["inner/sub-%a"])
    wait_for_accounting(slurm, [job])
    partly(box)
    inner = type(box)(box.path / "inner")
    assert inner.files_in_last_commit() == {f"sub-{index}/res" for index in (1, 2, 4, 6)}
    finish(box, accept_failed_jobs=True)
    assert inner.files_in_last_commit() == {f"sub-{index}/res" for index in (3, 5)}
    assert inner.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}_[3,5]: Failed"]
    assert box.git("rev-parse", "HEAD:inner") == inner.git("rev-parse", "HEAD")


def test_a_tracked_array_is_finished_in_parts_too(box, slurm):
    box.script(SCRIPT)
    command = ["sbatch", "--parsable", "--array=1-6", "job.sh"]
    job = int(subprocess.run(command, cwd=box.path, check=True, stdout=subprocess.PIPE).stdout)
    done = box.cli("slurm-schedule", "--job-id", str(job), *(f"-o{out}" for out in OUTPUTS))
    assert f"Slurm job {job} is tracked now" in done.stdout
    assert "sub-3" in claims(box)
    wait_for_accounting(slurm, [job])
    partly(box)
    assert box.files_in_last_commit() == files_of(job, 1, 2, 4, 6)


# --- run again


def test_a_commit_of_some_tasks_is_run_again_for_these(box, slurm, array):
    job = array("all")
    partly(box)
    box.script(SCRIPT.rpartition("\n")[0] + "\ntrue")
    (res,) = [
        r for r in slurm_reschedule("HEAD~1", dataset=box.path, **QUIET)
        if r["action"] == "slurm-reschedule"
    ]  # fmt: skip
    assert res["status"] == "impossible"  # the failed tasks write 'all' as well
    assert f"conflicts with job {job}" in res["message"]
    finish(box, close_failed_jobs=True)
    (res,) = [
        r for r in slurm_reschedule("HEAD~1", dataset=box.path, **QUIET)
        if r["action"] == "slurm-reschedule"
    ]  # fmt: skip
    again = res["slurm_job_id"]
    assert res["cmd"] == "sbatch --array=1-2,4,6 job.sh"
    assert res["outputs"] == [*OUTPUTS, "all"]
    wait_for_accounting(slurm, [again])
    finish(box)
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {again}: Completed"]
    assert {f"log-{again}_00{index}.txt" for index in (1, 2, 4, 6)} <= box.files_in_last_commit()
    assert "array_tasks" not in record(box)["slurm"]


def test_the_parts_of_an_array_are_run_again_as_one(box, slurm, array):
    job = array("all")
    before = box.git("rev-parse", "HEAD")
    partly(box)
    finish(box, accept_failed_jobs=True)
    results = slurm_reschedule(since=before, with_failed_jobs=True, dataset=box.path, **QUIET)
    first, last = [res for res in results if res["action"] == "slurm-reschedule"]
    assert (first["status"], last["status"]) == ("notneeded", "ok")
    assert "its tasks are run with those of commit" in first["message"]
    assert last["cmd"] == "sbatch --array=1-6 job.sh"
    again = last["slurm_job_id"]
    wait_for_accounting(slurm, [again])
    finish(box, close_failed_jobs=True, partial=True)
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {again}_[1-2,4,6]: Completed"]
    commits = box.git("log", "-2", "--skip=1", "--format=%H").splitlines()
    assert record(box)["chain"] == commits[::-1]
    assert job != again


def test_a_repeated_command_with_ids_in_its_outputs_is_run_again_once(box, slurm):
    before = box.git("rev-parse", "HEAD")
    for _ in range(2):
        job = schedule(
            box, "sbatch --wrap 'echo > out; echo > log-$SLURM_JOB_ID'", ["out", "log-%j"]
        )
        wait_for_accounting(slurm, [job])
        finish(box)
    results = slurm_reschedule(since=before, dataset=box.path, **QUIET)
    found = [res["status"] for res in results if res["action"] == "slurm-reschedule"]
    assert found == ["notneeded", "ok"]
    assert len(box.tracked()) == 1


def test_a_commit_of_a_whole_array_is_run_again_as_recorded(box, slurm, array):
    array()
    finish(box, accept_failed_jobs=True)
    assert record(box)["slurm"]["output_patterns"] == OUTPUTS
    (res,) = [
        r for r in slurm_reschedule(dataset=box.path, **QUIET) if r["action"] == "slurm-reschedule"
    ]
    assert res["cmd"] == "sbatch --array=1-6 job.sh"
    slurm.run("scancel", str(res["slurm_job_id"]))


def test_a_part_whose_command_hides_sbatch_is_refused(box, slurm):
    box.script(SCRIPT)
    (box.path / "wrapper").write_text("#!/bin/sh\nexec sbatch --array=1-6 job.sh\n")
    (box.path / "wrapper").chmod(0o755)
    job = schedule(box, ["./wrapper"], ["sub-%a"])
    wait_for_accounting(slurm, [job])
    partly(box)
    finish(box, close_failed_jobs=True)
    (res,) = slurm_reschedule(dataset=box.path, **QUIET)
    assert res["status"] == "impossible"
    assert "the commit holds tasks 1-2,4,6 of an array only" in res["message"]


def test_percent_signs_of_earlier_records_stand_for_themselves(box, slurm):
    name = "100%a-%j"
    job = schedule(box, ["sbatch", "--wrap", f"echo x > {name}"], [name.replace("%", "%%")])
    wait_for_accounting(slurm, [job])
    finish(box)
    assert name in box.files_in_last_commit()
    message = box.git("log", "-1", "--format=%B")
    earlier = message.replace('"output_patterns"', '"declared_outputs"').replace("%%", "%")
    assert earlier != message
    box.git("commit", "-q", "--amend", "-m", earlier)
    (res,) = [
        r for r in slurm_reschedule(dataset=box.path, **QUIET) if r["action"] == "slurm-reschedule"
    ]
    assert claims(box) == [name]
    slurm.run("scancel", str(res["slurm_job_id"]))


def test_arrays_that_share_a_log_leave_it_to_the_last_task(box, slurm):
    box.script(SCRIPT)
    job = schedule(
        box, ["sbatch", "--array=1-6", "-o", "one.log", "--open-mode=append", "job.sh"], ["sub-%a"]
    )  # fmt: skip
    wait_for_accounting(slurm, [job])
    partly(box)
    assert "one.log" not in box.files_in_last_commit()
    finish(box, accept_failed_jobs=True)
    assert "one.log" in box.files_in_last_commit()
    assert os.path.islink(box.path / "one.log")
