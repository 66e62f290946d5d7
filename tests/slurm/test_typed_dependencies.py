"""Dependencies that were typed: kept as they are, joined with ours, and mapped to new jobs."""

from __future__ import annotations

import pytest

from datalad_slurm.workflow import reschedule as reschedule_flow
from tests.conftest import wait_until
from tests.slurm.pipelines import dependency, release
from tests.slurm.sweeps import Killed, killed
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_reschedule_range import reschedule, submitted
from tests.slurm.test_retry import retry
from tests.slurm.test_schedule import finish, schedule


def dependency_submitted(slurm, job):
    """Return the dependency with which a job was submitted."""
    asked = ("sacct", "-nXP", "-j", str(job), "-o", "SubmitLine")
    wait_until(lambda: "sbatch" in slurm.run(*asked))
    words = slurm.run(*asked).split()
    return [word.partition("=")[2] for word in words if word.startswith("--dependency=")]


def echo(*outputs, held=True):
    body = "; ".join(f"echo x > {output}" for output in outputs)
    return ["sbatch", *(["--hold"] if held else []), "--wrap", body]


def test_every_form_is_kept_and_mapped_to_the_new_jobs(box, slurm):
    before = box.git("rev-parse", "HEAD")
    x, y, z = old = [schedule(box, echo(name), [name]) for name in "xyz"]
    forms = {
        "all": "afterany:{0}:{1},afterok:{2},singleton",
        "some": "afterok:{0}?afterany:{1}?afternotok:{2}",
    }
    jobs = {
        name: schedule(
            box,
            f"sbatch -J {name}-{x} --dependency='{form.format(*old)}' --wrap 'cat x > {name}'",
            [name],
            # any of several cannot be joined with more
            inputs=["x", "y"] if name == "all" else [],
        )
        for name, form in forms.items()
    }
    waits = set(dependency(slurm, jobs["all"]).replace("(unfulfilled)", "").split(","))
    # no other job has its name, so slurmctld has dropped that
    assert waits - {"singleton"} == {
        f"afterany:{x}", f"afterany:{y}", f"afterok:{z}", f"afterok:{x}", f"afterok:{y}",
    }  # fmt: skip
    assert dependency(slurm, jobs["some"]).count("?") == 2
    release(slurm, *old)
    slurm.wait(*old, *jobs.values())
    assert {res["status"] for res in finish(box)} == {"ok"}
    for name, job in jobs.items():
        commit = box.git("log", "--format=%H", f"--grep=Slurm job {job}:")
        relations = record_of(box, commit)["slurm"]["depends_on"]
        assert {each["slurm_job_id"]: each["typed"] for each in relations} == {
            each: [each] for each in old
        }
        assert forms[name].format(*old) in record_of(box, commit)["cmd"]
    new = submitted(reschedule(box, since=before))
    again = dict(zip("xyz", new, strict=False))
    told = {name: dependency_submitted(slurm, job)
            for name, job in zip(forms, new[3:], strict=True)}  # fmt: skip
    mapped = {name: form.format(*again.values()) for name, form in forms.items()}
    assert told["all"][-1].startswith(mapped["all"])
    assert told["some"][-1] == mapped["some"]
    release(slurm, *new[:3])
    slurm.wait(*new)
    assert {res["status"] for res in finish(box)} == {"ok"}


def test_a_range_that_was_cut_short_goes_on_and_waits_for_what_it_has_submitted(
    box, slurm, monkeypatch
):
    before = box.git("rev-parse", "HEAD")
    one = schedule(box, echo("one"), ["one"])
    two = schedule(box, f"sbatch -d afterany:{one} --wrap 'echo x > two'", ["two"])
    three = schedule(box, ["sbatch", "--wrap", "cat one > three"], ["three"], inputs=["one"])
    release(slurm, one)
    slurm.wait(one, two, three)
    assert {res["status"] for res in finish(box)} == {"ok"}
    first = box.git("log", "--format=%H", f"--grep=Slurm job {one}:")
    real = reschedule_flow._submit
    with monkeypatch.context() as patch:
        flows = iter((real, killed))
        patch.setattr(reschedule_flow, "_submit", lambda *args: next(flows)(*args))  # noqa: PLW0108
        with pytest.raises(Killed):
            reschedule(box, since=before)
    (new,) = box.tracked()
    (refused,) = reschedule(box, since=before)
    assert refused["status"] == "impossible"
    assert f"output 'one' conflicts with job {new}" in refused["message"]
    assert box.tracked() == [new]
    # the rest waits for what is there already, by what was typed and by what it reads
    others = submitted(reschedule(box, since=first))
    assert [dependency(slurm, job) for job in others] == [
        f"afterany:{new}(unfulfilled)", f"afterok:{new}(unfulfilled)",
    ]  # fmt: skip
    release(slurm, new)
    slurm.wait(new, *others)
    assert {res["status"] for res in finish(box)} == {"ok"}


def test_a_job_that_slurm_cancels_when_it_cannot_start_is_run_again_with_the_one_before(
    chain,
    slurm,
):
    """As on a cluster with DependencyParameters=kill_invalid_depend."""
    one = schedule(chain, "sbatch --hold a.sh 3", ["a"])
    two = schedule(chain, "sbatch --kill-on-invalid-dep=yes b.sh", ["b"], inputs=["a"])
    three = schedule(chain, "sbatch --kill-on-invalid-dep=yes c.sh", ["c"], inputs=["b"])
    release(slurm, one)
    slurm.wait(one, two, three)
    results = {res["slurm_job_id"]: res for res in finish(chain)}
    assert {job: res["slurm_state"] for job, res in results.items()} == {
        one: "FAILED", two: "CANCELLED", three: "CANCELLED",
    }  # fmt: skip
    (refused,) = retry(chain, two)
    assert f"which has not ended well ({one}: FAILED)" in refused["message"]
    (chain.path / "a.sh").unlink()
    chain.script("sleep 3; echo one > a", "a.sh")
    done = chain.cli("slurm-reschedule", "--retry", "all")
    assert "is not there" not in done.stderr
    new = chain.tracked()
    release(slurm, new[0])
    assert {res["status"] for res in finish(chain, wait=True, timeout=60)} == {"ok"}
    assert (chain.path / "c").read_text() == "one\ntwo\nthree\n"
