"""What is around the commands: the user's environment, slow programs, several clusters."""

from __future__ import annotations

import time

import pytest

from tests.slurm.test_schedule import finish, schedule

#: what users and sites set to change what Slurm's programs show, and of which jobs
_ENVIRONMENT = {
    "SQUEUE_STATES": "PENDING",
    "SQUEUE_FORMAT": "%j",
    "SQUEUE_FORMAT2": "name",
    "SQUEUE_PARTITION": "short",
    "SQUEUE_USERS": "nobody",
    "SQUEUE_SORT": "-i",
    "SQUEUE_ARRAY": "1",
    "SACCT_FORMAT": "jobname%5",
    "SACCT_FEDERATION": "1",
    "SLURM_TIME_FORMAT": "relative",
    "SLURM_BITSTR_LEN": "3",
    "SLURM_CLUSTERS": "testbed",
    "SLURM_JOB_ID": "1",
    "SLURM_ARRAY_TASK_ID": "7",
    "LC_ALL": "tr_TR.UTF-8",
    "TZ": "Pacific/Kiritimati",
}


def test_no_variable_of_the_users_changes_what_is_understood(box, slurm, monkeypatch):
    def told(function, *args, **kwargs):
        with monkeypatch.context() as patch:
            for name, value in _ENVIRONMENT.items():
                patch.setenv(name, value)
            return function(box, *args, **kwargs)

    array = told(
        schedule,
        ["sbatch", "--array=1-9:2", "-o", "/dev/null", "--wrap", "echo x > o$SLURM_ARRAY_TASK_ID"],
        ["o1", "o3", "o5", "o7", "o9"],
    )  # fmt: skip
    waiting = told(schedule, ["sbatch", "--hold", "--wrap", "true"], ["w"])
    slurm.wait(array)
    assert {res["status"] for res in told(finish, array)} == {"ok"}
    assert {f"o{n}" for n in (1, 3, 5, 7, 9)} < box.files_in_last_commit()
    (entry,) = told(finish, list_open_jobs=True)
    assert (entry["slurm_job_id"], entry["slurm_job_status"]) == (waiting, "PENDING")
    slurm.run("scancel", str(waiting))


@pytest.mark.parametrize("patience", ["1", "60"])
def test_when_every_query_is_slow_a_job_is_tracked_and_finished_in_time(
    box, slurm, stand_in, patience
):
    box.git("config", "datalad.slurm.query-timeout", patience)
    for program in ("squeue", "sacct", "scontrol"):
        stand_in(program, 'sleep 2; exec $real "$@"')
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    assert job in slurm_ids(slurm)
    slurm.wait(job)
    results = finish(box)
    if patience == "1":
        (result,) = results
        assert result["status"] == "impossible"
        assert "gave no answer within 1 s" in result["message"]
        for program in ("squeue", "sacct", "scontrol"):
            stand_in(program, 'exec $real "$@"')
        results = finish(box)
    assert {res["status"] for res in results} == {"ok"}
    assert {"out", f"slurm-{job}.out"} < box.files_in_last_commit()


def slurm_ids(slurm):
    return {int(word) for word in slurm.run("squeue", "-h", "-t", "all", "-o", "%A").split()}


def test_the_cluster_of_a_job_is_named_in_every_call(box, slurm, stand_in, tmp_path):
    log = tmp_path / "calls"
    for program in ("squeue", "sacct", "scontrol"):
        stand_in(program, f'echo "{program} $*" >> {log}; exec $real "$@"')
    job = schedule(box, ["sbatch", "-M", "testbed", "--wrap", "echo x > out"])
    slurm.wait(job, is_accounted=False)
    (entry,) = finish(box, list_open_jobs=True)
    assert entry["cluster"] == "testbed"
    assert {res["status"] for res in finish(box)} == {"ok"}
    lines = [line for line in log.read_text().splitlines() if str(job) in line]
    assert lines
    ours = [line for line in lines if " -o %T " not in line]  # the test asks, too
    assert [line for line in ours if "--clusters=testbed" not in line] == []


def test_jobs_of_two_clusters_with_one_id_are_two_jobs(box, slurm, stand_in):
    here = schedule(box, ["sbatch", "--wrap", "echo x > a"], ["a"])
    # another cluster, which gives the same id to a job that still runs there
    stand_in("sbatch", f'echo "Submitted batch job {here} on cluster other"')
    now, state = int(time.time()), box.path.parent / "state"
    state.write_text("RUNNING")
    there = f'[[ " $* " == *--clusters=other* ]] || exec $real "$@"; state=$(cat {state})'
    stand_in("scontrol", f"{there}\necho JobId={here} JobName=x; echo '   SubmitTime={now}'")
    stand_in("squeue", f'{there}\necho CLUSTER: other; echo "{here}|$state|{now}|0:01|None"')
    stand_in("sacct", there)
    assert schedule(box, ["sbatch", "-M", "other", "--wrap", "x"], ["b"]) == here
    (box.path / "b").write_text("b\n")
    slurm.wait(here)
    results = finish(box, accept_failed_jobs=True)
    assert [res["status"] for res in results if res["action"] == "finish"] == ["impossible"]
    assert "a" in box.files_in_last_commit()
    (entry,) = finish(box, list_open_jobs=True)
    assert (entry["cluster"], entry["slurm_job_status"]) == ("other", "RUNNING")
    state.write_text("COMPLETED")
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert "b" in box.files_in_last_commit()


def test_a_job_that_ran_out_of_memory_has_failed_by_that_name(box, slurm, stand_in):
    # jobs of the testbed are in no cgroup, so nothing there ends like this
    job = schedule(box, ["sbatch", "--wrap", "echo x > out; exit 1"])
    slurm.wait(job)
    for program in ("squeue", "sacct"):
        stand_in(program, '$real "$@" | sed "s/FAILED/OUT_OF_MEMORY/"')
    (result,) = finish(box)
    assert (result["status"], result["slurm_state"]) == ("impossible", "OUT_OF_MEMORY")
    finish(box, accept_failed_jobs=True)
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}: Out of memory"]


def test_a_job_that_another_cluster_took_though_sbatch_failed_is_tracked(box, slurm, stand_in):
    token = box.path.parent / "token"
    stand_in(
        "sbatch",
        f'echo "$*" | grep -o "datalad-slurm-[0-9a-f]*" > {token}\n'
        'echo "sbatch: error: Socket timed out on send/recv operation" >&2; exit 1',
    )
    there = '[[ " $* " == *--clusters=other* ]] || exec $real "$@"'
    stand_in("squeue", f'{there}\necho CLUSTER: other; echo "77|$(cat {token})"')
    stand_in("scontrol", f"{there}\nexit 1")
    assert schedule(box, ["sbatch", "-M", "other", "--wrap", "x"]) == 77
    (entry,) = finish(box, list_open_jobs=True)[:1]
    assert (entry["slurm_job_id"], entry["cluster"]) == (77, "other")
