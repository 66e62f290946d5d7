"""Recorded jobs are found in a history, shown, and written to a script."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from datalad.api import slurm_reschedule

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.history import read_commits, resolve
from datalad_slurm.dataset.sidecar import place_record
from datalad_slurm.jobs.errors import DatasetError, InvalidRequestError
from datalad_slurm.jobs.record import RunRecord, render_message

RUN = """\
[DATALAD RUNCMD] echo

=== Do not change lines below ===
{"cmd": "echo", "pwd": "."}
^^^ Do not change lines above ^^^
"""


@pytest.fixture
def history(box):
    return History(box)


class History:
    """Makes commits with records, without any job."""

    def __init__(self, box):
        self.box = box
        self.repo = Repo(box.path)

    def commit(self, message):
        subprocess.run(
            ["git", "commit", "-q", "--allow-empty", "--cleanup=verbatim", "-F", "-"],
            cwd=self.box.path,
            input=message.encode(),
            check=True,
        )
        return self.box.git("rev-parse", "HEAD")

    def job(self, number, *outputs, state="COMPLETED", said=(), text=None, **record):
        record = {"cmd": f"sbatch {number}.sh", "dsid": "", "slurm": {"state": state}} | record
        found = RunRecord(slurm_job_id=number, outputs=outputs or (f"out{number}",), **record)
        return self.commit(render_message(str(number), state, list(said), text or found.to_json()))

    def reschedule(self, revision=None, code=0, **kwargs):
        results = slurm_reschedule(
            revision,
            dataset=self.box.path,
            result_renderer="disabled",
            on_failure="ignore",
            **kwargs,
        )
        assert any(res["status"] in ("error", "impossible") for res in results) == bool(code)
        return results

    def report(self, *args, **kwargs):
        return self.reschedule(*args, report=True, **kwargs)


def test_commits_are_read_in_order_with_all_of_their_message(history):
    message = "ü\n\n  two\n" + "x" * 200_000 + "\n"
    ids = [history.commit(message), history.commit("last")]
    first, second = list(read_commits(history.repo, ids[1]))[-2:]
    assert (first.id, second.id) == tuple(ids)
    assert first.message == message
    assert first.author == "A Scientist"
    assert first.parents == (resolve(history.repo, f"{ids[0]}^"),)


def test_reading_may_end_early(history):
    for number in range(3):
        last = history.commit("x" * 100_000 + str(number))
    assert next(read_commits(history.repo, last)).parents == ()


def test_a_git_that_fails_is_an_error(history):
    with pytest.raises(DatasetError):
        list(read_commits(history.repo, "0" * 40))


@pytest.mark.parametrize(
    "revision", ["nothing", "-1", "--all", "HEAD^{tree}", "", "HEAD..HEAD", "^HEAD", "HEAD^!"]
)
def test_what_names_no_commit_is_refused(history, revision):
    with pytest.raises(InvalidRequestError, match="no commit"):
        resolve(history.repo, revision)


def test_a_range_holds_the_recorded_jobs_in_the_order_of_history(history):
    before = history.job(1)
    jobs = [history.job(2)]
    history.commit("no record")
    history.commit(f"quotes one\n\n{RUN}")
    jobs.append(history.job(3))
    results = history.report(since=before)
    assert [res["commit"] for res in results] == jobs
    assert [res["slurm_job_id"] for res in history.report(since="")] == [1, 2, 3]
    assert [res["slurm_job_id"] for res in history.report("HEAD~1", since="")] == [1, 2]
    assert [res["slurm_job_id"] for res in history.report()] == [3]


def test_a_merge_brings_both_sides_parents_first(history):
    git = history.box.git
    history.job(1)
    git("checkout", "-q", "-b", "side")
    side = [history.job(2), history.job(3)]
    git("checkout", "-q", "-")
    main = [history.job(4)]
    git("merge", "-q", "--no-ff", "-m", "merge", "side")
    last = history.job(5)
    found = [res["commit"] for res in history.report(since="HEAD~3")]
    assert set(found) == {*side, *main, last}
    assert found.index(side[0]) < found.index(side[1])
    assert found[-1] == last


def test_what_is_left_out_of_a_range_is_named_with_the_reason(history):
    run = history.commit(RUN)
    failed = history.job(1, state="OUT_OF_MEMORY")
    foreign = history.job(2, dsid="00000000-0000-0000-0000-000000000000")
    old = history.job(3, "a")
    new = history.job(4, "a", cmd="sbatch 3.sh", chain=(old,))
    results = history.report(since="")
    assert [(res["commit"], res["status"]) for res in results] == [
        *[(commit, "notneeded") for commit in (run, failed, foreign, old)],
        (new, "ok"),
    ]
    messages = [res["message"] for res in results[:4]]
    assert f"`datalad rerun {run[:10]}`" in messages[0]
    assert "did not complete (Out of memory)" in messages[1]
    assert "another dataset" in messages[2]
    assert f"repeated by that of commit {new[:10]}" in messages[3]
    results = history.report(since="", with_failed_jobs=True)
    assert [res["slurm_job_id"] for res in results if res["status"] == "ok"] == [1, 4]


def test_the_job_of_a_named_commit_is_meant_however_it_ended(history):
    failed = history.job(1, state="TIMEOUT")
    assert [res["rerun_action"] for res in history.report(failed)] == ["run"]


def test_a_range_without_a_job_to_run_is_a_failure(history):
    commit = history.commit("nothing")
    history.job(1, state="FAILED")
    for kwargs in ({"since": "HEAD"}, {"since": commit}):
        assert "holds the record of a job" in history.report(**kwargs, code=1)[-1]["message"]


def test_a_broken_record_stops_all_and_is_named(history):
    history.job(1)
    broken = history.job(2, text="{")
    history.job(3)
    (result,) = history.reschedule(since="", code=1)
    assert f"commit {broken[:10]}: the record is not valid JSON" in result["message"]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"pwd": "gone"}, "directory 'gone', which is not there"),
        ({"cmd": "sbatch {unknown}"}, "placeholder that cannot be filled in"),
    ],
)
def test_what_cannot_be_run_here_stops_all_and_is_named(history, record, said):
    history.job(1)
    commit = history.job(2, **record)
    (result,) = history.reschedule(since="", code=1)
    assert result["message"].startswith(f"commit {commit[:10]}: ")
    assert said in result["message"]


def test_jobs_that_would_write_the_same_output_stop_all(history):
    one = history.job(1, "a", "b/c")
    two = history.job(2, "b")
    (result,) = history.reschedule(since="", code=1)
    assert f"commits {one[:10]} and {two[:10]} both write 'b/c'" in result["message"]
    assert [res["commit"] for res in history.report(since=one)] == [two]


def test_a_job_that_reads_what_another_writes_comes_after_it(history):
    one = history.job(1, "data")
    two = history.job(2, "fig", inputs=("data/*.csv",))
    assert [(res["commit"], res["after"]) for res in history.report(since="")] == [
        (one, {}),
        (two, {one: ["data/*.csv"]}),
    ]


def test_a_report_holds_the_whole_record_and_what_would_be_run(history):
    (history.box.path / "sub").mkdir()
    (history.box.path / "sub/{in} 1.txt").touch()
    commit = history.job(
        7,
        "sub/out",
        "sub/slurm-7.out",
        said=["why\n\nreally"],
        cmd="sbatch job.sh {inputs} {tmpdir} {{}}",
        pwd="sub",
        inputs=("{in}*",),
        slurm_outputs=("sub/slurm-7.out",),
    )
    before = set(os.listdir("/tmp"))
    (result,) = history.report()
    assert not [name for name in set(os.listdir("/tmp")) - before if name.startswith("datalad-run")]
    assert result["commit"] == commit
    tmpdir = history.box.path / ".git/datalad-slurm/tmp"
    assert result["cmd"].startswith(f"sbatch job.sh '{{in}} 1.txt' {tmpdir}/")
    assert result["cmd"].endswith(" {}")
    assert (result["pwd"], result["inputs"], result["outputs"]) == ("sub", ["{in} 1.txt"], ["out"])
    assert result["run_message"] == "why\n\nreally"
    assert result["run_info"]["cmd"] == "sbatch job.sh {inputs} {tmpdir} {{}}"
    assert result["run_info"]["slurm_outputs"] == ["sub/slurm-7.out"]
    assert result["author"] == "A Scientist"
    assert history.box.tracked() == []


def test_a_report_reads_well_and_cannot_be_feigned(history):
    history.job(7, said=["all\x1b[2J\n command: feigned"], cmd="sbatch a.sh\nb\r")
    run = history.commit(RUN)
    done = history.box.cli("slurm-reschedule", "--since=", "--report")
    commit = history.box.git("rev-parse", "HEAD~1")
    date = history.box.git("log", "-1", "--format=%aI", commit)
    assert done.stdout == (
        f"commit {commit[:10]} Slurm job 7: Completed\n"
        f" recorded: A Scientist, {date}\n"
        " message:\n"
        "   all\\x1b[2J\n"
        "    command: feigned\n"
        " location: .\n"
        " outputs: out7\n"
        " command:\n"
        "   sbatch a.sh\n"
        "   b\\r\n"
        "\n"
        f"commit {run[:10]} [DATALAD RUNCMD] echo\n"
        " left out: it is one of `datalad run`: "
        f"`datalad rerun {run[:10]}` runs it again\n"
        "\n"
    )


def test_a_record_in_a_file_of_its_own_is_found_even_if_it_is_not_checked_out(history):
    record = RunRecord("sbatch job.sh", "", 3, outputs=("out",)).to_json()
    text, (path,) = place_record(history.repo, record, ".datalad/runinfo", use_sidecar=True)
    history.box.git("add", path)
    commit = history.job(3, text=text)
    assert history.report()[0]["cmd"] == "sbatch job.sh"
    history.box.git("rm", "-q", path)
    history.commit("gone")
    assert history.report(commit)[0]["cmd"] == "sbatch job.sh"


def test_a_script_goes_to_a_file_or_to_standard_output(history, tmp_path):
    box = history.box
    (box.path / "sub").mkdir()
    commit = history.job(
        1, "out 1", cmd="sbatch job.sh {outputs}", said=["x\n$(y)"], pwd="sub"
    )  # outputs are relative to the root
    history.job(2, state="FAILED")
    script = tmp_path / "a script.sh"
    old = os.umask(0o027)
    try:
        box.cli("slurm-reschedule", "--since=", "--script", str(script))
    finally:
        os.umask(old)
    assert script.stat().st_mode & 0o777 == 0o640
    text = script.read_text()
    assert f"# Slurm job 1: Completed\n# x\n# $(y)\n# (record: {commit})\n" in text
    assert "(cd ./sub && sbatch job.sh '../out 1')\n" in text
    assert "# left out: its job did not complete (Failed)" in text
    assert f"in dataset {box.git('config', '-f', '.datalad/config', 'datalad.dataset.id')}" in text
    printed = box.cli("slurm-reschedule", "--since=", "--script", "-").stdout
    assert printed == text.replace(f"'--script={script}'", "--script=-")
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "sbatch").write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$@"\n')
    (fake / "sbatch").chmod(0o755)
    env = os.environ | {"PATH": f"{fake}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", script], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.splitlines() == [str(box.path / "sub"), "job.sh", "../out 1"]


def test_a_script_is_overwritten_only_when_there_is_a_new_one(history, tmp_path):
    script = tmp_path / "script"
    script.write_text("old")
    history.job(1, text="{")
    history.reschedule(script=str(script), code=1)
    assert script.read_text() == "old"
    history.job(2)
    history.reschedule(script=str(script))
    assert "sbatch 2.sh" in script.read_text()
    (result,) = history.reschedule(script=str(tmp_path), code=1)
    assert f"cannot write the script {tmp_path}" in result["message"]


def test_json_output_of_a_report_is_one_record_a_commit(history):
    history.job(1)
    history.job(2)
    done = history.box.cli("-f", "json", "slurm-reschedule", "--since=", "--report")
    assert [json.loads(line)["cmd"] for line in done.stdout.splitlines()] == [
        "sbatch 1.sh",
        "sbatch 2.sh",
    ]
