"""Jobs that read what other open jobs write."""

from __future__ import annotations

import pytest
from datalad.api import slurm_schedule

from tests.slurm.pipelines import asked, dependency, release
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule


def test_a_chain_is_scheduled_in_one_go_and_finished_in_its_order(chain, slurm):
    one = schedule(chain, "sbatch --hold a.sh", ["a"])
    result = asked(chain, "sbatch b.sh", ["b"], inputs=["a"])
    two = result["slurm_job_id"]
    assert result["message"] == (
        f"submitted Slurm job {two}, which comes after job {one}, which makes 'a'"
    )
    assert result["depends_on"] == [{"slurm_job_id": one, "reason": "input", "inputs": ["a"]}]
    assert dependency(slurm, two) == f"afterok:{one}(unfulfilled)"
    three = schedule(chain, "sbatch c.sh", ["c"], inputs=["b/two"])
    assert dependency(slurm, three) == f"afterok:{two}(unfulfilled)"
    release(slurm, one)
    slurm.wait(one, two, three)
    assert {res["status"] for res in finish(chain)} == {"ok"}
    ids = [subject.split()[5].rstrip(":") for subject in chain.subjects(3)]
    assert ids == [str(three), str(two), str(one)]
    assert (chain.path / "c").read_text() == "one\ntwo\nthree\n"
    record = record_of(chain)
    assert record["cmd"] == "sbatch c.sh"
    commit = chain.git("rev-parse", "HEAD~1")
    assert record["slurm"]["depends_on"] == [
        {"slurm_job_id": two, "reason": "input", "inputs": ["b/two"], "commit": commit}
    ]
    # what it has read is what the commit before it holds
    key = chain.git("show", "HEAD~1:b/two").rpartition("/")[2]
    assert record["slurm"]["inputs"] == [{"path": "b/two", "key": key}]
    assert chain.status() == ""


@pytest.mark.parametrize(
    "command",
    [
        "sbatch -J x --dependency=afterany:{other} b.sh",
        "sbatch -Hdafterany:{other} b.sh",
        "sbatch --dep afterany:{other} -- b.sh",
        "sbatch directive.sh",
        "cat directive.sh | sbatch",
        "sbatch --dependency=afterany:{other} --wrap 'mkdir -p b; cat a > b/two'",
        "sbatch --dependency=afterany:{other} : b.sh",
        "./submit --dependency=afterany:{other}",
        "PATH=/usr/bin:$PATH ./submit --dependency=afterany:{other}",
    ],
)
def test_what_was_typed_is_joined_in_every_form_of_a_command(chain, slurm, command):
    (chain.path / "submit").write_text('#!/bin/sh\nsbatch "$@" b.sh | sed "s/^/got: /"\n')
    (chain.path / "submit").chmod(0o755)
    other = slurm.sbatch("--hold", "-o", "/dev/null", "--wrap", "true")
    (chain.path / "directive.sh").write_text(
        f"#!/bin/bash\n#SBATCH --time=5 # minutes\n#SBATCH --dependency=afterany:{other}\n"
        "mkdir -p b; cat a > b/two\n: <<X\n#SBATCH --dependency=afterok:1\nX\n"
    )
    one = schedule(chain, "sbatch --hold a.sh", ["a"])
    if " : " in command:
        result = asked(chain, command.format(other=other), ["b"], inputs=["a"])
        assert "cannot be joined with another one" in result["message"]
        assert chain.tracked() == [one]
        slurm.run("scancel", str(other))
        return
    typed = command.format(other=other).replace("{", "{{").replace("}", "}}")
    two = schedule(chain, typed, ["b"], inputs=["a"])
    waits = set(dependency(slurm, two).split(","))
    assert waits == {f"afterany:{other}(unfulfilled)", f"afterok:{one}(unfulfilled)"}
    slurm.run("scancel", str(other))
    release(slurm, one, *([two] if "-H" in command else []))  # others may have run by then
    slurm.wait(one, two)
    assert {res["status"] for res in finish(chain)} == {"ok"}
    assert record_of(chain)["cmd"] == command.format(other=other)


def test_each_of_several_jobs_of_a_command_waits_and_is_waited_for(chain, slurm):
    script = 'for i in 1 2; do sbatch --hold --wrap "mkdir -p b; echo $i > b/$i"; done'
    schedule(chain, script, ["b"])
    schedule(
        chain, "for i in 3 4; do sbatch --wrap 'cat b/1 b/2 >> c'; done", ["c"], inputs=["b/*"]
    )
    ids, last = [entry["slurm_job_ids"] for entry in finish(chain, list_open_jobs=True)]
    for job in last:
        assert dependency(slurm, job).count("(unfulfilled)") == 2
        assert all(str(job_id) in dependency(slurm, job) for job_id in ids)
    release(slurm, *ids)
    slurm.wait(*ids, *last)
    assert {res["status"] for res in finish(chain)} == {"ok"}
    assert (chain.path / "c").read_text() == "1\n2\n" * 2
    assert [entry["path"] for entry in record_of(chain)["slurm"]["inputs"]] == ["b/1", "b/2"]


def test_an_earlier_version_of_the_input_does_not_stand_in_for_the_new_one(chain, slurm):
    (chain.path / "a").write_text("old\n")
    chain.cli("save", "-m", "old", "a")
    one = schedule(chain, "sbatch --hold a.sh", ["a"])
    result = asked(chain, "sbatch b.sh", ["b"], inputs=["a"])
    assert result["depends_on"][0]["slurm_job_id"] == one
    release(slurm, one)
    slurm.wait(one, result["slurm_job_id"])
    assert {res["status"] for res in finish(chain)} == {"ok"}
    assert (chain.path / "b/two").read_text() == "one\ntwo\n"
    key = chain.git("show", "HEAD~1:a").rpartition("/")[2]
    (noted,) = record_of(chain)["slurm"]["inputs"]
    assert noted["key"] == key.strip()
    assert "now" not in noted


def test_an_input_that_was_changed_after_the_job_before_is_told(chain, slurm):
    one = schedule(chain, "sbatch a.sh", ["a"])
    two = schedule(chain, "sbatch b.sh", ["b"], inputs=["a"])
    slurm.wait(one, two)
    finish(chain, one)
    (chain.path / "a").unlink()
    (chain.path / "a").write_text("changed\n")
    results = finish(chain, two)
    (saved,) = [res for res in results if res["action"] == "save"]
    assert "'a' (not committed)" in saved["message"]
    noted = record_of(chain)["slurm"]["inputs"][0]
    assert noted["key"] == chain.git("show", "HEAD~1:a").rpartition("/")[2]
    assert noted["change"] == "modified"


def test_many_inherited_files_are_one_tree_in_the_record(chain, slurm):
    one = schedule(
        chain,
        "sbatch --wrap 'mkdir b; for i in $(seq 150); do echo $i > b/$i; done'",
        ["b"],
    )
    slurm.wait(one)
    two = schedule(chain, ["sbatch", "--wrap", "cat b/* > c"], ["c"], inputs=["b"])
    slurm.wait(two)
    assert {res["status"] for res in finish(chain)} == {"ok"}
    tree = chain.git("rev-parse", "HEAD~1:b")
    assert record_of(chain)["slurm"]["inputs"] == [{"path": "b", "tree": tree}]


def test_waiting_can_be_refused(chain, slurm):
    one = schedule(chain, "sbatch --hold a.sh", ["a"])
    result = asked(chain, "sbatch b.sh", ["b"], inputs=["./b/../a"], no_auto_dependency=True)
    assert result["status"] == "impossible"
    assert f"input './b/../a' is an output of job {one}, which is open" in result["message"]
    assert chain.tracked() == [one]
    # an output of an open job that is to be written as well stays a conflict
    result = asked(chain, "sbatch b.sh", ["a"], inputs=["a"])
    assert "output 'a' conflicts with job" in result["message"]
    slurm.run("scancel", str(one))


def test_either_any_of_several_or_one_more_is_refused(chain, slurm):
    one = schedule(chain, "sbatch --hold a.sh", ["a"])
    cmd = f"sbatch --dependency='afterok:{one}?afterany:{one}' b.sh"
    result = asked(chain, cmd, ["b"], inputs=["a"])
    assert result["status"] == "error"
    assert "is met by any of its parts, so it cannot be joined" in result["message"]
    assert chain.tracked() == [one]
    slurm.run("scancel", str(one))


def test_a_job_of_another_cluster_cannot_be_waited_for(chain, slurm):
    one = schedule(chain, "sbatch --hold a.sh", ["a"])
    result = asked(chain, "sbatch -M elsewhere b.sh", ["b"], inputs=["a"])
    assert result["status"] == "error"
    assert "Slurm cannot wait for jobs of another cluster" in result["message"]
    assert chain.tracked() == [one]
    two = schedule(chain, "sbatch -M testbed b.sh", ["b"], inputs=["a"])
    assert dependency(slurm, two) == f"afterok:{one}(unfulfilled)"
    slurm.run("scancel", str(one), str(two))


def test_a_job_that_has_failed_is_not_waited_for(chain, slurm):
    one = schedule(chain, "sbatch a.sh 3", ["a"])
    slurm.wait(one)
    result = asked(chain, "sbatch b.sh", ["b"], inputs=["a"])
    assert result["status"] == "impossible"
    assert (
        f"is an output of job {one}, which has not ended well ({one}: FAILED)"
        in (result["message"])
    )
    assert chain.tracked() == [one]


def test_a_job_that_has_completed_is_related_without_waiting(chain, slurm):
    one = schedule(chain, "sbatch a.sh", ["a"])
    slurm.wait(one)
    result = asked(chain, "sbatch b.sh", ["b"], inputs=["a"])
    two = result["slurm_job_id"]
    assert result["depends_on"][0]["slurm_job_id"] == one
    slurm.wait(two)
    line = slurm.run("sacct", "-nXP", "-j", str(two), "-o", "SubmitLine")
    assert "--dependency" not in line
    (held,) = finish(chain, two)
    assert held["status"] == "impossible"
    assert f"datalad slurm-finish -d {chain.path} {one} {two}" in held["message"]
    assert chain.tracked() == [one, two]
    assert {res["status"] for res in finish(chain, two, one)} == {"ok"}
    assert chain.subjects()[0].startswith(f"[DATALAD SLURM RUN] Slurm job {two}:")


def test_a_job_that_is_finished_while_the_next_is_prepared(chain, slurm, monkeypatch):
    """The job before is committed, or closed, between the first look and the submission."""
    from datalad_slurm.workflow import schedule as flow

    real = flow.have_endings_noted
    one = schedule(chain, "sbatch --hold a.sh", ["a"])

    def finished_first(*args):
        release(slurm, one)
        slurm.wait(one)
        chain.cli("slurm-finish", str(one))
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(flow, "have_endings_noted", finished_first)
        result = asked(chain, "sbatch b.sh", ["b"], inputs=["a"])
    commit = chain.git("rev-parse", "HEAD")
    assert result["depends_on"][0]["commit"] == commit
    slurm.wait(result["slurm_job_id"])
    assert {res["status"] for res in finish(chain)} == {"ok"}

    three = schedule(chain, "sbatch --hold a.sh 3", ["a"])

    def closed_first(*args):
        release(slurm, three)
        slurm.wait(three)
        chain.cli("slurm-finish", "--close-failed-jobs", str(three))
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(flow, "have_endings_noted", closed_first)
        result = asked(chain, "sbatch b.sh", ["b"], inputs=["a"])
    assert result["status"] == "impossible"
    assert f"was an output of job {three}, which was closed meanwhile" in result["message"]
    assert chain.tracked() == []


def test_a_job_that_goes_past_our_sbatch_is_held_back_or_named(chain, slurm):
    one = schedule(chain, "sbatch --hold a.sh", ["a"])
    held = schedule(chain, "/usr/bin/sbatch --hold b.sh", ["b"], inputs=["a"])
    assert f"afterok:{one}(unfulfilled)" in dependency(slurm, held)
    results = slurm_schedule(
        "/usr/bin/sbatch --wrap 'sleep 1'; sleep 1", dataset=chain.path, outputs=["c"],
        inputs=["a"], result_renderer="disabled", on_failure="ignore",
    )  # fmt: skip
    assert "went past our sbatch" in results[-1]["message"]
    slurm.run("scancel", str(one), str(held))
