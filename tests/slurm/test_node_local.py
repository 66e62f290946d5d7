"""`--node-local`: a job's work runs in a directory of its node."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.conftest import Box, wait_until
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import ODD_NAMES, finish, schedule

_QUIET = {"result_renderer": "disabled", "on_failure": "ignore"}
NO_UTF8 = os.fsdecode(b"\xff\xfe")


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Return what the jobs of a test take for the temporary directory of their node."""
    path = tmp_path / "node"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


def stage(box, cmd, outputs=("out",), **kwargs):
    return schedule(box, cmd, outputs, node_local=True, **kwargs)


def stores(box):
    directory = box.path / ".git/datalad-slurm/node-local"
    return sorted(p.name for p in directory.glob("*/*")) if directory.exists() else []


def assert_clean(box, node):
    assert list(node.iterdir()) == []
    assert stores(box) == []
    assert box.status() == ""
    assert not (box.path / ".git/datalad-slurm/incoming").exists()
    assert box.git("annex", "fsck", "--quiet") == ""


def messages(results):
    return [res.get("message", "") for res in results if res["status"] not in ("ok", "notneeded")]


def log(box, job):
    return (box.path / f"slurm-{job}.out").read_text()


def test_the_work_runs_on_its_node_with_its_inputs_as_files_and_leaves_nothing(box, slurm, node):
    (box.path / "sub/data").mkdir(parents=True)
    (box.path / "sub/data/annexed").write_bytes(os.urandom(100_000))
    (box.path / "sub/tool").write_text("#!/bin/sh\necho run\n")
    (box.path / "sub/tool").chmod(0o755)
    (box.path / "sub/data/link").symlink_to("annexed")
    box.cli("save", "-m", "data")
    (box.path / "sub/undeclared").write_text("x\n")
    box.script(
        "pwd; ./tool; find . -type l; ls; mkdir -p out/d/e\n"
        "cp data/annexed out/d/copy; ln -s d/copy out/link; ln -s $PWD/data/annexed out/absolute\n"
        "echo x > stray; touch a.csv b.txt; chmod +x b.txt",
        "sub/job.sh",
    )
    results = box.cli(
        "slurm-schedule", "--node-local", "-i", "data", "-i", "tool", "-o", "out", "-o", "*.csv",
        "-o", "?.txt", "sbatch", "job.sh", cwd=box.path / "sub",
    ).stdout  # fmt: skip
    assert "3 input files" in results
    (job,) = box.tracked()
    slurm.wait(job)
    before = (box.path / "sub/data/annexed").read_bytes()
    assert list(node.iterdir()) == []
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, results
    lines = (box.path / f"sub/slurm-{job}.out").read_text().splitlines()
    assert re.fullmatch(rf"{node}/datalad-slurm-{job}\.\w+/tree/sub", lines[0])
    assert lines[1:] == ["run", "data", "tool"]
    assert (box.path / "sub/out/d/copy").read_bytes() == before
    assert os.readlink(box.path / "sub/out/link") == "d/copy"
    assert os.readlink(box.path / "sub/out/absolute") == "../data/annexed"
    assert os.access(box.path / "sub/b.txt", os.X_OK)
    assert box.files_in_last_commit() == {
        *(f"sub/{name}" for name in ("a.csv", "b.txt", "out/absolute", "out/d/copy", "out/link")),
        f"sub/slurm-{job}.out",
        f"sub/slurm-job-{job}.env.json",
    }
    record = record_of(box)
    assert record["pwd"] == "sub"
    assert record["slurm"]["node_local"] == {"grace": 120}
    assert str(node) not in str(record)
    (box.path / "sub/undeclared").unlink()
    assert_clean(box, node)


def test_odd_names_go_and_come_back(box, slurm, node):
    (box.path / "in").mkdir()
    names = [*ODD_NAMES, NO_UTF8, "]", "@", "*", "a[b]c", "x" * 200]
    for name in names:
        (box.path / "in" / name).write_text(f"{name}\n", errors="surrogateescape")
    box.git("-c", "annex.largefiles=nothing", "add", "in")
    box.git("commit", "-qm", "odd names")
    box.script("cp -r in out; cd in; for x in *; do echo 1 >> \"$x\"; done; rm ']' '@'")
    job = stage(box, "sbatch job.sh", ["out", "in/*"], inputs=["in"])
    slurm.wait(job)
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, messages(results)
    assert sorted(os.listdir(box.path / "out")) == sorted(names)
    for name in set(names) - {"]", "@"}:
        assert (box.path / "in" / name).read_bytes() == os.fsencode(f"{name}\n1\n")
    assert not (box.path / "in/]").exists()
    assert not (box.path / "in/@").exists()
    assert not (box.path / "pwned").exists()
    assert_clean(box, node)


def test_inputs_that_are_outputs_are_changed_kept_or_removed(box, slurm, node):
    for name in ("d/kept", "d/changed", "d/gone", "d/moved", "other"):
        (box.path / name).parent.mkdir(exist_ok=True)
        (box.path / name).write_text(f"{name}\n")
    box.cli("save", "-m", "x")
    box.script("echo 1 >> d/changed; rm d/gone other; mv d/moved d/there")
    job = stage(box, "sbatch job.sh", ["d"], inputs=["d", "other"])
    slurm.wait(job)
    (brought,) = (box.path / ".git/datalad-slurm/node-local").glob("*/*.0.tar")
    listed = subprocess.run(["tar", "-tf", brought], check=True, capture_output=True, text=True)
    assert listed.stdout.split() == ["removed", "tree/d/changed", "tree/d/there"]
    finish(box)
    assert sorted(os.listdir(box.path / "d")) == ["changed", "kept", "there"]
    assert (box.path / "d/changed").read_text() == "d/changed\n1\n"
    assert (box.path / "other").exists()
    changed = {path for path in box.files_in_last_commit() if not path.startswith("slurm-")}
    assert changed == {"d/changed", "d/gone", "d/moved", "d/there"}
    assert_clean(box, node)


def test_each_task_of_an_array_has_a_directory_and_an_archive(box, slurm, node):
    (box.path / "in").write_text("1\n")
    box.cli("save", "-m", "x")
    box.script(
        "cat in > sub-$SLURM_ARRAY_TASK_ID\nls > common/$SLURM_ARRAY_TASK_ID\n"
        "[ $SLURM_ARRAY_TASK_ID != 3 ] || { while [ ! -e $1 ]; do sleep 0.1; done; }"
    )
    go = box.path / ".git/go"
    script = f"sbatch --array=1-3 job.sh {go}"
    (box.path / "common").mkdir()
    (box.path / "common/keep").write_text("")
    box.cli("save", "-m", "x")
    job = stage(box, script, ["sub-%a", "common"], inputs=["in", "common/keep"])
    wait_until(lambda: {f"{job}_{n}.0.brought" for n in (1, 2)} <= {*stores(box)})
    results = finish(box, partial=True)
    assert {"sub-1", "sub-2"} <= box.files_in_last_commit()
    assert "common/1" not in box.files_in_last_commit()
    go.touch()
    slurm.wait(job)
    results = finish(box)
    assert {res["status"] for res in results} <= {"ok", "notneeded"}, messages(results)
    assert {"sub-3", "common/1", "common/2", "common/3"} <= box.files_in_last_commit()
    assert (box.path / "common/2").read_text().split() == ["common", "in", "sub-2"]
    assert_clean(box, node)


def test_a_dataset_that_is_reached_through_a_link(box, slurm, node, tmp_path):
    (tmp_path / "link").symlink_to(box.path)
    linked = Box(tmp_path / "link")
    box.script("echo x > out; pwd", "sub/job.sh")
    linked.cli(
        "slurm-schedule", "--node-local", "-o", "out", "sbatch", "-D", str(linked.path / "sub"),
        "sub/job.sh", cwd=linked.path,
    )  # fmt: skip
    (job,) = box.tracked()
    slurm.wait(job)
    # the job runs where -D says, and so writes elsewhere than what was declared
    results = finish(linked)
    assert any("nothing" in said for said in messages(results))
    assert (box.path / f"sub/slurm-{job}.out").read_text().strip().endswith("/tree/sub")


CUT = """
trap 'echo TERM >> got; sleep 0.5; echo done >> got; exit 0' TERM
echo begun > got
while :; do sleep 0.1; done
"""
DEAF = "trap '' TERM; echo begun > got\nwhile :; do date +%s.%N >> got; sleep 0.1; done"


def test_a_job_that_is_cancelled_brings_back_what_it_has(box, slurm, node):
    box.script(CUT, "polite.sh")
    box.script(DEAF, "deaf.sh")
    box.script(CUT.replace("exit 0", "exit 0").replace("got", "again"), "requeued.sh")
    box.script("echo begun > plain; sleep 600", "plain.sh")
    polite = stage(box, "sbatch polite.sh", ["got"])
    wait_until(lambda: f"{polite}.0.begun" in stores(box))
    jobs = {
        "polite": polite,
        "requeued": stage(box, "sbatch --requeue requeued.sh", ["again"]),
        "plain": stage(box, "sbatch plain.sh", ["plain"]),
    }
    slurm.wait(*jobs.values(), until="RUNNING".__eq__)
    for name in ("got", "again", "plain"):
        wait_until(lambda name=name: [*node.glob(f"*/tree/{name}")])
    slurm.run("scontrol", "requeue", str(jobs["requeued"]))
    slurm.run("scancel", str(polite), str(jobs["plain"]))
    slurm.wait(polite, jobs["plain"])
    results = {res.get("slurm_job_id"): res for res in finish(box)}
    for job in (polite, jobs["plain"]):
        assert (
            "its outputs are here, as they were when it was told to end" in results[job]["message"]
        )
    finish(box, polite, accept_failed_jobs=True)
    assert (box.path / "got").read_text() == "begun\nTERM\ndone\n"
    finish(box, jobs["plain"], close_failed_jobs=True)
    assert not (box.path / "plain").exists()
    wait_until(lambda: f"{jobs['requeued']}.0.brought" in stores(box))
    slurm.run("scancel", str(jobs["requeued"]))
    finish(box, accept_failed_jobs=True)
    assert (box.path / "again").read_text() == "begun\nTERM\ndone\n"
    (box.path / f"slurm-{jobs['plain']}.out").unlink()
    assert_clean(box, node)
