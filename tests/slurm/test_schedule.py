"""`slurm-schedule`: every form of a command, refusals, claims."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from datalad.api import slurm_finish, slurm_schedule

ODD_NAMES = [
    "with space",
    "quote'and\"quote",
    "$(touch pwned)",
    "`touch pwned`; &| > x",
    "new\nline",
    "-leading-dash",
    "üm läut",
    "back\\slash",
    "per%cent %j",
    "{brace}",
    "tab\there",
    "#hash!",
]


def schedule(box, cmd, outputs=("out",), **kwargs):
    """Schedule through the Python API and return the id of the job."""
    results = slurm_schedule(
        cmd, dataset=box.path, outputs=list(outputs), result_renderer="disabled", **kwargs
    )
    (result,) = [res for res in results if res["action"] == "slurm-schedule"]
    assert result["status"] == "ok"
    return result["slurm_job_id"]


def finish(box, *jobs, **kwargs):
    return slurm_finish(
        list(jobs) or None,
        dataset=box.path,
        result_renderer="disabled",
        on_failure="ignore",
        **kwargs,
    )


def test_a_finished_job_is_one_commit_with_outputs_log_and_facts(box, slurm):
    box.script("mkdir out; echo hello > out/a; echo logged")
    job = schedule(box, ["sbatch", "job.sh"])
    slurm.wait(job)
    finish(box)
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}: Completed"]
    facts = f"slurm-job-{job}.env.json"
    assert box.files_in_last_commit() == {"out/a", f"slurm-{job}.out", facts}
    assert (box.path / f"slurm-{job}.out").read_text() == "logged\n"
    content = json.loads((box.path / facts).read_text())
    assert content["accounting"][0]["exit_code"] == "0:0"
    assert "UserId" not in content
    assert box.status() == ""


@pytest.mark.parametrize(
    "command",
    [
        ["sbatch", "--parsable", "job.sh"],
        ["sbatch", "-J", "named", "--comment=mine", "--export=ALL", "job.sh", "argument"],
        ["sbatch", "--wrap", "mkdir out; echo x > out/a"],
        ["sbatch", "--wrap", f"mkdir out; echo {'x' * 5000} > out/a"],
        ["--", "sbatch", "job.sh"],
        "FOO=bar sbatch --export=FOO job.sh | tee submission.txt",
        "cat job.sh | sbatch",
        "sbatch <<'EOF'\n#!/bin/sh\nmkdir out; echo x > out/a\nEOF",
        "cd / && sbatch --chdir=$OLDPWD $OLDPWD/job.sh",
        ["sbatch", "-M", "testbed", "job.sh"],
        "sbatch --parsable job.sh > /dev/null",
        "./submit",
        ["sbatch", "--array=1-2", "job.sh"],
    ],
    ids=lambda command: command if isinstance(command, str) else " ".join(command),
)
def test_any_form_of_sbatch_command_is_tracked_and_finished(box, slurm, command):
    box.script("mkdir -p out; echo x > out/a")
    box.script('echo "submitting"; sbatch job.sh "$@" | sed "s/^/wrapped: /"', "submit")
    (box.path / "submit").chmod(0o755)
    job = schedule(box, command)
    assert box.tracked() == [job]
    slurm.wait(job)
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, results
    assert "out/a" in box.files_in_last_commit()
    assert box.tracked() == []


def test_one_command_that_submits_three_jobs_is_one_commit(box, slurm):
    script = 'for i in 1 2 3; do sbatch --wrap "mkdir -p out; echo $i > out/$i"; done >/dev/null'
    job = schedule(box, script)
    (entry,) = [r for r in finish(box, list_open_jobs=True) if r["status"] == "ok"]
    assert entry["slurm_job_ids"][0] == job
    assert len(entry["slurm_job_ids"]) == 3
    slurm.wait(*entry["slurm_job_ids"])
    assert all(res["status"] == "ok" for res in finish(box, entry["slurm_job_ids"][2]))
    assert {"out/1", "out/2", "out/3"} <= box.files_in_last_commit()
    assert {f"slurm-{i}.out" for i in entry["slurm_job_ids"]} <= box.files_in_last_commit()


def test_the_job_inherits_nothing_of_the_scheduling(box, slurm):
    box.script(
        "mkdir out; env | grep -E 'DATALAD_SLURM_(TOKEN|NOTES)' > out/env; echo $PATH >> out/env"
    )
    job = schedule(box, "sbatch job.sh")
    slurm.wait(job)
    assert (box.path / "out/env").read_text().strip() == os.environ["PATH"]


def test_a_pipe_that_fails_after_submission_still_leaves_the_job_tracked(box, slurm):
    box.script("mkdir out; echo x > out/a")
    job = schedule(box, "sbatch job.sh; exit 3")
    assert box.tracked() == [job]


def test_outputs_and_arguments_may_have_odd_names(box, slurm):
    box.script('mkdir -p d; for name in "$@"; do printf "%s" "$name" > "d/$name"; done')
    doubled = [name.replace("{", "{{").replace("}", "}}") for name in ODD_NAMES]
    outputs = [f"d/{name}".replace("%", "%%") for name in doubled]
    job = schedule(box, ["sbatch", "job.sh", *doubled], outputs)
    slurm.wait(job)
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, results
    assert {f"d/{name}" for name in ODD_NAMES} <= box.files_in_last_commit()
    assert not list(box.path.rglob("pwned"))
    for name in ODD_NAMES:
        assert (box.path / "d" / name).read_text() == name
    assert box.status() == ""


def test_a_name_that_is_no_utf8_is_committed(box, slurm):
    name = os.fsdecode(b"caf\xe9")
    box.script('mkdir out; echo x > "out/$1"')
    job = schedule(box, ["sbatch", "job.sh", name], [f"out/{name}"])
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "-z", "--name-only", "HEAD", "out"],
        cwd=box.path, check=True, capture_output=True,
    ).stdout  # fmt: skip
    assert listed == b"out/caf\xe9\0"


@pytest.mark.parametrize(
    "spelling", ["out", "./out", "a/../out", "out/", "{root}/out", "{link}/out"]
)
def test_every_spelling_of_an_output_is_the_same_claim(box, slurm, spelling):
    (box.path / "a").mkdir()
    link = box.path.parent / "link"
    link.symlink_to(box.path)
    schedule(box, ["sbatch", "--hold", "--wrap", "true"], ["out"])
    spelled = spelling.format(root=box.path, link=link)
    for where in (box.path, link):
        done = box.cli(
            "slurm-schedule", "-o", spelled, "sbatch", "--wrap", "true", cwd=where, code=1
        )
        assert f"conflicts with job {box.tracked()[0]}" in done.stdout
    assert len(box.tracked()) == 1


def test_outputs_are_relative_to_where_one_is(box, slurm):
    (box.path / "sub").mkdir()
    box.script("mkdir out; echo x > out/a", "sub/job.sh")
    done = box.cli("slurm-schedule", "-o", "out", "sbatch", "job.sh", cwd=box.path / "sub")
    (job,) = box.tracked()
    assert str(job) in done.stdout
    slurm.wait(job)
    box.cli("slurm-finish", cwd=box.path / "sub")
    expected = {"sub/out/a", f"sub/slurm-{job}.out", f"sub/slurm-job-{job}.env.json"}
    assert box.files_in_last_commit() == expected


def test_with_d_the_command_runs_in_the_root_from_anywhere(box, slurm, tmp_path):
    box.script("mkdir out; echo x > out/a")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    box.cli("slurm-schedule", "-d", str(box.path), "-o", "out", "sbatch", "job.sh", cwd=elsewhere)
    (job,) = box.tracked()
    slurm.wait(job)
    box.cli("slurm-finish", "-d", str(box.path), str(job), cwd=elsewhere)
    assert "out/a" in box.files_in_last_commit()


def test_a_dataset_reached_through_a_link_works_throughout(box, slurm, tmp_path):
    link = tmp_path / "home" / "project"
    link.parent.mkdir()
    link.symlink_to(box.path)
    box.script("mkdir out; echo x > out/a")
    done = box.cli("slurm-schedule", "-o", str(link / "out"), "sbatch", "job.sh", cwd=link)
    (job,) = box.tracked()
    slurm.wait(job)
    done = box.cli("slurm-finish", cwd=link)
    assert "add(ok): out/a (file)" in done.stdout
    assert box.status() == ""


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["sbatch", "job.sh"], "at least one output"),
        (["-o", "/etc/passwd", "sbatch", "job.sh"], "outside the dataset"),
        (["-o", "../x", "sbatch", "job.sh"], "outside the dataset"),
        (["-o", ".git/x", "sbatch", "job.sh"], "inside the git directory"),
        (["-o", "out"], "no command"),
        (["-o", "out", ""], "no command"),
        (["-o", "", "sbatch", "job.sh"], "an output needs a name"),
        (["-o", "out/*/../x", "sbatch", "job.sh"], "'..' after a wildcard"),
        (["-o", "out", "true"], "submitted no job"),
        (["-o", "out", "sbatch", "no-such-script.sh"], "no-such-script.sh"),
        (["-o", "out", "sbatch", "-p", "nowhere", "job.sh"], "invalid partition"),
        (["-o", "out", "sbatch", "job.sh", "{unknown}"], "placeholder"),
        (["-i", "not-here", "-o", "out", "sbatch", "job.sh"], "not-here"),
        (["-o", "out", "--assume-ready", "nothing", "sbatch", "job.sh"], "assume_ready"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_sentence_and_claims_nothing(box, slurm, args, said):
    box.script("mkdir out; echo x > out/a")
    done = box.cli("slurm-schedule", *args, code=1)
    assert said in done.stdout + done.stderr
    assert len(done.stdout.splitlines()) <= 1
    assert str(box.path) not in slurm.run("squeue", "-h", "-t", "all", "-o", "%Z").splitlines()
    assert box.tracked() == []
    # nothing stays claimed
    schedule(box, "sbatch --hold job.sh")


def test_outside_any_dataset_is_refused(box, slurm, tmp_path):
    for command in (
        ["slurm-schedule", "-o", "x", "sbatch", "j"],
        ["slurm-finish"],
        ["slurm-reschedule"],
    ):
        done = box.cli(*command, cwd=tmp_path, code=None)
        assert done.returncode == 1
        assert "No dataset found" in done.stdout + done.stderr


def test_without_sbatch_on_path_nothing_happens(box):
    git_only = box.path.parent / "bin"
    git_only.mkdir()
    for program in ("git", "git-annex"):
        (git_only / program).symlink_to(
            subprocess.check_output(["which", program], text=True).strip()
        )
    done = box.cli("slurm-schedule", "-o", "out", "sbatch", "job.sh", code=1, PATH=str(git_only))
    assert "sbatch is not on PATH" in done.stdout
    assert not list(Path(box.path, ".git/datalad-slurm").glob("submissions/*"))


def test_committed_outputs_are_unlocked_for_the_job(box, slurm):
    box.script("echo more >> out/a")
    (box.path / "out").mkdir()
    (box.path / "out/a").write_text("first\n")
    box.cli("save", "-m", "first")
    assert (box.path / "out/a").is_symlink()
    job = schedule(box, "sbatch job.sh")
    assert not (box.path / "out/a").is_symlink()
    slurm.wait(job)
    finish(box)
    assert (box.path / "out/a").read_text() == "first\nmore\n"
    assert "out/a" in box.files_in_last_commit()
    assert box.status() == ""


def test_inputs_are_retrieved_before_submission(box, slurm, tmp_path):
    (box.path / "data").write_text("precious")
    box.script("mkdir out; cp data out/copy")
    box.cli("save", "-m", "data")
    box.cli("clone", str(box.path), str(tmp_path / "clone"), cwd=tmp_path)
    clone = type(box)(tmp_path / "clone")
    assert not (clone.path / "data").exists()
    job = schedule(clone, "sbatch job.sh", inputs=["data"])
    assert (clone.path / "data").read_text() == "precious"
    slurm.wait(job)
    finish(clone)
    assert (clone.path / "out/copy").read_text() == "precious"
    assert '"data"' in clone.git("log", "-1", "--format=%B")


def test_a_log_of_a_fixed_name_can_be_written_again_below_chdir(box, slurm):
    body = f"#SBATCH -D nowhere -o log.txt\necho $SLURM_JOB_ID; date +%N > {box.path}/out"
    box.script(body, "sub/job.sh")
    for _ in range(2):
        job = schedule(box, "sbatch -D sub job.sh")
        assert not (box.path / "sub/log.txt").is_symlink()
        slurm.wait(job)
        assert {res["status"] for res in finish(box)} == {"ok"}
        assert (box.path / "sub/log.txt").is_symlink()


@pytest.mark.parametrize("options", ["", "-o log.txt "])
def test_a_log_of_a_fixed_name_can_be_written_again(box, slurm, options):
    directive = "" if options else "#SBATCH --output=log.txt\n"
    box.script(f"{directive}echo $SLURM_JOB_ID; date +%N > out")
    for _ in range(2):
        job = schedule(box, f"sbatch {options}job.sh")
        slurm.wait(job)
        assert {res["status"] for res in finish(box)} == {"ok"}
        assert (box.path / "log.txt").read_text() == f"{job}\n"
        assert (box.path / "log.txt").is_symlink()
    assert box.git("annex", "fsck", "--quiet") == ""
