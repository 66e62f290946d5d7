"""Array tasks with outputs of their own: committed and closed one by one."""

from __future__ import annotations

import subprocess

from datalad.api import slurm_finish

from tests.slurm.array_tasks import OUTPUTS, SCRIPT, facts, files_of, partly, statuses
from tests.slurm.sweeps import QUIET, claims
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule


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
    found = record_of(box)
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
    assert record_of(box)["slurm"]["array_tasks"] == "1-2,4,6"
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
    slurm.wait(job)
    finish(box)
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}_[2-3]: Completed"]


def test_an_array_without_outputs_of_its_tasks_stays_whole(box, slurm):
    box.script(SCRIPT)
    job = schedule(box, ["sbatch", "--array=1-3", "job.sh"], ["sub-1", "sub-2", "sub-3", "all"])
    slurm.wait(job)
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
    slurm.wait(job)
    partly(box)
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}: Completed"]
    assert "array_tasks" not in record_of(box)["slurm"]
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
    slurm.wait(job)
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
    slurm.wait(job)
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
    slurm.wait(job)
    partly(box)
    assert box.files_in_last_commit() == files_of(job, 1, 2, 4, 6)
