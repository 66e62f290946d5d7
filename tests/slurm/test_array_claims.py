"""Array tasks with outputs of their own: what each of them claims."""

from __future__ import annotations

import pytest

from tests.slurm.array_tasks import SCRIPT, refused
from tests.slurm.sweeps import claims
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule


def test_each_task_claims_its_outputs_and_others_can_have_other_tasks(box, slurm):
    box.script(SCRIPT)
    command = ["sbatch", "--hold", "--array=1-3", "job.sh"]
    job = schedule(box, command, ["sub-%a", "log-%A_%3a.txt"])
    assert sorted(claims(box)) == [
        *(f"log-{job}_00{index}.txt" for index in (1, 2, 3)), "sub-1", "sub-2", "sub-3",
    ]  # fmt: skip
    other = schedule(box, ["sbatch", "--hold", "-a", "4,6", "job.sh"], ["sub-%a", "log-%A_%3a.txt"])
    said = refused(box, ["sbatch", "--hold", "--array=3-5", "job.sh"], ["sub-%a"])
    assert f"output 'sub-3' conflicts with task {job}_3" in said
    assert f"(datalad slurm-finish {job})" in said
    assert f"task {other}_4" in refused(box, ["sbatch", "job.sh"], ["sub-4/res"])
    assert box.tracked() == [job, other]
    slurm.run("scancel", str(job), str(other))


def test_the_tasks_are_known_from_a_directive_and_from_the_environment(box, slurm, monkeypatch):
    box.script("true", "plain.sh")
    box.script("#SBATCH --hold --array=7-8\ntrue", "directive.sh")
    first = schedule(box, ["sbatch", "directive.sh"], ["sub-%a"])
    said = refused(box, ["sbatch", "directive.sh"], ["sub-%a"])
    assert f"output 'sub-7' conflicts with task {first}_7" in said
    monkeypatch.setenv("SBATCH_ARRAY_INX", "9")
    second = schedule(box, ["sbatch", "--hold", "plain.sh"], ["sub-%a"])
    assert sorted(claims(box)) == ["sub-7", "sub-8", "sub-9"]
    slurm.run("scancel", str(first), str(second))


def test_a_wrapper_claims_what_could_match_until_the_array_is_known(box, slurm):
    wrapper = box.path / "wrapper"
    wrapper.write_text("#!/bin/sh\nexec sbatch --hold --array=2-3 --wrap true >&2\n")
    wrapper.chmod(0o755)
    job = schedule(box, ["./wrapper"], ["sub-%a", "res-%x"])
    assert sorted(claims(box)) == ["res-wrap", "sub-2", "sub-3"]
    said = refused(box, ["./wrapper"], ["sub-%a"])
    assert f"output 'sub-[0-9]*' conflicts with task {job}_2" in said
    slurm.run("scancel", str(job))


def test_names_and_ids_are_filled_in_when_slurm_has_told_them(box, slurm):
    command = ["sbatch", "--hold", "-J", "a*b", "--wrap", "true"]
    outputs = [["out-%j", "0-%x", "0/%6A", "100%%a", "5%"], ["out-%j", "1-%x", "1/%6A"]]
    jobs = [schedule(box, command, declared) for declared in outputs]
    assert claims(box) == [
        f"out-{jobs[0]}", "0-a[*]b", f"0/{jobs[0]:06}", "100%a", "5%",
        f"out-{jobs[1]}", "1-a[*]b", f"1/{jobs[1]:06}",
    ]  # fmt: skip
    slurm.run("scancel", *map(str, jobs))


def test_what_slurm_writes_by_a_pattern_is_what_is_committed(box, slurm):
    (box.path / "o").mkdir()
    pattern = "o/%x-%A_%a-%4a-%012a-%%-%q-50%"
    job = schedule(
        box, ["sbatch", "-o", pattern, "-J", "n.m", "--array=7", "--wrap", "true"], [pattern]
    )
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    written = f"o/n.m-{job}_7-0007-0000000007-%-%q-50%"
    assert written in box.files_in_last_commit()
    assert written in record_of(box)["outputs"]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("out-%N", "has sbatch's pattern '%N', of which it is not known what it will stand for"),
        ("out-%4t", "pattern '%4t'"),
        ("out-%a", "the command submits no array; add --array, or type %%a"),
        ("%x/.git/x", "inside the git directory"),
    ],
)
def test_patterns_that_say_nothing_are_refused_before_submission(box, slurm, output, said):
    assert said in refused(box, ["sbatch", "--wrap", "true"], [output])
    assert box.tracked() == []


def test_a_tasks_own_id_is_refused_in_an_array(box, slurm):
    said = refused(box, ["sbatch", "--array=1-2", "--wrap", "true"], ["out-%j"])
    assert "has sbatch's pattern %j, which in an array is the own id of each task" in said
    assert box.tracked() == []
