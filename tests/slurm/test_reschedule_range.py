"""`slurm-reschedule` of several jobs, on other machines, and of the peer's jobs."""

from __future__ import annotations

import json
import os

import pytest
from datalad.api import slurm_reschedule

from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule

#: what datalad-slurm 0.2.8 wrote for a job that was scheduled in the directory `sub`, and for
#: one that failed
PEERS = """\
[DATALAD SLURM RUN] Slurm job 50: Completed

finished

first
of them

=== Do not change lines below ===
{
 "alt_dir": "",
 "chain": [],
 "cmd": "sbatch job.sh out1",
 "dsid": "%s",
 "extra_inputs": [],
 "inputs": [
  "in.txt"
 ],
 "outputs": [
  "sub/out1",
  "sub/slurm-50.out",
  "sub/slurm-job-50.env.json"
 ],
 "pwd": "sub",
 "slurm_job_id": 50,
 "slurm_outputs": [
  "slurm-50.out",
  "slurm-job-50.env.json"
 ]
}
^^^ Do not change lines above ^^^
"""
PEERS_FAILED = """\
[DATALAD SLURM RUN] Slurm job 53: Failed

Slurm job(s) for job 53 are not complete.Statuses: 53: FAILED

=== Do not change lines below ===
{
 "alt_dir": "",
 "chain": [],
 "cmd": "sbatch job.sh out3 3",
 "dsid": "%s",
 "extra_inputs": [],
 "inputs": [],
 "outputs": [
  "./out3",
  "./out 4",
  "slurm-53.out",
  "slurm-job-53.env.json"
 ],
 "pwd": ".",
 "slurm_job_id": 53,
 "slurm_outputs": [
  "slurm-53.out",
  "slurm-job-53.env.json"
 ]
}
^^^ Do not change lines above ^^^
"""


def reschedule(box, revision=None, **kwargs):
    """Return the results that are about jobs."""
    results = slurm_reschedule(
        revision, dataset=box.path, result_renderer="disabled", on_failure="ignore", **kwargs
    )
    return [res for res in results if res["action"] == "slurm-reschedule"]


def submitted(results):
    return [res["slurm_job_id"] for res in results if res["status"] == "ok"]


def history(box, slurm, *commands, **kwargs):
    """Run jobs that write what they are called with, one commit each; return the commits."""
    for command in commands:
        job = schedule(box, command, [command.partition(".sh ")[2].split()[0]], **kwargs)
        slurm.wait(job)
        finish(box, accept_failed_jobs=True)
    return box.git("log", "--reverse", f"-{len(commands)}", "--format=%H").split()


@pytest.fixture
def study(box):
    box.script('echo "$1" >> "$1"; exit "${2:-0}"')
    return box


def test_a_range_is_submitted_in_order_and_finished(study, slurm):
    before = study.git("rev-parse", "HEAD")
    one, failed, two = history(
        study, slurm, "sbatch job.sh a", "sbatch job.sh f 3", "sbatch job.sh b", message="why"
    )
    study.cli("run", "-m", "plain", "echo x > r")
    run = study.git("rev-parse", "HEAD")
    results = reschedule(study, since=before)
    assert [(res["status"], res.get("rescheduled_from", res.get("commit"))) for res in results] == [
        ("ok", one),
        ("notneeded", failed),
        ("ok", two),
        ("notneeded", run),
    ]
    jobs = submitted(results)
    assert study.tracked() == jobs == sorted(jobs)
    slurm.wait(*jobs)
    assert {res["status"] for res in finish(study)} == {"ok"}
    assert (study.path / "b").read_text() == "b\nb\n"
    for number, original in enumerate([two, one]):
        assert record_of(study, f"HEAD~{number}")["chain"] == [original]
        assert "\n\nwhy\n\n===" in study.git("log", "-1", "--format=%B", f"HEAD~{number}")
    again = reschedule(study, since=before, with_failed_jobs=True, message="other")
    # the first attempts are left out, and the plain run
    statuses = ["notneeded", "ok", "notneeded", "notneeded", "ok", "ok"]
    assert [res["status"] for res in again] == statuses
    slurm.wait(*submitted(again))
    finish(study, accept_failed_jobs=True)
    assert "\n\nother\n\n===" in study.git("log", "-1", "--format=%B")
    assert "why" not in study.git("log", "-1", "--format=%B")


def test_nothing_is_submitted_when_one_output_is_that_of_an_open_job(study, slurm):
    _, two = history(study, slurm, "sbatch job.sh a", "sbatch job.sh b")
    blocker = schedule(study, ["sbatch", "--hold", "--wrap", "true"], ["b"])
    (result,) = reschedule(study, since="")
    assert result["status"] == "impossible"
    assert f"commit {two[:10]}: output 'b' conflicts with job {blocker}" in result["message"]
    assert study.tracked() == [blocker]
    assert (study.path / "a").is_symlink()
    slurm.run("scancel", str(blocker))


def test_when_a_submission_fails_its_commit_is_named_and_the_earlier_stand(study, slurm):
    study.script("echo x > b", "b.sh")
    _, two, _ = history(study, slurm, "sbatch job.sh a", "sbatch b.sh b", "sbatch job.sh c")
    study.git("rm", "-q", "b.sh")
    results = reschedule(study, since="")
    assert [res["status"] for res in results] == ["ok", "error"]
    assert results[1]["message"].startswith(f"commit {two[:10]}: ")
    assert study.tracked() == submitted(results)
    slurm.wait(*study.tracked())


def test_records_in_files_of_their_own_are_run_again(study, slurm):
    study.git("config", "datalad.run.record-sidecar", "true")
    history(study, slurm, "sbatch job.sh a", "sbatch job.sh b")
    jobs = submitted(reschedule(study, since=""))
    assert len(jobs) == 2
    slurm.wait(*jobs)
    assert {res["status"] for res in finish(study)} == {"ok"}


def test_a_clone_elsewhere_fetches_inputs_and_needs_no_outputs(box, slurm, tmp_path):
    box.script("mkdir -p out; cat data/* > out/all; wc -l < out/all > out/count")
    (box.path / "data").mkdir()
    for name in "xyz":
        (box.path / "data" / name).write_text(f"{name}\n")
    box.cli("save", "-m", "data")
    job = schedule(box, "sbatch job.sh", ["out"], inputs=["data/*"], expand="inputs")
    slurm.wait(job)
    finish(box)
    box.cli("clone", str(box.path), str(tmp_path / "clone"), cwd=tmp_path)
    clone = type(box)(tmp_path / "clone")
    assert not (clone.path / "data/x").exists()
    job = submitted(reschedule(clone, since="", jobs=2))
    slurm.wait(*job)
    assert {res["status"] for res in finish(clone)} == {"ok"}
    assert (clone.path / "out/all").read_text() == "x\ny\nz\n"
    # the outputs of the first run were not fetched: these were made here
    assert "here" in clone.git("annex", "whereis", "out/all")
    assert record_of(clone)["inputs"] == ["data/x", "data/y", "data/z"]
    assert clone.status() == ""
    fsck = clone.git("annex", "fsck", "--quiet", "--fast", "data", "out")
    assert fsck == ""


def test_an_input_that_cannot_be_had_stops_it_and_leaves_the_clone_as_it_was(box, slurm, tmp_path):
    box.script("cat data > out")
    (box.path / "data").write_text("x")
    box.cli("save", "-m", "data")
    slurm.wait(schedule(box, "sbatch job.sh", ["out"], inputs=["data"]))
    finish(box)
    box.cli("clone", str(box.path), str(tmp_path / "clone"), cwd=tmp_path)
    clone = type(box)(tmp_path / "clone")
    box.path.rename(tmp_path / "gone")
    (result,) = reschedule(clone)
    assert result["status"] == "impossible"
    assert "cannot get the content of an input" in result["message"]
    assert clone.status() == ""
    assert clone.tracked() == []


def test_jobs_of_the_peer_are_run_again(box, slurm):
    dsid = box.git("config", "-f", ".datalad/config", "datalad.dataset.id")
    body = 'mkdir -p "$1"; cat in.txt > "$1/copy"; exit ${2:-0}'
    for directory in (".", "sub"):
        box.script(body, f"{directory}/job.sh")
        (box.path / directory / "in.txt").write_text("input\n")
    for directory in ("sub/out1", "out3"):
        (box.path / directory).mkdir()
        (box.path / directory / "copy").write_text("old\n")
    (box.path / "sub/slurm-50.out").write_text("log\n")
    box.git("annex", "add", "--quiet", "sub", "out3")
    box.git("commit", "-qm", PEERS % dsid, "sub")
    box.git("commit", "-qm", PEERS_FAILED % dsid)
    box.cli("save", "-m", "inputs")
    peers, failed = box.git("log", "-2", "--format=%H", "--reverse", "HEAD~1").split()
    (result, left_out) = reschedule(box, since="")
    assert "did not complete (Failed)" in left_out["message"]
    (job,) = submitted([result])
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert (box.path / "sub/out1/copy").read_text() == "input\n"
    record = record_of(box)
    log = f"sub/slurm-{job}.out"
    assert record["outputs"] == ["sub/out1", log, f"sub/slurm-job-{job}.env.json"]
    assert (record["pwd"], record["chain"], record["inputs"]) == ("sub", [peers], ["in.txt"])
    message = box.git("log", "-1", "--format=%B")
    assert "\n\nfinished\n\nfirst\nof them\n\n===" in message
    (result,) = reschedule(box, failed)
    slurm.wait(*submitted([result]))
    finish(box, accept_failed_jobs=True)
    assert record_of(box)["outputs"][:2] == ["out3", "out 4"]
    assert "not complete" not in box.git("log", "-1", "--format=%B")
    assert box.status() == ""


def test_a_script_submits_the_jobs(study, slurm, tmp_path):
    history(study, slurm, "sbatch --wait job.sh a", "sbatch --wait job.sh b")
    study.git("annex", "unlock", "--quiet", "a", "b")
    script = tmp_path / "script"
    study.cli("slurm-reschedule", "--since=", "--script", str(script))
    slurm.run("sh", str(script))
    assert (study.path / "a").read_text() == "a\na\n"
    assert study.tracked() == []


def test_a_report_calls_git_no_more_often_for_more_records(study, slurm, stand_in, tmp_path):
    before = study.git("rev-parse", "HEAD")
    history(study, slurm, "sbatch job.sh a", "sbatch job.sh b", "sbatch job.sh c")
    log = tmp_path / "git.log"
    stand_in("git", f'echo "$*" >> {log}; exec $real "$@"')
    counts = []
    for since in ("HEAD~1", before):
        log.write_text("")
        reported = slurm_reschedule(
            since=since, report=True, dataset=study.path, result_renderer="disabled"
        )
        counts.append((len(reported), len(log.read_text().splitlines())))
    (one, calls), (three, more_calls) = counts
    assert (one, three) == (1, 3)
    assert calls == more_calls


def test_the_command_line_says_what_it_does(study, slurm):
    one, _ = history(study, slurm, "sbatch job.sh a", "sbatch job.sh f 3")
    done = study.cli("slurm-reschedule", "--since=", "-m", "x", "-J", "2")
    (job,) = study.tracked()
    assert done.stdout == (
        "unlock(ok): a (file)\n"
        f"slurm-reschedule(ok): [submitted Slurm job {job}]\n"
        f"slurm-reschedule(notneeded): [commit {study.git('rev-parse', 'HEAD')[:10]} is left out: "
        "its job did not complete (Failed); see --with-failed-jobs]\n"
    )
    assert "REVISION" in study.cli("slurm-reschedule", "--help-np").stdout
    slurm.wait(job)
    done = study.cli("-f", "json", "slurm-reschedule", one, "--report", **os.environ)
    assert json.loads(done.stdout)["rerun_action"] == "run"
