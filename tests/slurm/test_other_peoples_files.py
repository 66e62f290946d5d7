"""What a job did not write is left as it is: files, logs of other jobs, links."""

from __future__ import annotations

import subprocess

import pytest

from tests.conftest import Box, wait_until
from tests.slurm.test_reschedule import reschedule
from tests.slurm.test_schedule import finish, schedule


@pytest.fixture
def clone(box, tmp_path):
    """A clone that has no annexed content."""
    (box.path / "out").mkdir()
    for number in range(3):
        (box.path / f"out/f{number}").write_text(f"precious {number}")
    (box.path / "input.dat").write_text("input")
    box.script('mkdir -p out; echo new > "out/${2:-new}"')
    box.cli("save", "-m", "data")
    box.cli("clone", str(box.path), str(tmp_path / "clone"), cwd=tmp_path)
    return Box(tmp_path / "clone")


def test_files_whose_content_is_elsewhere_stay_in_the_tree(clone, slurm):
    job = schedule(clone, "sbatch job.sh")
    slurm.wait(job)
    assert {res["status"] for res in finish(clone)} == {"ok"}
    listed = clone.git("ls-tree", "--name-only", "HEAD", "out/").split()
    assert listed == ["out/f0", "out/f1", "out/f2", "out/new"]
    assert clone.files_in_last_commit() == {
        "out/new", f"slurm-{job}.out", f"slurm-job-{job}.env.json",
    }  # fmt: skip
    assert clone.status() == ""


def test_an_output_that_was_removed_for_the_job_is_not_lost_when_that_does_not_write_it(
    clone, slurm
):
    job = schedule(clone, "sbatch job.sh", ["out/f0", "out/new"])
    assert not (clone.path / "out/f0").is_symlink()
    slurm.wait(job)
    finish(clone)
    assert clone.git("ls-tree", "--name-only", "HEAD", "out/f0") == "out/f0"


@pytest.mark.parametrize("here", [True, False])
def test_a_submission_that_fails_leaves_everything_as_it_was(clone, slurm, here):
    if here:
        clone.cli("get", "out")
    before = clone.path.joinpath("out/f0").readlink()
    clone.cli("slurm-schedule", "-o", "out/f0", "-o", "out", "sbatch", "no-job.sh", code=1)
    assert clone.path.joinpath("out/f0").readlink() == before
    assert clone.status() == ""


@pytest.mark.parametrize("options", ["-e input.dat", "-o input.dat --error=input.dat"])
def test_options_of_the_script_are_not_sbatchs(clone, slurm, options):
    for content in (False, True):
        if content:
            clone.cli("get", "input.dat")
        job = schedule(clone, f"sbatch job.sh {options}")
        slurm.wait(job)
        finish(clone)
        assert (clone.path / "input.dat").is_symlink()
        assert clone.status() == ""


def test_files_that_have_not_changed_keep_the_form_they_have(box, slurm):
    (box.path / "out").mkdir()
    with (box.path / ".gitattributes").open("a") as attributes:
        attributes.write("in-git annex.largefiles=nothing\n")
    for name in ("in-git", "unlocked", "locked", ".dotfile"):
        (box.path / "out" / name).write_text(name)
    box.git("add", "out/in-git", ".gitattributes")
    box.git("-c", "annex.dotfiles=true", "annex", "add", "--quiet", "out")
    box.git("commit", "-qm", "files")
    box.git("annex", "unlock", "--quiet", "out/unlocked")
    box.git("commit", "-qam", "unlocked")
    before = box.git("ls-tree", "-r", "HEAD", "out")
    job = schedule(box, ["sbatch", "--wrap", "echo new > out/new"], ["out"])
    slurm.wait(job)
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, results
    after = box.git("ls-tree", "-r", "HEAD", "out").splitlines()
    assert [line for line in after if not line.endswith("out/new")] == before.splitlines()
    assert box.status() == ""
    assert box.git("annex", "fsck", "--quiet") == ""


def test_an_unlocked_file_that_a_job_changes_stays_unlocked(box, slurm):
    (box.path / "out").write_text("one")
    box.cli("save", "-m", "one")
    box.git("annex", "unlock", "--quiet", "out")
    box.git("commit", "-qam", "unlocked")
    job = schedule(box, ["sbatch", "--wrap", "echo two > out"])
    slurm.wait(job)
    finish(box)
    assert box.git("ls-tree", "HEAD", "out").startswith("100644")
    assert (box.path / "out").read_text() == "two\n"
    assert box.git("annex", "find", "--unlocked", "out") == "out"
    assert box.status() == ""


def test_the_log_of_a_job_that_still_runs_is_not_taken(box, slurm):
    (box.path / "logs").mkdir()
    waiting = "echo a; until [ -e ../go ]; do sleep 0.1; done; echo b"
    running = schedule(box, f"sbatch -o logs/log --wrap '{waiting}'", ["a"])
    log = box.path / "logs/log"
    wait_until(lambda: log.exists() and log.read_text() == "a\n")
    done = schedule(box, "sbatch -o logs/log --open-mode=append --wrap 'echo x > logs/x'", ["logs"])
    slurm.wait(done)
    results = finish(box, done)
    (left,) = [res for res in results if res["status"] == "notneeded"]
    assert left["path"].endswith("logs/log")
    assert f"log of job {running}" in left["message"]
    assert not (box.path / "logs/log").is_symlink()
    (box.path.parent / "go").touch()
    slurm.wait(running)
    finish(box, accept_failed_jobs=True)
    assert (box.path / "logs/log").read_text().endswith("b\n")
    assert box.git("annex", "fsck", "--quiet") == ""


def test_a_link_that_took_the_place_of_a_directory_is_not_followed_out(box, slurm, tmp_path):
    outside = tmp_path / "scratch"
    outside.mkdir()
    job = schedule(box, ["sbatch", "--wrap", f"ln -s {outside} res; echo x > res/f"], ["res/f"])
    slurm.wait(job)
    results = finish(box)
    assert [res["status"] for res in results if res["path"].endswith("res/f")] == ["impossible"]
    assert (outside / "f").read_text() == "x\n"


@pytest.mark.parametrize("command", ["echo Submitted batch job 1", "echo 42", "echo 1"])
def test_what_a_command_prints_is_no_job_unless_slurm_has_it(box, slurm, command):
    slurm.sbatch("--hold", "--wrap", "true")
    done = box.cli("slurm-schedule", "-o", "out", command, code=1)
    assert "submitted no job" in done.stdout
    assert box.tracked() == []


def test_a_job_submitted_past_our_sbatch_is_tracked_or_named(box, slurm):
    real = subprocess.check_output(["which", "sbatch"], text=True).strip()
    job = schedule(box, f"{real} --wrap 'echo x > out'")
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    done = box.cli("slurm-schedule", "-o", "b", f"{real} --wrap true > /dev/null", code=1)
    assert "slurm-schedule --job-id" in done.stdout
    assert box.tracked() == []


@pytest.mark.parametrize(
    "options", ["-o logs/%x.log", "--array=1-2 -o logs/a_%a.log", "-D logs -o job.log"]
)
def test_logs_whose_names_come_again_are_unlocked(box, slurm, options):
    (box.path / "logs").mkdir()
    for _ in range(2):
        job = schedule(box, f"sbatch -J name {options} --wrap 'date +%N > {box.path}/out'")
        links = [path for path in (box.path / "logs").iterdir() if path.suffix == ".log"]
        assert not any(path.is_symlink() for path in links)
        slurm.wait(job)
        assert {res["status"] for res in finish(box)} == {"ok"}
    assert box.status() == ""


def test_a_reschedule_leaves_the_old_logs_locked(box, slurm):
    job = schedule(box, 'for i in 1 2; do sbatch --wrap "echo $i > o$i"; done', ["o1", "o2"])
    slurm.wait(job)
    (entry,) = [res for res in finish(box, list_open_jobs=True) if res["status"] == "ok"]
    slurm.wait(*entry["slurm_job_ids"])
    finish(box)
    again = reschedule(box)
    assert all(line.startswith("T  o") for line in box.status().splitlines() if "slurm" not in line)
    assert "slurm-job" not in box.status().replace(str(again), "")


def test_an_array_of_which_a_waiting_task_was_cancelled_can_be_closed(box, slurm, stand_in):
    waiting = "until [ -e ../go ]; do sleep 0.1; done"
    job = schedule(box, f"sbatch --array=1-3%1 --wrap '{waiting}; echo x > out'")
    slurm.run("scancel", f"{job}_3")
    (box.path.parent / "go").touch()
    slurm.wait(job)
    asked = ("sacct", "-nXP", "-j", str(job), "-o", "State")
    wait_until(lambda: slurm.run(*asked).split() == ["COMPLETED", "COMPLETED"])
    # what slurmctld keeps MinJobAge long is not the point
    stand_in("squeue", "exit 0")
    stand_in("date", "true")
    from datalad_slurm.jobs import status

    settled = status._SETTLED
    status._SETTLED = -5
    try:
        (result,) = finish(box)
        assert "CANCELLED" in result["message"], result
        assert f"{job}_1: COMPLETED" in result["message"]
        assert {res["status"] for res in finish(box, close_failed_jobs=True)} == {"ok"}
    finally:
        status._SETTLED = settled
    assert box.tracked() == []


def test_a_job_that_slurm_has_lost_can_be_dropped_by_name_only(box, slurm, stand_in):
    job = schedule(box, ["sbatch", "--hold", "--wrap", "true"])
    done = box.cli("slurm-finish", str(job), "--close-unknown-jobs", code=1)
    assert f"{job}: PENDING" in done.stdout
    slurm.run("scancel", str(job))
    stand_in("squeue", "exit 0")
    stand_in("sacct", "exit 0")
    done = box.cli("slurm-finish", "--close-failed-jobs", code=1)
    assert f"slurm-finish {job} --close-unknown-jobs" in done.stdout
    box.cli("slurm-finish", "--close-unknown-jobs", code=1)
    assert box.tracked() == [job]
    box.cli("slurm-finish", str(job), "--close-unknown-jobs")
    assert box.tracked() == []


def test_one_job_that_cannot_be_read_does_not_stop_the_others(box, slurm, monkeypatch):
    from datalad_slurm.workflow import deliver

    bad, good = (schedule(box, ["sbatch", "--wrap", f"echo x > {n}"], [n]) for n in "bg")
    slurm.wait(bad, good)
    collect = deliver.collect

    def collect_some(context, job, *args):
        if job.job_id == bad:
            raise PermissionError(13, "Permission denied", "b/x")
        return collect(context, job, *args)

    monkeypatch.setattr(deliver, "collect", collect_some)
    (failed,) = [res for res in finish(box) if res["status"] == "error"]
    assert f"Slurm job {bad} was not committed" in failed["message"]
    assert box.tracked() == [bad]


def test_a_job_whose_directory_is_gone_is_committed(box, slurm):
    (box.path / "d").mkdir()
    job = schedule(box, f"cd d && sbatch -o /dev/null --wrap 'echo x > {box.path}/out; rmdir ../d'")
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert box.files_in_last_commit() == {"out", f"slurm-job-{job}.env.json"}


def test_a_failed_submission_is_settled_within_one_process(box, slurm, stand_in, monkeypatch):
    stand_in("sbatch", '$real "$@" >/dev/null; echo "sbatch: error: Socket timed out" >&2; exit 1')
    stand_in("squeue", "exit 1")
    with pytest.raises(Exception, match="not known whether a job was submitted"):
        schedule(box, ["sbatch", "--wrap", "echo x > out"])
    stand_in("squeue", 'exec $real "$@"')
    assert len(box.tracked()) == 1
