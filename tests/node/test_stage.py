"""The runner for work in a directory of its node, run by bash without Slurm."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from datalad_slurm.dataset import zstd
from datalad_slurm.dataset.mirror import Mirror
from datalad_slurm.dataset.node_archive import checked_members, pack
from datalad_slurm.jobs.node_local import NodeLocal
from datalad_slurm.jobs.runner_options import RunnerOptions
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.node.deliveries import read_runs
from datalad_slurm.node.runner import NodePlan, Stage, build
from tests.conftest import wait_until
from tests.node.steps import KilledAt

JOB = {"SLURM_JOB_ID": "12", "SLURMD_NODENAME": "n1", "SLURM_CLUSTER_NAME": "c1"}

pytestmark = pytest.mark.timeout(600)


class Run:
    """A place for a job, its dataset and its store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.node, self.store, self.root = path / "node", path / "it's the store", path / "ds"
        for directory in (self.node, self.store, self.root, self.root / "in", path / "endings"):
            directory.mkdir()
        self.squeue("exit 1")
        for number in range(3):
            (self.root / "in" / f"{number} x").write_text(f"{number}\n")

    def squeue(self, body):
        """Put something in the place of squeue."""
        self.program("squeue", body)

    def program(self, name, body):
        """Put something in the place of a program."""
        program = self.path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/bash\n{body}\n")
        program.chmod(0o755)

    def start(
        self, script, *, change=lambda text: text, env=(), needed=0, pack_it=True, grace=120,
        outputs=("out", "in"), kill_wait=30, limit=None, may_compress=True,
    ):  # fmt: skip
        """Start a runner; `change` gets its text."""
        archive = self.store / "token.inputs.tar"
        if pack_it:
            mirror = Mirror(self.root)
            mirror.add("in")
            pack(mirror, archive, [path for path in mirror.files if path.startswith("in/")])
        plan = NodePlan(
            RunnerOptions(grace, NodeLocal()),
            root=str(self.root),
            store=str(self.store),
            kill_wait=kill_wait,
            limit=limit,
            stage=Stage(
                inputs=str(archive), needed=needed, outputs=outputs, may_compress=may_compress
            ),
        )
        text = build(script.encode(), self.path / "endings", ["job.sh"], plan)
        path = self.path / "slurm_script"
        path.write_bytes(change(text.decode()).encode())
        path.chmod(0o700)
        return subprocess.Popen(
            ["env", "--default-signal", path],
            env={
                **os.environ,
                **JOB,
                "TMPDIR": str(self.node),
                "PATH": f"{self.path}/bin:{os.environ['PATH']}",
                **dict(env),
            },
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def runs(self):
        return read_runs(self.store)[TaskId(12)]

    def names(self):
        """Return what was brought back, and what was removed."""
        delivery = self.runs().delivery
        names, removed = checked_members(
            delivery.archive, delivery.sha256, is_compressed=delivery.is_compressed
        )
        return sorted(names), sorted(removed)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


WORK = "#!/bin/bash\nmkdir out; echo x > out/a; echo 4 >> 'in/0 x'; rm 'in/1 x'\n"


def test_outputs_are_brought_back_and_the_node_is_left_clean(run):
    job = run.start(WORK)
    assert job.communicate(timeout=60)[0] == b""
    assert job.returncode == 0
    assert run.names() == (["in/0 x", "out/a"], ["in/1 x"])
    assert [p.name for p in run.node.iterdir()] == []


@pytest.mark.parametrize("lacks_it", ["", "the login node", "the node"])
def test_what_comes_back_is_compressed_if_both_sides_have_zstd(run, lacks_it):
    if not zstd.is_here():
        pytest.skip("zstd is not installed")
    if lacks_it == "the node":
        run.program("zstd", "exit 127")
    job = run.start(WORK, may_compress=lacks_it != "the login node")
    assert job.communicate(timeout=60)[0] == b""
    delivery = run.runs().delivery
    assert delivery.is_compressed == (not lacks_it)
    assert (delivery.archive.read_bytes()[:4] == b"\x28\xb5\x2f\xfd") == delivery.is_compressed
    assert run.names() == (["in/0 x", "out/a"], ["in/1 x"])


@pytest.mark.parametrize(
    ("program", "body"),
    [
        ("zstd", "[[ $* == -qc ]] || { head -c 100; kill -KILL $$; }"),
        ("tee", 'head -c 100 >"$2"; exit 1'),
        ("tar", '[[ $* == *--create* ]] || exec /usr/bin/tar "$@"; head -c 100 /dev/zero; exit 2'),
    ],
    ids=["zstd", "tee", "tar"],
)
def test_a_pipe_that_breaks_leaves_no_archive_and_the_job_fails(run, program, body):
    run.program(program, body)
    job = run.start(WORK)
    out, _ = job.communicate(timeout=60)
    assert b"could be brought back" in out
    assert job.returncode == 1
    assert [path.name for path in run.store.glob("12.*")] == ["12.0.begun"]


@pytest.mark.parametrize("code", [0, 3, 143])
def test_it_ends_as_the_work_does(run, code):
    job = run.start(f"{WORK}exit {code}\n")
    job.communicate(timeout=60)
    assert job.returncode == code
    assert run.runs().delivery.cut == ""


def test_nothing_at_the_outputs_is_an_empty_archive(run):
    job = run.start("#!/bin/sh\n:\n", outputs=("out", "*.csv"))
    job.communicate(timeout=60)
    assert job.returncode == 0
    assert run.names() == ([], [])


def test_the_same_inputs_make_the_same_archive(run):
    run.start(WORK).wait(timeout=60)
    first = (run.store / "token.inputs.tar").read_bytes()
    run.start(WORK).wait(timeout=60)
    assert (run.store / "token.inputs.tar").read_bytes() == first


@pytest.mark.parametrize(
    ("env", "needed", "said"),
    [
        ({"SLURM_JOB_NUM_NODES": "2"}, 0, "this one has 2: ask for --nodes=1"),
        ({}, 2**50, "MiB free; choose another place"),
    ],
)
def test_what_is_known_on_the_node_only_is_said_there(run, env, needed, said):
    job = run.start(WORK, env=env, needed=needed)
    out, _ = job.communicate(timeout=60)
    assert said in out.decode()
    assert "the job's work was not begun" in out.decode()
    assert job.returncode == 1
    assert list(run.node.iterdir()) == []
    assert run.runs().delivery is None


def test_an_archive_of_inputs_that_is_cut_short_is_said(run):
    run.start(WORK).wait(timeout=60)
    archive = run.store / "token.inputs.tar"
    whole = archive.read_bytes().rstrip(b"\0")
    # tar itself says nothing when all that lacks are whole files
    for size in (0, 1024, 1500, len(whole) - 1):
        archive.write_bytes(whole[:size])
        job = run.start(WORK, pack_it=False)
        out, _ = job.communicate(timeout=60)
        assert b"could not be unpacked" in out, size
        assert job.returncode == 1
        assert list(run.node.iterdir()) == []


def test_outputs_that_cannot_be_brought_back_make_the_job_fail(run):
    job = run.start(f'{WORK}rm -r "{run.store}"\n')
    out, _ = job.communicate(timeout=60)
    assert b"could be brought back" in out
    assert job.returncode == 1


SLOW = """#!/bin/bash
trap 'echo TERM >> out; sleep 0.3; echo done >> out; exit 0' TERM
echo begun > out; echo ready
while :; do sleep 0.05; done
"""


def test_sigterm_gives_the_work_its_time_and_brings_back_what_it_has(run):
    job = run.start(SLOW)
    assert job.stdout.readline() == b"ready\n"
    job.terminate()
    job.communicate(timeout=60)
    assert job.returncode == 0
    assert run.names()[0] == ["out"]
    assert run.runs().delivery.cut == "signal"


def test_work_that_ignores_it_is_killed_with_its_children_and_brought_back(run):
    script = "#!/bin/bash\ntrap '' TERM\n(sleep 99; echo x > out/late) &\nmkdir out\n"
    job = run.start(
        f"{script}echo x > out/a; echo ready\nwhile :; do sleep 0.05; done\n", kill_wait=2
    )
    assert job.stdout.readline() == b"ready\n"
    began = time.monotonic()
    job.terminate()
    job.communicate(timeout=60)
    assert time.monotonic() - began < 20
    assert run.names()[0] == ["out/a"]


def test_the_clock_ends_the_work_before_the_limit_and_the_job_lasts_until_then(run):
    job = run.start(SLOW, limit=18, grace=100)
    began = time.monotonic()
    assert job.stdout.readline() == b"ready\n"
    wait_until(lambda: run.runs().delivery is not None)
    assert run.runs().delivery.cut == "limit"
    assert time.monotonic() - began < 18
    assert job.poll() is None  # Slurm is to end it, and call it TIMEOUT
    job.terminate()
    job.wait(timeout=60)
    assert job.returncode == 1
    assert list(run.node.iterdir()) == []


def test_the_warning_of_slurm_ends_the_work_where_no_limit_is_known(run):
    job = run.start(SLOW, grace=4)
    assert job.stdout.readline() == b"ready\n"
    job.send_signal(signal.SIGURG)
    wait_until(lambda: run.runs().delivery is not None)
    assert run.runs().delivery.cut == "limit"
    job.terminate()
    job.wait(timeout=60)


def test_a_limit_that_was_changed_counts_as_it_is_now(run):
    run.squeue('[[ "$*" == *"-j 12" && $SLURM_TIME_FORMAT == %s ]] && echo $(($(date +%s) + 3000))')
    job = run.start(SLOW, limit=12, grace=100)
    assert job.stdout.readline() == b"ready\n"
    time.sleep(4)  # it was to end after one second
    assert run.runs().delivery is None
    assert job.poll() is None
    run.squeue("echo $(date +%s)")
    job.send_signal(signal.SIGURG)
    wait_until(lambda: run.runs().delivery is not None)
    assert run.runs().delivery.cut == "limit"
    job.terminate()
    job.wait(timeout=60)


def test_a_warning_that_comes_early_waits_for_its_time(run):
    job = run.start(SLOW, limit=3600, grace=10)
    assert job.stdout.readline() == b"ready\n"
    job.send_signal(signal.SIGURG)
    time.sleep(1)
    assert run.runs().delivery is None
    job.terminate()
    job.wait(timeout=60)


#: Commands of the runner before which it is killed: each of one of its steps.
_STEP = re.compile(
    r"^ +(?:dls_\w+=\$\(mktemp|tar |mv |rm |mkdir |printf '%s|read |kill |wait |shopt|: >"
    r"|cd |sleep |dls_(?:unpack|stage_out|settle|bring_back)\b)"
)


def killed_at(number):
    return KilledAt(number, _STEP, "dls_store=")


def test_killed_at_any_of_its_steps_it_leaves_all_or_nothing(run, count_faults):
    count = killed_at(-1)
    run.start(WORK, change=count).wait(timeout=60)
    steps = count.steps
    assert steps > 20
    outcomes = set()
    for number in range(steps):
        for directory in (run.store, run.node, run.path / "endings"):
            shutil.rmtree(directory)
            directory.mkdir()
        job = run.start(WORK, change=killed_at(number))
        job.communicate(timeout=60)
        runs = read_runs(run.store).get(TaskId(12))
        # one shell of the runner may outlive another here: then it says that something is missing
        if runs is not None and runs.delivery is not None and runs.delivery.is_whole:
            assert run.names() == (["in/0 x", "out/a"], ["in/1 x"]), number
            outcomes.add("all")
        else:
            outcomes.add("nothing")
        if job.returncode == 0:
            assert runs is not None
            assert runs.delivery is not None, number
    assert outcomes == {"all", "nothing"}
    count_faults("crash points", steps)
