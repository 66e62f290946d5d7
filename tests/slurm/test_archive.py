"""Every job's script and environment, kept as submitted and committed with the job."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
import subprocess

import pytest
from datalad.api import slurm_reschedule, slurm_schedule

from tests.slurm.test_changed_inputs import record, run_on
from tests.slurm.test_schedule import finish, schedule

HELD = ["sbatch", "--hold"]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def archived(box, revision="HEAD"):
    """Return the archived files that a commit changes."""
    listed = box.git("show", "--format=", "--name-only", revision, "--", ".datalad/slurm")
    return set(listed.split())


def held_by_slurm(job):
    return subprocess.check_output(["scontrol", "write", "batch_script", str(job), "-"])


def content_of(box, path, revision="HEAD"):
    return subprocess.check_output(["git", "cat-file", "blob", f"{revision}:{path}"], cwd=box.path)


def test_the_script_is_committed_as_slurm_holds_it(box, slurm, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("SLURM_API_TOKEN", "x")
    box.script("echo x > out")
    job = schedule(box, [*HELD, "job.sh"])
    held = held_by_slurm(job)
    (box.path / "job.sh").write_text("#!/bin/sh\necho other\n")
    run_on(box, slurm, job)
    script = record(box).slurm["script"]
    environment = record(box).slurm["environment"]
    assert script["archived"] == f".datalad/slurm/archive/{digest(held)[:2]}/{digest(held)}.sh"
    assert content_of(box, script["archived"]) == held
    assert (box.path / script["archived"]).read_bytes() == held
    listed = content_of(box, environment["archived"])
    assert environment == {
        "sha256": digest(listed), "archived": environment["archived"], "kept": "filtered",
    }  # fmt: skip
    assert b"OMP_NUM_THREADS=7\n" in listed
    assert b"API_TOKEN" not in listed
    assert b"slurm/shim" not in listed
    assert archived(box) == {script["archived"], environment["archived"]}
    assert box.git("status", "--porcelain=v1", "-uall") == " M job.sh"
    assert "archive" not in box.git("annex", "find")


def test_what_the_command_changes_in_the_environment_is_kept(box, slurm):
    job = schedule(box, ["sh", "-c", "OMP_NUM_THREADS=3 CUDA_HOME=/c sbatch --wrap 'echo > out'"])
    slurm.wait(job)
    finish(box)
    listed = content_of(box, record(box).slurm["environment"]["archived"])
    assert b"OMP_NUM_THREADS=3\n" in listed
    assert b"CUDA_HOME=/c\n" in listed


def test_nobody_else_can_read_what_our_sbatch_notes(box, stand_in):
    stand_in(
        "sbatch",
        'stat -c %a "$PWD"/.git/datalad-slurm/submissions/*/environ >"$PWD/mode"; exec $real "$@"',
    )
    before = os.umask(0)
    try:
        schedule(box, [*HELD, "--wrap", "true"])
    finally:
        os.umask(before)
    assert (box.path / "mode").read_text() == "600\n"


def test_a_wrapped_command_is_kept_in_the_record_as_slurm_holds_it(box, slurm):
    job = schedule(box, [*HELD, "--wrap", "echo 'ü \"$HOME\"' > out"])
    held = held_by_slurm(job)
    run_on(box, slurm, job)
    script = record(box).slurm["script"]
    assert script == {"wrap": True, "sha256": digest(held), "text": held.decode()}
    assert len(archived(box)) == 1


def test_a_script_from_standard_input_is_archived(box, slurm):
    text = "#!/bin/sh\necho a > out\nprintf '\\303' # no newline at the end"
    job = schedule(box, f"sbatch --hold <<'END'\n{text}\nEND")
    held = held_by_slurm(job)
    run_on(box, slurm, job)
    script = record(box).slurm["script"]
    assert content_of(box, script["archived"]) == held
    assert held.decode().rstrip("\n") == text


def test_identical_scripts_and_environments_are_one_file_and_kept_once(box, slurm):
    for name in ("job.sh", "sub/other name.sh"):
        box.script('echo > "$1"', name)
    jobs = [
        schedule(box, ["sbatch", name, out], [out])
        for name, out in (("job.sh", "a"), ("job.sh", "b"), ("sub/other name.sh", "c"))
    ]
    slurm.wait(*jobs)
    finish(box)
    commits = box.git("log", "-3", "--format=%H").splitlines()
    assert [len(archived(box, commit)) for commit in commits] == [0, 0, 2]
    assert len({record(box, commit).slurm["script"]["archived"] for commit in commits}) == 1
    files = [p for p in (box.path / ".datalad/slurm").rglob("*") if p.is_file()]
    assert len(files) == 2
    assert not [p for p in files if p.stat().st_mode & stat.S_IXUSR]
    assert box.status() == ""


@pytest.mark.parametrize("setting", ["none", "full"])
def test_how_much_of_the_environment_is_kept_can_be_chosen(
    box, slurm, setting, monkeypatch, caplog
):
    monkeypatch.setenv("MY_OWN", "it's\nmine")
    box.git("config", "datalad.slurm.archive-environment", setting)
    job = schedule(box, ["sbatch", "--wrap", "echo > out"])
    slurm.wait(job)
    finish(box)
    found = record(box).slurm.get("environment")
    if setting == "none":
        assert found is None
        assert archived(box) == set()
    else:
        assert found["kept"] == "full"
        assert b"MY_OWN='it'\"'\"'s\nmine'\n" in content_of(box, found["archived"])
    assert ("passwords and tokens" in caplog.text) == (setting == "full")


def test_a_dataset_cannot_ask_for_the_whole_environment_of_others(box, slurm, monkeypatch):
    monkeypatch.setenv("MY_OWN", "mine")
    box.git("config", "-f", ".datalad/config", "datalad.slurm.archive-environment", "full")
    box.cli("save", "-m", "full")
    job = schedule(box, ["sbatch", "--wrap", "echo > out"])
    slurm.wait(job)
    finish(box)
    found = record(box).slurm["environment"]
    assert found["kept"] == "filtered"
    assert b"MY_OWN" not in content_of(box, found["archived"])


def test_another_value_is_refused_before_anything_is_submitted(box):
    box.git("config", "datalad.slurm.archive-environment", "everything")
    done = box.cli("slurm-schedule", "-o", "out", "sbatch", "--wrap", "true", code=1)
    assert "must be none, filtered or full, not 'everything'" in done.stdout + done.stderr
    assert not (box.path / ".git/datalad-slurm").exists()


def test_branches_have_their_files_each_and_can_be_merged(box, slurm):
    box.script('echo > "$1"')
    jobs = [schedule(box, ["sbatch", "job.sh", out], [out]) for out in "ab"]
    slurm.wait(*jobs)
    assert {res["status"] for res in finish(box, branches=True)} == {"ok"}
    branches = [f"slurm-job-branch-{job}" for job in jobs]
    assert [len(archived(box, branch)) for branch in branches] == [2, 2]
    assert not (box.path / ".datalad/slurm").exists()
    assert box.status() == ""
    box.git("merge", "-q", "-m", "both", *branches)
    assert (box.path / record(box, branches[0]).slurm["script"]["archived"]).exists()
    assert box.status() == ""


def test_an_octopus_holds_them_once(box, slurm):
    box.script('echo > "$1"')
    jobs = [schedule(box, ["sbatch", "job.sh", out], [out]) for out in "ab"]
    slurm.wait(*jobs)
    assert {res["status"] for res in finish(box, octopus=True)} == {"ok"}
    assert len(box.git("ls-files", ".datalad/slurm").splitlines()) == 2
    assert box.status() == ""


def test_settings_of_git_annex_do_not_matter(box, slurm):
    box.git("config", "annex.largefiles", "anything")
    box.git("config", "annex.dotfiles", "true")
    box.script("echo > out")
    job = schedule(box, ["sbatch", "job.sh"])
    slurm.wait(job)
    finish(box)
    for path in archived(box):
        assert box.git("ls-files", "-s", path).startswith("100644 ")
        assert not content_of(box, path).startswith(b"/annex")


def test_a_link_that_leads_elsewhere_is_not_followed(box, slurm, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (box.path / ".datalad/slurm").symlink_to(tmp_path / "elsewhere")
    job = schedule(box, ["sbatch", "--wrap", "echo > out"])
    slurm.wait(job)
    results = finish(box)
    assert [res["status"] for res in results] == ["error", "error"]
    assert "a link on the way leads elsewhere" in results[0]["message"]
    assert box.tracked() == [job]
    assert list((tmp_path / "elsewhere").iterdir()) == []


# --- again


def again(box, revision="HEAD", **kwargs):
    """Run a recorded job again, and return the result of its submission."""
    results = slurm_reschedule(
        revision, dataset=box.path, result_renderer="disabled", on_failure="ignore", **kwargs
    )
    return next(res for res in results if res["action"] == "slurm-reschedule")


def committed(box, slurm, job):
    slurm.wait(job)
    results = finish(box, job)
    assert {res["status"] for res in results} == {"ok"}, results


def first_run(box, slurm, name="job.sh", body="echo one > out", cmd=("sbatch",)):
    box.script(body, name)
    committed(box, slurm, schedule(box, [*cmd, name]))


def test_a_script_that_differs_is_said_and_the_one_that_ran_can_be_submitted(box, slurm):
    first_run(box, slurm, cmd=("sbatch", "-o", "log-%x"))
    first, before = box.git("rev-parse", "HEAD"), record(box).slurm["script"]
    result = again(box)
    assert "differs" not in result["message"]
    committed(box, slurm, result["slurm_job_id"])
    box.script("echo two > out")
    result = again(box, first)
    assert "the script 'job.sh' differs from the one that ran: --as-recorded" in result["message"]
    assert result["changed_scripts"] == ["job.sh"]
    committed(box, slurm, result["slurm_job_id"])
    assert (box.path / "out").read_text() == "two\n"
    assert record(box).slurm["script"]["archived"] != before["archived"]

    result = again(box, first, as_recorded=True)
    assert (
        "the script 'job.sh' differs from the one that ran: what ran is submitted"
        in (result["message"])
    )
    committed(box, slurm, result["slurm_job_id"])
    assert (box.path / "out").read_text() == "one\n"
    found = record(box)
    assert found.cmd == "sbatch -o log-%x job.sh"
    assert found.slurm["script"] == before | {"as_recorded": True}
    assert "log-job.sh" in found.slurm_outputs
    assert "changed" not in str(box.git("log", "-1", "--format=%B"))
    # and what was run as recorded can be so again
    box.git("rm", "-q", "job.sh")
    box.git("commit", "-qm", "without")
    result = again(box, "HEAD~1", as_recorded=True)
    assert "the script 'job.sh' is not here any more: what ran is submitted" in result["message"]
    committed(box, slurm, result["slurm_job_id"])
    assert (box.path / "out").read_text() == "one\n"
    assert box.status() == ""


@pytest.mark.parametrize(
    "command",
    [
        "sbatch <<'END'\n#!/bin/sh\n$(cat body)\nEND",
        "f=$(mktemp) && (echo '#!/bin/sh'; cat body) >$f && sbatch $f; rm -f $f",
        'sbatch --wrap "$(cat body)"',
        "cd sub && sbatch -D .. ../sub/job.sh",
        "sh submit.sh",
    ],
    ids=["stdin", "temporary", "wrap", "elsewhere", "wrapper"],
)
def test_however_it_was_submitted_it_can_be_so_as_recorded(box, slurm, command):
    (box.path / "body").write_text('echo one > "$OUT"\n')
    box.script('echo one > "$OUT"', "sub/job.sh")
    (box.path / "submit.sh").write_text("sbatch --quiet sub/job.sh\n")
    command = command.replace("<<'END'", "<<END")
    job = schedule(box, f"export OUT='{box.path}/out'; {command}")
    committed(box, slurm, job)
    (box.path / "body").write_text('echo two > "$OUT"\n')
    box.script('echo two > "$OUT"', "sub/job.sh")
    result = again(box, "HEAD~1", as_recorded=True)
    assert result["status"] == "ok", result
    committed(box, slurm, result["slurm_job_id"])
    assert (box.path / "out").read_text() == "one\n"
    committed(box, slurm, again(box, "HEAD")["slurm_job_id"])
    assert (box.path / "out").read_text() == "two\n"


def test_a_fresh_clone_runs_the_recorded_script(box, slurm, tmp_path):
    (box.path / "job.sh").write_text("#!/bin/sh\necho one > out\n")  # never committed itself
    committed(box, slurm, schedule(box, ["sbatch", "job.sh"]))
    box.cli("clone", str(box.path), str(tmp_path / "clone"), cwd=tmp_path)
    clone = type(box)((tmp_path / "clone").resolve())
    committed(clone, slurm, again(clone, as_recorded=True)["slurm_job_id"])
    assert (clone.path / "out").read_text() == "one\n"
    assert not (clone.path / "job.sh").exists()


def test_what_cannot_be_run_as_recorded_is_refused_and_nothing_submitted(box, slurm):
    real = subprocess.check_output(["which", "sbatch"], text=True).strip()
    first_run(box, slurm)
    box.git("commit", "-q", "--amend", "-m", without_script(box))
    assert "does not tell which script" in again(box, as_recorded=True)["message"]
    first_run(box, slurm, name="other.sh")
    blob = record(box).slurm["script"]["blob"]
    message = box.git("log", "-1", "--format=%B")
    box.git("commit", "-q", "--amend", "-m", message.replace(blob, "0" * 40))
    assert "is not in this repository" in again(box, as_recorded=True)["message"]
    other = box.git("rev-parse", "HEAD:.datalad/config")
    box.git("commit", "-q", "--amend", "-m", message.replace(blob, other))
    assert "contradicts itself" in again(box, as_recorded=True)["message"]
    first_run(box, slurm, name="third.sh", cmd=(real,))
    assert "calls sbatch by its path" in again(box, as_recorded=True)["message"]
    for other in ("report", "script"):
        refused = again(box, as_recorded=True, **{other: "-" if other == "script" else True})
        assert "of no use" in refused["message"]
    assert box.tracked() == []


def without_script(box):
    """Return the message of the last commit as a version before the archive wrote it."""
    text = box.git("log", "-1", "--format=%B")
    before, _, rest = text.partition("below ===\n")
    body, end, _ = rest.partition("\n^^^")
    content = json.loads(body)
    del content["slurm"]["script"], content["slurm"]["environment"]
    return f"{before}below ===\n{json.dumps(content)}{end} Do not change lines above ^^^"


def test_a_wrapper_that_now_submits_another_script_submits_nothing_as_recorded(box, slurm):
    box.script("echo one > out", "a.sh")
    box.script("echo two > out", "b.sh")
    box.script("sbatch a.sh", "submit")
    committed(box, slurm, schedule(box, ["sh", "submit"]))
    box.script("sbatch b.sh", "submit")
    result = again(box, "HEAD~1", as_recorded=True)
    assert result["status"] == "error"
    assert "the script 'b.sh' is not one that the record names" in result["message"]
    assert box.tracked() == []
    assert box.status() == ""


def test_two_scripts_of_one_command_take_their_places(box, slurm):
    for name in "ab":
        box.script(f"echo one > {name}", f"{name}.sh")
    command = "sbatch a.sh && sbatch b.sh"
    schedule(box, command, ["a", "b"])
    assert {res["status"] for res in finish(box, wait=True, timeout=60)} == {"ok"}
    for name in "ab":
        box.script(f"echo two > {name}", f"{name}.sh")
    again(box, "HEAD~2", as_recorded=True)
    assert {res["status"] for res in finish(box, wait=True, timeout=60)} == {"ok"}
    assert (box.path / "a").read_text() + (box.path / "b").read_text() == "one\none\n"


# --- retries, arrays, tables, other places


def test_each_attempt_names_its_script(box, slurm):
    box.script("exit 3")
    job = schedule(box, ["sbatch", "job.sh"])
    slurm.wait(job)
    box.script("echo > out")
    (result,) = [
        res
        for res in slurm_reschedule(dataset=box.path, retry=job, result_renderer="disabled")
        if res["action"] == "slurm-reschedule"
    ]
    assert "; the script 'job.sh' differs from the one that ran" in result["message"]
    committed(box, slurm, result["slurm_job_id"])
    found = record(box).slurm
    first, second = found["attempts"]
    assert "script" not in second
    assert content_of(box, first["script"]["archived"]).endswith(b"\nexit 3\n")
    assert content_of(box, found["script"]["archived"]).endswith(b"\necho > out\n")
    assert len(archived(box)) == 3


def test_a_retry_runs_what_was_submitted_as_recorded(box, slurm):
    (box.path / "ok").touch()
    first_run(box, slurm, body="[ -e ok ] || exit 3; echo one > out")
    box.script("echo two > out")
    (box.path / "ok").unlink()
    job = again(box, "HEAD~1", as_recorded=True)["slurm_job_id"]
    slurm.wait(job)
    (box.path / "ok").touch()
    result = again(box, None, retry=job)
    assert "differs" not in result["message"]
    committed(box, slurm, result["slurm_job_id"])
    assert (box.path / "out").read_text() == "one\n"


def test_the_tasks_of_an_array_and_their_parts_name_one_script(box, slurm):
    box.script('echo > "out-$SLURM_ARRAY_TASK_ID"')
    job = schedule(box, ["sbatch", "--array=1-2", "job.sh"], ["out-%a"])
    slurm.wait(job)
    finish(box, f"{job}_1")
    finish(box, f"{job}_2")
    names = [record(box, commit).slurm["script"]["archived"] for commit in ("HEAD", "HEAD~1")]
    assert names[0] == names[1]
    assert [len(archived(box, commit)) for commit in ("HEAD", "HEAD~1")] == [0, 2]
    assert kept(box) == 0


def test_the_rows_of_a_table_share_a_script_and_an_environment(box, slurm, monkeypatch):
    monkeypatch.chdir(box.path)
    box.script('echo "$1" > "$2"')
    rows = [{"n": str(number)} for number in range(3)]
    results = slurm_schedule(
        dataset=box.path, cmd=["sbatch", "job.sh", "{n}", "out-{n}"], outputs=["out-{n}"],
        table=rows, result_renderer="disabled",
    )  # fmt: skip
    jobs = [res["slurm_job_id"] for res in results if "slurm_job_id" in res]
    assert kept(box) == 2
    slurm.wait(*jobs)
    finish(box)
    commits = box.git("log", "-3", "--format=%H").splitlines()
    assert [len(archived(box, commit)) for commit in commits] == [0, 0, 2]
    assert len({record(box, commit).slurm["environment"]["archived"] for commit in commits}) == 1
    assert kept(box) == 0


def kept(box):
    """Return how many contents the tracking database keeps."""
    with sqlite3.connect(box.path / ".git/datalad-slurm/tracking.sqlite") as database:
        return database.execute("select count(*) from contents").fetchone()[0]


def test_nothing_is_kept_of_a_job_that_is_closed_or_was_never_submitted(box, slurm):
    job = schedule(box, ["sbatch", "--wrap", "exit 3"])
    assert kept(box) == 1
    slurm.wait(job)
    finish(box, close_failed_jobs=True)
    (box.path / f"slurm-{job}.out").unlink()
    assert kept(box) == 0
    with pytest.raises(Exception, match="no-such-script"):
        schedule(box, ["sbatch", "no-such-script"])
    assert kept(box) == 0
    assert box.status() == ""


def test_an_adopted_job_names_the_script_that_slurm_holds(box, slurm, monkeypatch):
    monkeypatch.chdir(box.path)
    job = slurm.sbatch("--hold", "--wrap", "echo > out")
    held = held_by_slurm(job)
    slurm_schedule(dataset=box.path, job_id=job, outputs=["out"], result_renderer="disabled")
    run_on(box, slurm, job)
    found = record(box).slurm
    assert "environment" not in found
    assert content_of(box, found["script"]["archived"]) == held


def test_a_job_elsewhere_runs_as_recorded(box, slurm, tmp_path):
    (tmp_path / "fast").mkdir()
    first_run(box, slurm)
    box.script("echo two > out")
    result = again(box, "HEAD~1", as_recorded=True, alt_dir=str(tmp_path / "fast"))
    committed(box, slurm, result["slurm_job_id"])
    assert (box.path / "out").read_text() == "one\n"
    assert list((tmp_path / "fast").iterdir()) == []


def test_the_script_of_the_user_is_archived_and_not_the_runner(box, slurm):
    box.git("config", "datalad.slurm.exit-marker", "always")
    first_run(box, slurm)
    found = record(box).slurm["script"]
    assert content_of(box, found["archived"]) == (box.path / "job.sh").read_bytes()
    box.script("echo two > out")
    result = again(box, "HEAD~1", as_recorded=True)
    assert b"dls_run" in held_by_slurm(result["slurm_job_id"])
    committed(box, slurm, result["slurm_job_id"])
    assert (box.path / "out").read_text() == "one\n"


def test_outputs_in_a_subdataset_leave_the_archive_in_the_dataset(box, slurm):
    box.cli("create", "-d", ".", "sub")
    box.script("echo > sub/out")
    committed(box, slurm, schedule(box, ["sbatch", "job.sh"], ["sub/out"]))
    assert len(archived(box)) == 2
    assert not (box.path / "sub/.datalad/slurm").exists()
    assert box.status() == ""


def test_a_large_script_goes_into_git(box, slurm):
    text = "#!/bin/sh\necho > out\n" + "# 0123456789\n" * 150_000
    (box.path / "job.sh").write_text(text)
    committed(box, slurm, schedule(box, ["sbatch", "job.sh"]))
    assert content_of(box, record(box).slurm["script"]["archived"]) == text.encode()
