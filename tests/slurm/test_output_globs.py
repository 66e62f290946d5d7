"""Outputs that are globs, from schedule to reschedule."""

from __future__ import annotations

import time

import pytest

from tests.slurm.test_reschedule import record_of, reschedule
from tests.slurm.test_schedule import finish, schedule


def own_files(job, cwd=""):
    """Return the names of log and facts that come with a job."""
    return {f"{cwd}slurm-{job}.out", f"{cwd}slurm-job-{job}.env.json"}


def test_just_the_matches_and_what_is_below_matched_directories_are_committed(box, slurm):
    box.script(
        "mkdir -p out/x.csv sub-1/stats/deep sub-2/other .h\n"
        "touch out/a.csv out/a.txt out/.b.csv out/x.csv/.in sub-1/stats/a sub-1/stats/deep/.b\n"
        "touch sub-2/other/a .h/a.csv"
    )
    job = schedule(box, "sbatch job.sh", ["out/*.csv", "sub-*/stats/**"])
    slurm.wait(job)
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, results
    expected = {"out/a.csv", "out/x.csv/.in", "sub-1/stats/a", "sub-1/stats/deep/.b"}
    assert box.files_in_last_commit() == expected | own_files(job)
    assert set(box.status().splitlines()) == {
        "?? .h/a.csv", "?? out/.b.csv", "?? out/a.txt", "?? sub-2/other/a",
    }  # fmt: skip
    record = record_of(box)
    assert record["slurm"]["declared_outputs"] == ["out/*.csv", "sub-*/stats/**"]
    assert record["outputs"][:3] == ["out/a.csv", "out/x.csv", "sub-1/stats"]
    assert set(record["outputs"][3:]) == own_files(job)


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ("out/*.csv", "out/a.csv"),
        ("out/a.csv", "out/*.csv"),
        ("out", "*/a"),
        ("*/a", "out"),
        ("sub-*/x", "**/x/y"),
    ],
)
def test_a_glob_that_could_match_anothers_output_is_refused(box, slurm, held, wanted):
    box.script("sleep 600")
    job = schedule(box, "sbatch job.sh", [held])
    done = box.cli("slurm-schedule", "-o", ".free/*", "-o", wanted, "sbatch", "job.sh", code=1)
    assert f"output '{wanted}' conflicts with job {job}, which claims '{held}'" in done.stdout
    other = schedule(box, "sbatch job.sh", [".free/*"])
    assert box.tracked() == [job, other]
    slurm.run("scancel", str(job), str(other))


def test_open_jobs_are_listed_with_their_globs(box, slurm):
    box.script("sleep 600")
    job = schedule(box, "sbatch job.sh", ["out/*.csv"])
    assert box.cli("slurm-finish", "-l").stdout.splitlines()[-1].endswith("   out/*.csv")
    slurm.run("scancel", str(job))


def test_a_glob_without_a_match_is_told_and_waited_for(box, slurm):
    box.git("config", "datalad.slurm.latency-wait", "2")
    box.script("mkdir out; touch out/a")
    job = schedule(box, "sbatch job.sh", ["out/a", "out/*.csv"])
    slurm.wait(job)
    began = time.monotonic()
    done = box.cli("slurm-finish", code=1)
    assert time.monotonic() - began >= 2
    assert f"out/*.csv [job {job} declared this output, but there is nothing]" in done.stdout
    assert box.files_in_last_commit() == {"out/a"} | own_files(job)
    assert record_of(box)["outputs"][0] == "out/a"
    assert box.tracked() == []


def test_what_matches_and_was_taken_away_is_deleted(box, slurm):
    for name in ("a.csv", "b.csv", "c.txt", "d.csv/x"):
        box.script("", f"out/{name}")
    box.script("rm -r out/b.csv out/c.txt out/d.csv; echo new > out/a.csv")
    job = schedule(box, "sbatch job.sh", ["out/*.csv"])
    slurm.wait(job)
    finish(box)
    assert box.files_in_last_commit() == {"out/a.csv", "out/b.csv", "out/d.csv/x"} | own_files(job)
    assert box.git("ls-tree", "-r", "--name-only", "HEAD", "out").split() == [
        "out/a.csv", "out/c.txt",
    ]  # fmt: skip
    assert box.status() == " D out/c.txt"


def test_annexed_matches_are_unlocked_and_a_rescheduled_job_claims_the_globs_again(box, slurm):
    box.script("mkdir -p d; date +%N > d/a.csv; touch d/b.csv d/c.txt")
    job = schedule(box, "sbatch job.sh", ["d/*.csv"])
    slurm.wait(job)
    finish(box)
    first = (box.path / "d/a.csv").read_text()
    assert (box.path / "d/a.csv").is_symlink()
    again = reschedule(box)
    (entry,) = [res for res in finish(box, list_open_jobs=True) if res["status"] == "ok"]
    assert entry["outputs"] == ["d/*.csv"]
    slurm.wait(again)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert box.files_in_last_commit() == {"d/a.csv"} | own_files(again)
    assert (box.path / "d/a.csv").read_text() != first
    assert record_of(box)["slurm"]["declared_outputs"] == ["d/*.csv"]
    assert record_of(box)["outputs"][:2] == ["d/a.csv", "d/b.csv"]


def test_a_clone_reschedules_without_the_content_of_matches(box, slurm, tmp_path):
    box.script("mkdir -p d/e; echo result > d/a.csv; echo result > d/e/b")
    job = schedule(box, "sbatch job.sh", ["d/*.csv", "d/e/**"])
    slurm.wait(job)
    finish(box)
    box.cli("clone", str(box.path), str(tmp_path / "clone"), cwd=tmp_path)
    clone = type(box)(tmp_path / "clone")
    again = reschedule(clone)
    slurm.wait(again)
    assert {res["status"] for res in finish(clone)} == {"ok"}
    assert (clone.path / "d/a.csv").read_text() == "result\n"


def test_placeholders_and_quotes_are_as_datalad_run_has_them(box, slurm):
    box.script("", "out/b c.csv")
    box.script("", "out/a.csv")
    box.script('printf "%s\\n" "$@" > out/said.csv')
    command = "sbatch job.sh {outputs} '{outputs[1]}'"
    job = schedule(box, command, ["out/*.csv", "no/*.csv", "out/[*]"])
    slurm.wait(job)
    results = finish(box)
    missing = {res["path"] for res in results if res["status"] == "impossible"}
    assert missing == {str(box.path / "no/*.csv"), str(box.path / "out/*")}
    said = (box.path / "out/said.csv").read_text().splitlines()
    assert said[:4] == ["out/a.csv", "out/b c.csv", "no/*.csv", "out/[*]"]


def test_names_with_wildcards_in_them_are_told_from_globs(box, slurm):
    box.script('mkdir -p "odd[1]"; cd "odd[1]"; touch "a*" ab "[x]" x "q?" qq "*.csv"', "s*/job.sh")
    typed = ["odd[[]1]/a[*]", "odd[[]1]/[[]x]", "odd[[]1]/q[?]", "odd[[]1]/[*].*"]
    args = [arg for name in typed for arg in ("-o", name)]
    cwd = box.path / "s*"
    box.cli("slurm-schedule", *args, "sbatch", "job.sh", cwd=cwd)
    (job,) = box.tracked()
    # the same file, as any other job may spell it
    done = box.cli("slurm-schedule", "-o", "odd?1]/[!b][*]", "sbatch", "job.sh", cwd=cwd, code=1)
    assert "which claims 's[*]/odd[[]1]/a[*]'" in done.stdout
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    expected = {f"s*/odd[1]/{name}" for name in ("a*", "[x]", "q?", "*.csv")}
    assert box.files_in_last_commit() == expected | own_files(job, "s*/")
    assert set(record_of(box)["outputs"]) == expected | own_files(job, "s*/")
    again = reschedule(box)
    slurm.wait(again)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert box.files_in_last_commit() == own_files(again, "s*/")


def test_a_job_in_slurm_already_can_be_tracked_with_globs(box, slurm):
    (box.path / "sub").mkdir()
    job = slurm.sbatch(f"--chdir={box.path}/sub", "--wrap", "mkdir -p ../out; touch ../out/a b.csv")
    slurm.wait(job)
    box.cli("slurm-schedule", "--job-id", str(job), "-o", "o*/", "-o", "sub/*.csv")
    finish(box)
    assert box.files_in_last_commit() == {"out/a", "sub/b.csv"} | own_files(job, "sub/")
    assert record_of(box)["slurm"]["declared_outputs"] == ["../o*/", "*.csv"]


def test_logs_that_a_glob_matches_are_logs(box, slurm):
    box.script("touch x.out")
    sleeping = box.script("sleep 600", "sleep.sh")
    open_job = schedule(box, f"sbatch -o open.out {sleeping}", ["other"])
    slurm.wait(open_job, until=lambda word: word == "RUNNING")
    job = schedule(box, "sbatch job.sh", ["*.out"])
    slurm.wait(job)
    finish(box, job)
    assert box.files_in_last_commit() == {"x.out"} | own_files(job)
    record = record_of(box)
    assert set(record["outputs"]) - set(record["slurm_outputs"]) == {"x.out"}
    slurm.run("scancel", str(open_job))


def test_nothing_of_a_git_directory_or_of_a_foreign_repository_is_taken(box, slurm):
    box.script(
        "git init -q sub-1; touch sub-1/x sub-2.csv; mkdir -p .git/y sub-2; touch .git/y/x sub-2/x"
    )
    schedule(box, ["sbatch", "job.sh"], ["sub-*/x", ".g*/y/*"])
    (job,) = box.tracked()
    slurm.wait(job)
    results = finish(box)
    missing = [res["path"] for res in results if res["status"] == "impossible"]
    assert missing == [str(box.path / ".g*/y/*")]
    assert box.files_in_last_commit() == {"sub-2/x"} | own_files(job)


def test_a_directory_that_becomes_a_link_is_not_followed(box, slurm, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.csv").touch()
    box.script(f"ln -s {tmp_path}/elsewhere out; mkdir real; touch real/a.csv; ln -s real l.csv")
    job = schedule(box, "sbatch job.sh", ["out/*.csv", "*/*.csv", "*.csv"])
    slurm.wait(job)
    results = finish(box)
    assert [res["path"] for res in results if res["status"] == "impossible"] == [
        str(box.path / "out")
    ]
    assert box.files_in_last_commit() == {"real/a.csv", "l.csv"} | own_files(job)
