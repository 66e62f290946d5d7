"""Commits of several jobs side by side: on branches of their own, or merged."""

from __future__ import annotations

import pytest

from tests.slurm.sweeps import finish_killed_at
from tests.slurm.test_schedule import finish, schedule
from tests.slurm.test_subdatasets import TITLE, assert_linked, family  # noqa: F401


def run_jobs(box, slurm, count, body="mkdir -p d{n}; echo {n} > d{n}/a"):
    jobs = [schedule(box, ["sbatch", "--wrap", body.format(n=n)], [f"d{n}"]) for n in range(count)]
    slurm.wait(*jobs)
    return jobs


def test_each_job_gets_a_branch_and_the_checked_out_one_stays(box, slurm):
    jobs = run_jobs(box, slurm, 3)
    (box.path / "mine").write_text("1\n")
    before = box.git("rev-parse", "HEAD")
    results = finish(box, branches=True)
    assert {res["status"] for res in results} == {"ok"}
    assert [r["branch"] for r in results if r["action"] == "save"] == [
        f"slurm-job-branch-{job}" for job in jobs
    ]
    assert box.git("rev-parse", "HEAD") == before
    assert box.status() == "?? mine"
    assert not (box.path / "d0").exists()
    for number, job in enumerate(jobs):
        branch = f"slurm-job-branch-{job}"
        assert box.git("log", "-1", "--format=%s", branch) == TITLE.format(job)
        assert box.git("rev-parse", f"{branch}~1") == before
        assert f"d{number}/a" in box.files_in_last_commit(branch)
    assert box.tracked() == []
    for job in jobs:
        box.git("merge", "-q", "--no-edit", f"slurm-job-branch-{job}")
    assert (box.path / "d2/a").read_text() == "2\n"
    assert box.git("annex", "fsck", "--quiet") == ""


def test_a_name_that_is_taken_gets_a_number(box, slurm):
    (job,) = run_jobs(box, slurm, 1)
    box.git("branch", f"slurm-job-branch-{job}")
    results = finish(box, branches=True)
    assert {r["branch"] for r in results if "branch" in r} == {f"slurm-job-branch-{job}-2"}


def test_what_a_job_replaced_or_deleted_is_back_in_the_working_tree(box, slurm):
    (job,) = run_jobs(box, slurm, 1, "mkdir -p d{n}; echo old > d{n}/a; echo old > d{n}/b")
    finish(box)
    (job,) = run_jobs(box, slurm, 1, "echo new > d{n}/a; rm d{n}/b; echo new > d{n}/c")
    finish(box, branches=True)
    assert box.status() == ""
    assert sorted(path.name for path in (box.path / "d0").iterdir() if "." not in path.name) == [
        "a",
        "b",
    ]
    assert (box.path / "d0/a").read_text() == "old\n"
    branch = f"slurm-job-branch-{job}"
    assert {"d0/a", "d0/b", "d0/c"} <= box.files_in_last_commit(branch)
    box.git("checkout", "-q", branch)
    assert (box.path / "d0/a").read_text() == "new\n"
    assert not (box.path / "d0/b").exists()


@pytest.mark.parametrize("count", [1, 2, 17])
def test_an_octopus_merges_all_jobs_in_chunks_that_git_can_show(box, slurm, count):
    jobs = run_jobs(box, slurm, count)
    before = box.git("rev-parse", "HEAD")
    results = finish(box, octopus=True)
    assert {res["status"] for res in results} == {"ok"}
    merges = box.git("log", "--merges", "--first-parent", "--format=%P").splitlines()
    assert [len(line.split()) for line in merges] == {1: [], 2: [3], 17: [3, 16]}[count]
    said = [res["message"] for res in results if res["action"] == "merge"]
    assert said == ([] if count == 1 else [f"{count} jobs in {len(merges)} merge(s)"])
    subjects = box.git("log", f"{before}..", "--no-merges", "--format=%s").splitlines()
    assert sorted(subjects) == sorted(TITLE.format(job) for job in jobs)
    assert box.git("branch", "--list", "slurm-job-branch-*") == ""
    assert box.status() == ""
    for number in range(count):
        assert (box.path / f"d{number}/a").read_text() == f"{number}\n"
    box.git("fsck", "--strict")


def test_an_octopus_is_the_first_commit_of_a_branch(box, slurm):
    jobs = run_jobs(box, slurm, 2)
    box.git("checkout", "-q", "--orphan", "fresh")
    box.git("rm", "-q", "-r", "--cached", ".")
    finish(box, octopus=True)
    assert len(box.git("log", "-1", "--format=%P").split()) == 2
    assert {TITLE.format(job) for job in jobs} < set(box.subjects(3))


@pytest.mark.parametrize("option", ["branches", "octopus"])
def test_subdatasets_are_committed_in_a_chain(box, slurm, family, option):  # noqa: F811
    jobs = [schedule(box, ["sbatch", "--wrap", f"echo {n} > sub/{n}"], [f"sub/{n}"]) for n in "ab"]
    slurm.wait(*jobs)
    assert {res["status"] for res in finish(box, **{option: True})} == {"ok"}
    assert family["sub"].subjects(2) == [TITLE.format(job) for job in reversed(jobs)]
    if option == "branches":
        for number, job in enumerate(jobs):
            linked = box.git("rev-parse", f"slurm-job-branch-{job}:sub")
            assert linked == family["sub"].git("rev-parse", f"HEAD~{1 - number}")
    else:
        assert_linked(family)


def test_a_finish_that_died_after_it_made_the_branches_is_completed(box, slurm, monkeypatch):
    from datalad_slurm.tracking import publications

    jobs = run_jobs(box, slurm, 2)

    finish_killed_at(box, monkeypatch, publications, "complete", branches=True)
    assert {res["status"] for res in finish(box, branches=True)} == {"notneeded"}
    listed = box.git("branch", "--list", "--format=%(refname:short)", "slurm-job-branch-*")
    assert listed.split() == [f"slurm-job-branch-{job}" for job in jobs]
    assert box.status() == ""


def test_an_index_that_is_held_leaves_the_files_of_the_working_tree(box, slurm, monkeypatch):
    from datalad_slurm.dataset import index

    (box.path / "d0").mkdir()
    (box.path / "d0/a").write_text("old\n")
    box.cli("save", "-m", "an output that is there")
    (job,) = run_jobs(box, slurm, 1)
    monkeypatch.setattr(index, "_LOCK_PATIENCE", 0.5)
    (box.path / ".git/index.lock").touch()
    (result,) = finish(box, branches=True)
    assert "index.lock is there" in result["message"]
    assert "all jobs are still open" in result["message"]
    assert (box.path / "d0/a").read_text() == "0\n"
    assert box.tracked() == [job]
    (box.path / ".git/index.lock").unlink()
    finish(box, branches=True)
    assert (box.path / "d0/a").read_text() == "old\n"
    assert box.status() == ""
    assert box.tracked() == []
    listed = box.git("branch", "--list", "--format=%(refname:short)", "slurm-job-branch-*")
    assert listed == f"slurm-job-branch-{job}"


def test_a_finish_that_died_while_it_put_files_back_is_completed(box, slurm, monkeypatch):
    from datalad_slurm.dataset import worktree

    (box.path / "d0").mkdir()
    (box.path / "d0/a").write_text("old\n")
    box.cli("save", "-m", "an output that is there")
    run_jobs(box, slurm, 1)

    finish_killed_at(box, monkeypatch, worktree, "_remove_empty_directories", branches=True)
    assert not (box.path / "d0/a").exists()
    finish(box, branches=True)
    assert (box.path / "d0/a").read_text() == "old\n"
    assert box.status() == ""
    assert box.tracked() == []
