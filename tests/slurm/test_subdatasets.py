"""Outputs in subdatasets: committed there, and noted in every dataset above."""

from __future__ import annotations

import subprocess

import pytest

from tests.conftest import Box
from tests.slurm.pipelines import dependency, release
from tests.slurm.sweeps import Killed, killed
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule

TITLE = "[DATALAD SLURM RUN] Slurm job {}: Completed"


@pytest.fixture
def family(box, tmp_path):
    """A dataset with subdatasets `sub`, `sub/deep` and `other`."""
    for name in ("sub", "sub/deep", "other"):
        box.cli("create", "-d", "^", str(box.path / name), cwd=(box.path / name).parent)
    assert box.status() == ""
    return {name: Box(box.path / name) for name in ("", "sub", "sub/deep", "other")}


def assert_linked(family):
    for parent, child in (("", "sub"), ("sub", "deep"), ("", "other")):
        inner = family[f"{parent}/{child}".strip("/")]
        linked = family[parent].git("rev-parse", f"HEAD:{child}")
        assert linked == inner.git("rev-parse", "HEAD"), (parent, child)
    for each in family.values():
        assert each.status() == ""
        assert each.git("for-each-ref", "refs/datalad-slurm/") == ""


def test_outputs_are_committed_where_they_are_with_the_record_at_each_level(box, slurm, family):
    body = "echo 1 > top; echo 2 > sub/a; mkdir -p sub/deep/d; echo 3 > sub/deep/d/b"
    job = schedule(box, ["sbatch", "--wrap", body], ["top", "sub/a", "sub/deep/d"])
    slurm.wait(job)
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}
    added = {res["path"] for res in results if res["action"] == "add"}
    assert {str(box.path / path) for path in ("top", "sub/a", "sub/deep/d/b")} <= added
    for name in ("", "sub", "sub/deep"):
        assert family[name].subjects() == [TITLE.format(job)]
        assert f'"slurm_job_id": {job}' in family[name].git("log", "-1", "--format=%B")
    assert family["sub"].files_in_last_commit() == {"a", "deep"}
    assert family["sub/deep"].files_in_last_commit() == {"d/b"}
    assert "sub" in box.files_in_last_commit()
    assert family["other"].subjects() != [TITLE.format(job)]
    assert_linked(family)
    assert family["sub/deep"].git("annex", "find", "d/b") == "d/b"


def test_each_job_has_its_own_commit_in_each_subdataset(box, slurm, family):
    jobs = [
        schedule(box, ["sbatch", "--wrap", f"echo {n} > {n}; echo {n} > sub/{n}"], [n, f"sub/{n}"])
        for n in "abc"
    ]
    slurm.wait(*jobs)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert family["sub"].subjects(3) == [TITLE.format(job) for job in reversed(jobs)]
    for back, name in enumerate("cba"):
        assert box.git("rev-parse", f"HEAD~{back}:sub") == family["sub"].git(
            "rev-parse", f"HEAD~{back}"
        )
        assert family["sub"].files_in_last_commit(f"HEAD~{back}") == {name}
    assert_linked(family)


def test_a_directory_above_subdatasets_can_be_declared(box, slurm, family):
    (family["other"].path / "old").write_text("1")
    box.cli("save", "-r", "-m", "old")
    job = schedule(box, ["sbatch", "--wrap", "echo 1 > sub/deep/x; rm other/old"], ["."])
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert family["sub/deep"].files_in_last_commit() == {"x"}
    assert family["other"].files_in_last_commit() == {"old"}
    assert not (family["other"].path / "old").exists()
    assert_linked(family)


def test_a_glob_reaches_into_subdatasets(box, slurm, family):
    for name in ("a.old", "b.old"):
        (family["other"].path / name).write_text("1")
    box.cli("save", "-r", "-m", "old")
    each = "echo 1 > $d/a.csv; echo 1 > $d/a.txt"
    body = f"for d in . sub sub/deep other; do {each}; done; rm other/a.old"
    job = schedule(box, ["sbatch", "--wrap", body], ["**/*.csv", "*/*.old"])
    slurm.wait(job)
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, results
    assert family["sub/deep"].files_in_last_commit() == {"a.csv"}
    assert family["sub"].files_in_last_commit() == {"a.csv", "deep"}
    assert family["other"].files_in_last_commit() == {"a.csv", "a.old"}
    assert "a.csv" in box.files_in_last_commit()
    for name, each in family.items():
        assert "?? a.txt" in each.status().splitlines(), name


def test_what_is_locked_in_a_subdataset_is_unlocked_for_the_job(box, slurm, family):
    for text in ("first", "second"):
        job = schedule(box, ["sbatch", "--wrap", f"echo {text} > sub/deep/x"], ["sub/deep/x"])
        slurm.wait(job)
        assert {res["status"] for res in finish(box)} == {"ok"}
        assert (family["sub/deep"].path / "x").read_text() == f"{text}\n"
        assert (family["sub/deep"].path / "x").is_symlink()
    assert_linked(family)


def test_a_subdataset_that_is_not_here_is_installed_first(box, slurm, family, tmp_path):
    clone = tmp_path / "clone"
    box.cli("clone", str(box.path), str(clone), cwd=tmp_path)
    there = Box(clone)
    env = {"GIT_ALLOW_PROTOCOL": "file"}
    there.cli(
        "slurm-schedule", "-o", "sub/deep/x", "sbatch", "--wrap", "echo 1 > sub/deep/x", **env
    )
    (job,) = there.tracked()
    slurm.wait(job)
    assert {res["status"] for res in finish(there)} == {"ok"}
    assert Box(clone / "sub/deep").files_in_last_commit() == {"x"}
    assert there.status() == ""


def test_a_job_can_be_rescheduled_into_a_subdataset(box, slurm, family):
    job = schedule(box, ["sbatch", "--wrap", "date +%N > sub/x"], ["sub/x"])
    slurm.wait(job)
    finish(box)
    box.cli("slurm-reschedule")
    (again,) = box.tracked()
    slurm.wait(again)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert family["sub"].subjects(2) == [TITLE.format(again), TITLE.format(job)]
    assert_linked(family)


def test_a_log_in_a_subdataset_is_committed_there(box, slurm, family):
    job = schedule(
        box, ["sbatch", "-o", "sub/log-%j", "--wrap", "echo hello; echo 1 > out"], ["out"]
    )
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    listed = family["sub"].files_in_last_commit()
    assert listed == {f"log-{job}", f"slurm-job-{job}.env.json"}
    assert_linked(family)


def test_a_subdataset_that_moves_meanwhile_is_not_overwritten(box, slurm, family, monkeypatch):
    from datalad_slurm.workflow import publishing

    job = schedule(box, ["sbatch", "--wrap", "echo 1 > sub/x; echo 1 > y"], ["sub/x", "y"])
    slurm.wait(job)
    publish, moved = publishing.publish, []

    def overtaken(*args):
        if not moved:
            family["sub"].git("commit", "-q", "--allow-empty", "-m", "overtaking")
            moved.append(1)
        return publish(*args)

    monkeypatch.setattr(publishing, "publish", overtaken)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert family["sub"].subjects(2) == [TITLE.format(job), "overtaking"]
    assert_linked(family)


@pytest.mark.parametrize("moves", [1, 2, 3])
def test_a_crash_between_the_levels_is_mended_by_the_next_finish(
    box, slurm, family, monkeypatch, moves
):
    from datalad_slurm.dataset import publish

    job = schedule(box, ["sbatch", "--wrap", "echo 1 > sub/deep/x"], ["sub/deep/x"])
    slurm.wait(job)
    move, done = publish._move, []

    def move_or_be_killed(step, reason):
        if len(done) == moves:
            raise Killed
        done.append(move(step, reason))
        return done[-1]

    monkeypatch.setattr(publish, "_move", move_or_be_killed)
    # as if by SIGKILL: nothing is cleaned up
    monkeypatch.setattr(publish, "_move_back", lambda *args: None)
    monkeypatch.setattr("datalad_slurm.dataset.index.IndexUpdate.install", killed)
    monkeypatch.setattr("datalad_slurm.dataset.index.IndexUpdate.__exit__", lambda *args: None)
    with pytest.raises(Killed):
        finish(box)
    monkeypatch.undo()
    slurm_conf = str(slurm.directory / "etc" / "slurm.conf")
    monkeypatch.setenv("SLURM_CONF", slurm_conf)
    results = finish(box)
    assert {res["status"] for res in results} <= {"ok", "notneeded"}
    for name in ("", "sub", "sub/deep"):
        titles = family[name].git("log", "--format=%s").splitlines()
        assert titles.count(TITLE.format(job)) == 1, name
    assert family["sub/deep"].git("ls-tree", "--name-only", "HEAD", "x") == "x"
    assert box.tracked() == []
    assert_linked(family)
    for each in family.values():
        subprocess.run(["git", "fsck", "--strict"], cwd=each.path, check=True)


def test_an_input_that_an_open_job_makes_in_a_subdataset_is_waited_for(box, slurm, family):
    one = schedule(box, ["sbatch", "--hold", "--wrap", "echo x > sub/deep/a"], ["sub/deep/a"])
    two = schedule(box, ["sbatch", "--wrap", "cat sub/deep/a > b"], ["b"], inputs=["sub/deep"])
    assert dependency(slurm, two) == f"afterok:{one}(unfulfilled)"
    release(slurm, one)
    slurm.wait(one, two)
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}
    # that the subdataset has got the commit with this input is no change of it
    assert not any("changed_inputs" in res for res in results)
    assert_linked(family)
    facts = record_of(box)["slurm"]
    (relation,) = facts["depends_on"]
    assert (relation["slurm_job_id"], relation["commit"]) == (one, box.git("rev-parse", "HEAD~1"))
    key = family["sub/deep"].git("show", "HEAD:a").rpartition("/")[2]
    before = family["sub/deep"].git("rev-parse", "HEAD~1")
    assert facts["inputs"] == [
        {"path": "sub/deep", "commit": before}, {"path": "sub/deep/a", "key": key},
    ]  # fmt: skip
