"""`slurm-finish`: which jobs are committed, and what of the dataset is left alone."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.conftest import DATALAD
from tests.slurm.test_schedule import finish, schedule


def outcomes(results, action):
    return [res for res in results if res["action"] == action]


def test_running_and_pending_jobs_stay_open_whatever_is_asked(box, slurm):
    box.script("sleep 600")
    running = schedule(box, "sbatch job.sh", ["a"])
    pending = schedule(box, "sbatch --hold job.sh", ["b"])
    slurm.wait(running, until="RUNNING".__eq__)
    before = box.git("rev-parse", "HEAD")
    for flags in ({}, {"close_failed_jobs": True}, {"accept_failed_jobs": True}):
        results = finish(box, **flags)
        assert [res["status"] for res in results] == ["impossible", "impossible"]
        assert f"{running}: RUNNING" in results[0]["message"]
        assert f"{pending}: PENDING" in results[1]["message"]
    assert box.git("rev-parse", "HEAD") == before
    assert box.tracked() == [running, pending]
    slurm.run("scancel", str(running), str(pending))
    slurm.wait(running, pending)
    results = finish(box, close_failed_jobs=True)
    assert [res["status"] for res in results] == ["ok", "ok"]
    assert all("CANCELLED" in res["message"] for res in results)
    assert box.tracked() == []
    assert box.git("rev-parse", "HEAD") == before


def test_a_suspended_job_is_no_failed_job(box, slurm):
    job = schedule(box, ["sbatch", "--wrap", "sleep 600"])
    slurm.wait(job, until="RUNNING".__eq__)
    slurm.run("scontrol", "suspend", str(job))
    (result,) = finish(box, close_failed_jobs=True)
    assert (result["status"], result["slurm_state"]) == ("impossible", "SUSPENDED")
    assert box.tracked() == [job]
    slurm.run("scancel", str(job))


@pytest.mark.parametrize("flag", ["accept_failed_jobs", "commit_failed_jobs"])
def test_a_failed_job_is_committed_when_it_is_accepted(box, slurm, flag):
    box.script("mkdir out; echo partial > out/a; exit 7")
    job = schedule(box, "sbatch job.sh")
    slurm.wait(job)
    (refused,) = finish(box)
    assert refused["status"] == "impossible"
    assert f"{job}: FAILED" in refused["message"]
    results = finish(box, job, **{flag: True})
    assert {res["status"] for res in results} == {"ok"}
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}: Failed"]
    assert '"exit_code": "7:0"' in box.git("log", "-1", "--format=%B")
    assert "out/a" in box.files_in_last_commit()


def test_only_the_named_jobs_are_finished(box, slurm):
    ids = [schedule(box, ["sbatch", "--wrap", f"echo {n} > {n}"], [str(n)]) for n in range(3)]
    slurm.wait(*ids)
    finish(box, ids[0], ids[2])
    assert box.tracked() == [ids[1]]
    assert {subject.split()[5] for subject in box.subjects(2)} == {f"{ids[0]}:", f"{ids[2]}:"}


@pytest.mark.parametrize("job", ["abc", "12x", "-1", "0", "999999", "1.5"])
def test_a_job_id_that_is_none_or_not_tracked_is_refused(box, slurm, job):
    done = box.cli("slurm-finish", "--slurm-job-id", job, code=1)
    assert job in done.stdout + done.stderr


def test_accept_and_close_together_are_refused(box):
    done = box.cli("slurm-finish", "--close-failed-jobs", "--accept-failed-jobs", code=1)
    assert "not both" in done.stdout + done.stderr


def test_no_open_jobs_is_no_failure(box, slurm):
    assert "no open jobs" in box.cli("slurm-finish").stdout
    assert "no open jobs" in box.cli("slurm-finish", "-l").stdout


def test_what_datalad_itself_refuses_it_refuses_of_a_list_in_the_same_words(box):
    command = [DATALAD, "-C", "nowhere", "slurm-finish"]
    said = [
        subprocess.run(
            [*command, option], cwd=box.path, capture_output=True, text=True, check=False
        )
        for option in ("--list-open-jobs", "-l")
    ]
    # it has no words of its own for that
    last = [(done.returncode, done.stderr.splitlines()[-1]) for done in said]
    assert last[0] == last[1]
    assert "nowhere" in last[0][1]


def test_a_missing_output_is_named_and_the_rest_committed(box, slurm):
    box.script("mkdir out empty; echo x > out/a")
    job = schedule(box, "sbatch job.sh", ["out", "never-written", "empty"])
    slurm.wait(job)
    done = box.cli("slurm-finish", code=1)
    assert "add(impossible): never-written" in done.stdout
    assert "add(impossible): empty" in done.stdout
    assert "out/a" in box.files_in_last_commit()
    assert box.tracked() == []


def test_what_the_user_has_staged_changed_or_left_untracked_stays_so(box, slurm):
    (box.path / "tracked").write_text("1\n")
    (box.path / "removed").write_text("1\n")
    box.script("mkdir out; echo x > out/a")
    box.git("-c", "annex.largefiles=nothing", "add", "tracked", "removed")
    box.git("commit", "-qm", "user's")
    job = schedule(box, "sbatch job.sh")
    (box.path / "tracked").write_text("2\n")
    (box.path / "staged").write_text("new\n")
    box.git("-c", "annex.largefiles=nothing", "add", "staged")
    box.git("rm", "-q", "removed")
    (box.path / "untracked").write_text("x")
    (box.path / "out-too").mkdir()
    (box.path / "out-too/x").write_text("x")
    slurm.wait(job)
    before = {
        line for line in box.status().splitlines() if str(job) not in line and " out/" not in line
    }
    finish(box)
    assert set(box.status().splitlines()) == before
    assert box.files_in_last_commit() == {"out/a", f"slurm-{job}.out", f"slurm-job-{job}.env.json"}


def test_a_declared_output_is_committed_though_it_is_ignored(box, slurm):
    (box.path / ".gitignore").write_text("*.dat\nout/\n")
    box.git("add", ".gitignore")
    box.git("commit", "-qm", "ignore")
    box.script("mkdir out; echo x > out/a.dat")
    job = schedule(box, "sbatch job.sh")
    slurm.wait(job)
    finish(box)
    assert "out/a.dat" in box.files_in_last_commit()


def test_files_a_job_took_away_from_its_outputs_are_deleted_and_no_others(box, slurm):
    for name in ("out/old", "out/kept", "elsewhere"):
        (box.path / name).parent.mkdir(exist_ok=True)
        (box.path / name).write_text(name)
    box.cli("save", "-m", "first")
    box.script("rm out/old; echo new > out/new")
    job = schedule(box, "sbatch job.sh")
    (box.path / "elsewhere").unlink()
    slurm.wait(job)
    finish(box)
    assert set(box.git("ls-tree", "-r", "--name-only", "HEAD", "out", "elsewhere").split()) == {
        "elsewhere", "out/kept", "out/new",
    }  # fmt: skip


def test_git_knows_the_times_of_what_was_committed_and_can_merge_at_once(box, slurm):
    box.git("branch", "theirs")
    box.script("echo text > out; head -c 100000 /dev/urandom > data; ln -s data link")
    job = schedule(box, "sbatch job.sh", ["out", "data", "link"])
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    box.git("diff-files", "--quiet")
    box.git("worktree", "add", "-q", "../theirs", "theirs")
    box.git("-C", "../theirs", "commit", "-q", "--allow-empty", "-m", "theirs")
    box.git("merge", "-q", "--no-edit", "theirs")  # it begins with `git stash create`


def test_largefiles_decide_what_is_annexed(box, slurm):
    with (box.path / ".gitattributes").open("a") as attributes:
        attributes.write("*.txt annex.largefiles=nothing\n")
    box.git("add", ".gitattributes")
    box.git("commit", "-qm", "attributes")
    box.script("mkdir out; echo x > out/a.txt; echo y > out/b.dat")
    job = schedule(box, "sbatch job.sh")
    slurm.wait(job)
    results = finish(box)
    assert not (box.path / "out/a.txt").is_symlink()
    assert (box.path / "out/b.dat").is_symlink()
    keys = {res["path"].rpartition("/")[2]: res.get("key") for res in outcomes(results, "add")}
    assert keys["a.txt"] is None
    assert keys["b.dat"].startswith("MD5E-s2--")


def test_the_accounting_is_asked_only_of_jobs_that_slurmctld_does_not_show_going(
    box, slurm, stand_in, tmp_path
):
    ended = schedule(box, "sbatch --wrap 'echo x > out'")
    held = schedule(box, "sbatch --hold --wrap true", ["other"])
    slurm.wait(ended)
    asked = tmp_path / "asked"
    stand_in("sacct", f'printf "%s\\n" "$@" >>{asked}; exec $real "$@"')
    states = {
        entry["slurm_job_id"]: entry["slurm_job_status"]
        for entry in finish(box, list_open_jobs=True)
    }
    assert states == {ended: "COMPLETED", held: "PENDING"}
    assert f"--jobs={ended}" in asked.read_text().split()
    assert str(held) not in asked.read_text()
    asked.write_text("")
    (entry,) = finish(box, job=held, list_open_jobs=True)
    assert entry["slurm_job_status"] == "PENDING"
    assert asked.read_text() == ""
    slurm.run("scancel", str(held))


def test_array_tasks_are_one_job_and_every_state_is_told(box, slurm):
    box.script(
        "#SBATCH --array=1-4:2,9\nid=$SLURM_ARRAY_TASK_ID\n"
        "mkdir -p out; echo $id > out/$id; [ $id != 3 ]"
    )
    job = schedule(box, "sbatch job.sh")
    slurm.wait(job)
    (result,) = finish(box)
    assert f"{job}_1: COMPLETED, {job}_3: FAILED, {job}_9: COMPLETED" in result["message"]
    (entry,) = finish(box, list_open_jobs=True)
    assert entry["progress"] == "2/3 done, 1 failed"
    assert entry["slurm_job_status"] == "FAILED"
    finish(box, accept_failed_jobs=True)
    logs = {f"slurm-{job}_{task}.out" for task in (1, 3, 9)}
    facts = f"slurm-job-{job}.env.json"
    assert box.files_in_last_commit() == {"out/1", "out/3", "out/9", facts, *logs}


@pytest.mark.parametrize(
    ("options", "logs"),
    [
        ("-o logs/%x-%j.log -J name", ["logs/name-{job}.log"]),
        ("-o 'logs/o %j' -e logs/e-%A", ["logs/o {job}", "logs/e-{job}"]),
        ("-o {root}/logs/absolute", ["logs/absolute"]),
        ("--chdir logs", ["logs/slurm-{job}.out"]),
        ("-o logs/%5j-%%-%n%t", ["logs/{job:05}-%-00"]),
        ("-o /dev/null", []),
        ("-o /dev/null -e logs/only", ["logs/only"]),
        ("-o {outside}/log-%j", []),
    ],
)
def test_logs_are_found_wherever_they_were_put(box, slurm, tmp_path, options, logs):
    (box.path / "logs").mkdir()
    filled = options.format(root=box.path, outside=tmp_path)
    job = schedule(box, f"sbatch {filled} --wrap 'echo x > {box.path}/out'")
    slurm.wait(job)
    finish(box)
    found = {log.format(job=job) for log in logs}
    beside = next((log.rpartition("/")[0] + "/" for log in sorted(found)), "")
    assert box.files_in_last_commit() == {"out", *found, f"{beside}slurm-job-{job}.env.json"}
    if "outside" in options:
        record = json.loads(
            box.git("log", "-1", "--format=%B").partition("below ===\n")[2].partition("\n^^^")[0]
        )
        assert record["slurm"]["logs_elsewhere"] == [f"{tmp_path}/log-{job}"]


def test_array_logs_with_each_tasks_own_id_are_found(box, slurm):
    job = schedule(box, "sbatch --array=1-3%1 -o log-%A_%a-%j --wrap 'echo x > out'")
    slurm.wait(job)
    finish(box)
    logs = [path for path in box.files_in_last_commit() if path.startswith("log-")]
    assert len(logs) == 3
    assert {log.split("-")[1] for log in logs} == {f"{job}_{task}" for task in (1, 2, 3)}


def test_a_het_job_is_one_job(box, slurm):
    box.script("mkdir -p out; echo x > out/a")
    job = schedule(box, "sbatch -n1 : -n1 job.sh")
    slurm.wait(job)
    done = box.cli("slurm-finish", "-l")
    assert str(job) in done.stdout
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, results
    record = box.git("log", "-1", "--format=%B")
    assert f'"ids": "{job}+0,{job}+1"' in record


def test_messages_of_schedule_and_finish_are_in_the_commit(box, slurm):
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"], message="why\n\nit was run")
    slurm.wait(job)
    finish(box, message="and closed")
    body = box.git("log", "-1", "--format=%B")
    assert body.startswith(
        f"[DATALAD SLURM RUN] Slurm job {job}: Completed\n\nwhy\n\nit was run\n\nand closed\n\n==="
    )


def test_the_list_tells_name_progress_time_and_outputs(box, slurm):
    job = schedule(box, "sbatch --hold -J 'my job' --array=1-10 --wrap true", ["out", "b"])
    done = box.cli("slurm-finish", "-l")
    head, _, columns, row = done.stdout.splitlines()
    assert head == "The following jobs are open:"
    assert columns.split() == [
        "slurm-job-id", "slurm-job-status", "name", "array", "elapsed", "submitted", "outputs",
    ]  # fmt: skip
    assert row.startswith(f"{job} ")
    assert "PENDING (JobHeldUser)" in row
    assert "my job" in row
    assert "0/10 done" in row
    assert row.endswith("out b")
    records = [
        json.loads(line) for line in box.cli("-f", "json", "slurm-finish", "-l").stdout.splitlines()
    ]
    assert records[0]["slurm_job_id"] == job
    assert records[0]["tasks_total"] == 10
    slurm.run("scancel", str(job))


def test_commits_of_others_meanwhile_are_not_lost(box, slurm, monkeypatch):
    from datalad_slurm.workflow import levels

    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    slurm.wait(job)
    build, moved = levels.build, []

    def build_and_be_overtaken(*args):
        ids = build(*args)
        if len(moved) < 2:
            box.git("commit", "-q", "--allow-empty", "-m", "overtaking")
            moved.append(box.git("rev-parse", "HEAD"))
        return ids

    monkeypatch.setattr(levels, "build", build_and_be_overtaken)
    assert {res["status"] for res in finish(box)} == {"ok"}
    subjects = box.subjects(3)
    assert subjects == [
        f"[DATALAD SLURM RUN] Slurm job {job}: Completed",
        "overtaking",
        "overtaking",
    ]
    assert box.status() == ""
    assert box.git("for-each-ref", "refs/datalad-slurm/") == ""


@pytest.mark.parametrize("where", ["detached", "unborn", "worktree", "plain"])
def test_every_kind_of_checkout_works(box, slurm, tmp_path, where):
    from tests.conftest import Box

    if where == "detached":
        box.git("checkout", "-q", "--detach")
    elif where == "unborn":
        box.git("checkout", "-q", "--orphan", "new")
    elif where == "worktree":
        box.git("worktree", "add", "-q", str(tmp_path / "wt"))
        box = Box(tmp_path / "wt")
    elif where == "plain":
        plain = tmp_path / "plain"
        plain.mkdir()
        box = Box(plain)
        box.git("init", "-q")
        box.git("commit", "-q", "--allow-empty", "-m", "root")
    job = schedule(box, ["sbatch", "--wrap", "mkdir out; echo x > out/a; ln -s a out/link"])
    slurm.wait(job)
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, results
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}: Completed"]
    assert {"out/a", "out/link"} <= set(box.git("ls-tree", "-r", "--name-only", "HEAD").split())
    assert box.tracked() == []


def test_a_record_that_is_long_goes_to_a_file_of_its_own(box, slurm):
    outputs = [f"out/{'x' * 50}-{number}" for number in range(300)]
    job = schedule(box, ["sbatch", "--wrap", f"mkdir out; echo x > {outputs[0]}"], outputs)
    slurm.wait(job)
    finish(box)
    message = box.git("log", "-1", "--format=%B")
    assert len(message) < 1000
    sidecar = [path for path in box.files_in_last_commit() if path.startswith(".datalad/runinfo/")]
    assert len(sidecar) == 1
    results = __import__("datalad.api").api.slurm_reschedule(
        dataset=box.path, result_renderer="disabled"
    )
    assert results[-1]["status"] == "ok"
