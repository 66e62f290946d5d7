"""`slurm-reschedule`: a recorded job again."""

from __future__ import annotations

import json

import pytest
from datalad.api import slurm_reschedule

from tests.slurm.test_schedule import ODD_NAMES, finish, schedule


def reschedule(box, revision=None, **kwargs):
    results = slurm_reschedule(revision, dataset=box.path, result_renderer="disabled", **kwargs)
    (result,) = [res for res in results if res["action"] == "slurm-reschedule"]
    return result["slurm_job_id"]


def record_of(box, revision="HEAD"):
    body = box.git("log", "-1", "--format=%B", revision)
    return json.loads(body.partition("below ===\n")[2].partition("\n^^^")[0])


def test_a_job_again_extends_the_chain(box, slurm):
    box.script("mkdir -p out; date +%N >> out/a")
    job = schedule(box, ["sbatch", "job.sh", "arg with space"], inputs=["job.sh"])
    slurm.wait(job)
    finish(box)
    commits = [box.git("rev-parse", "HEAD")]
    for _ in range(2):
        job = reschedule(box, message="again")
        slurm.wait(job)
        assert {res["status"] for res in finish(box)} == {"ok"}
        commits.append(box.git("rev-parse", "HEAD"))
        record = record_of(box)
        assert record["chain"] == commits[:-1]
        assert record["cmd"] == "sbatch job.sh 'arg with space'"
        assert record["inputs"] == ["job.sh"]
        assert record["outputs"] == ["out", f"slurm-{job}.out", f"slurm-job-{job}.env.json"]
    assert len((box.path / "out/a").read_text().splitlines()) == 3
    assert box.status() == ""


def test_it_runs_in_the_recorded_directory_with_the_recorded_names(box, slurm):
    box.script(
        'mkdir -p d; for name in "$@"; do printf "%s" "$name" > "d/$name"; done', "sub/job.sh"
    )
    doubled = [name.replace("{", "{{").replace("}", "}}") for name in ODD_NAMES]
    args = [arg for name in doubled for arg in ("-o", f"d/{name}".replace("%", "%%"))]
    box.cli("slurm-schedule", *args, "sbatch", "job.sh", *doubled, cwd=box.path / "sub")
    (job,) = box.tracked()
    slurm.wait(job)
    finish(box)
    again = reschedule(box)
    slurm.wait(again)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert {
        f"sub/slurm-{again}.out",
        f"sub/slurm-job-{again}.env.json",
    } == box.files_in_last_commit()
    assert record_of(box)["pwd"] == "sub"
    assert record_of(box)["outputs"][: len(ODD_NAMES)] == [f"sub/d/{name}" for name in ODD_NAMES]


def test_a_log_of_a_fixed_name_is_unlocked_with_the_outputs(box, slurm):
    box.script("#SBATCH -o log.txt\necho $SLURM_JOB_ID; echo x > out")
    job = schedule(box, "sbatch job.sh")
    slurm.wait(job)
    finish(box)
    assert (box.path / "log.txt").is_symlink()
    again = reschedule(box)
    slurm.wait(again)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert (box.path / "log.txt").read_text() == f"{again}\n"
    fsck = box.git("annex", "fsck", "--fast", "--quiet")
    assert fsck == ""


def test_outputs_without_content_are_removed_in_a_clone(box, slurm, tmp_path):
    box.script("mkdir -p out; echo result > out/a")
    job = schedule(box, "sbatch job.sh")
    slurm.wait(job)
    finish(box)
    box.cli("clone", str(box.path), str(tmp_path / "clone"), cwd=tmp_path)
    clone = type(box)(tmp_path / "clone")
    again = reschedule(clone)
    slurm.wait(again)
    assert {res["status"] for res in finish(clone)} == {"ok"}
    assert (clone.path / "out/a").read_text() == "result\n"


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("HEAD", "holds no record of a Slurm job"),
        ("no-such-thing", "no commit 'no-such-thing'"),
        ("-o", "no commit '-o'"),
        ("HEAD^{tree}", "no commit 'HEAD^{tree}'"),
    ],
)
def test_a_commit_without_a_record_or_none_at_all_is_refused(box, slurm, revision, said):
    done = box.cli("slurm-reschedule", "--", revision, code=1)
    assert said in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert box.tracked() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dsid": "00000000-0000-0000-0000-000000000000"}, "that of another dataset"),
        ({"outputs": ["../../etc/passwd"]}, "outside the dataset"),
        ({"outputs": ["/etc/passwd"]}, "outside the dataset"),
        ({"outputs": ["link/x"]}, "outside the dataset"),
        ({"outputs": ["*/../../x"]}, "outside the dataset"),
        ({"slurm": {"declared_outputs": ["*/../../x"]}}, "'..' after a wildcard"),
        ({"pwd": "../elsewhere"}, "outside the dataset"),
        ({"pwd": "link"}, "outside the dataset"),
        ({"pwd": "gone"}, "not there any more"),
        ({"cmd": ""}, "no command"),
        ({"outputs": []}, "no outputs"),
        ({"slurm_job_id": "x"}, "no Slurm job id"),
    ],
)
def test_a_record_that_cannot_be_trusted_is_refused(box, slurm, tmp_path, change, said):
    (box.path / "link").symlink_to(tmp_path)
    record = {
        "chain": [], "cmd": "sbatch --wrap 'touch hacked'", "dsid": "", "inputs": [],
        "extra_inputs": [], "outputs": ["out"], "pwd": ".", "slurm_job_id": 1, "slurm_outputs": [],
    } | change  # fmt: skip
    message = (
        "[DATALAD SLURM RUN] Slurm job 1: Completed\n\n=== Do not change lines below ===\n"
        f"{json.dumps(record)}\n^^^ Do not change lines above ^^^\n"
    )
    box.git("commit", "-q", "--allow-empty", "-m", message)
    done = box.cli("slurm-reschedule", code=1)
    assert said in done.stdout
    assert box.tracked() == []
