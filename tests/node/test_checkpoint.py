"""The runner for work with checkpoints, run by bash without Slurm."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from datalad_slurm.jobs.checkpoints import Checkpoint
from datalad_slurm.jobs.runner_options import RunnerOptions
from datalad_slurm.node.runner import NodePlan, build
from datalad_slurm.node.states import read_kept
from tests.conftest import wait_until
from tests.node.steps import KilledAt

pytestmark = pytest.mark.timeout(600)


class Run:
    """A place for a job, its dataset and its store."""

    def __init__(self, path, job_id=0):
        self.path = path
        self.job_id = job_id or os.getpid()
        self.root, self.store = path / "it's the ds", path / "store"
        for directory in (self.root, self.store, path / "endings", path / "bin"):
            directory.mkdir()
        (path / "bin/squeue").write_text("#!/bin/sh\nexit 1\n")
        (path / "bin/squeue").chmod(0o755)

    def start(
        self, script, *, change=lambda text: text, states=("state",), grace=0, limit=None,
        attempt=1, restart=0, index=None,
    ):  # fmt: skip
        """Start a runner; `change` gets its text."""
        checkpoint = Checkpoint(states, "USR1", states)
        plan = NodePlan(
            RunnerOptions(grace, None, checkpoint),
            root=str(self.root),
            store=str(self.store),
            kill_wait=4,
            attempt=attempt,
            limit=limit,
        )
        text = build(script.encode(), self.path / "endings", ["job.sh"], plan)
        path = self.path / "slurm_script"
        path.write_bytes(change(text.decode()).encode())
        path.chmod(0o700)
        env = {"SLURM_JOB_ID": str(self.job_id), "SLURM_RESTART_COUNT": str(restart)}
        env |= {"SLURM_ARRAY_TASK_ID": str(index)} if index is not None else {}
        return subprocess.Popen(
            # by its interpreter: of another thread, a process may just inherit the open file
            ["env", "--default-signal", "/bin/bash", "-p", path],
            env={**os.environ, **env, "PATH": f"{self.path}/bin:{os.environ['PATH']}"},
            cwd=self.root,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def send_to_all(self, number):
        """Send a signal to all processes of the job, as Slurm does it."""
        own = f"SLURM_JOB_ID={self.job_id}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if own in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), number)

    def kept(self):
        """Return the names of the checkpoints that are whole."""
        return [kept.path.name for kept in read_kept(self.store) if kept.is_whole]

    def state(self, name="state"):
        return (self.root / name).read_text()


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


#: Counts up to 20, one after the other, at the pace of its argument; asked for a checkpoint, or
#: told to end, it writes its state.
COUNT = f"""#!{sys.executable}
import os, signal, sys, time
def save(*_):
    with open("state.part", "w") as part:
        part.write(str(n))
    os.replace("state.part", "state")
def end(*_):
    save()
    sys.exit(0)
n = int(open("state").read()) if os.path.exists("state") else 0
signal.signal(signal.SIGUSR1, save)
signal.signal(signal.SIGTERM, end)
print("from", n, flush=True)
while n < 500:
    n += 1
    time.sleep(0.02)
print("done", flush=True)
"""


def test_a_state_that_rests_is_kept_and_put_back_in_another_attempt(run):
    job = run.start("#!/bin/bash\nprintf %030000d 7 > state; echo ready; sleep 60\n")
    assert job.stdout.readline() == b"ready\n"
    wait_until(run.kept)
    run.send_to_all(signal.SIGKILL)
    job.communicate(timeout=60)
    whole = run.state()
    (run.root / "state").write_text(whole[:100])
    second = run.start("#!/bin/bash\nwc -c < state\n", attempt=2)
    assert second.communicate(timeout=60)[0] == b"30000\n"
    assert run.state() == whole


def test_a_state_that_is_being_written_is_not_kept(run):
    script = "#!/bin/bash\necho ready; for n in {1..60}; do echo $n >> state; sleep 0.1; done\n"
    job = run.start(f"{script}sleep 60\n")
    assert job.stdout.readline() == b"ready\n"
    time.sleep(5)
    assert run.kept() == []
    wait_until(run.kept)
    run.send_to_all(signal.SIGKILL)
    subprocess.run(["tar", "-xf", run.store / run.kept()[0], "-C", run.path], check=True)
    assert (run.path / "state").read_text().split()[-1] == "60"


def test_asked_for_one_the_program_writes_it_and_goes_on(run):
    job = run.start(COUNT)
    assert job.stdout.readline() == b"from 0\n"
    time.sleep(1)
    job.send_signal(signal.SIGUSR1)
    wait_until(run.kept)
    assert 0 < int(run.state()) < 500
    out, _ = job.communicate(timeout=60)
    assert out == b"done\n"
    assert job.returncode == 0


def test_programs_that_do_not_handle_the_signal_do_not_get_it(run):
    script = "#!/bin/bash\necho ready\nsleep 2\nsleep 1; echo end\n"
    job = run.start(script)
    assert job.stdout.readline() == b"ready\n"
    job.send_signal(signal.SIGUSR1)
    out, _ = job.communicate(timeout=60)
    assert out == b"end\n"
    assert job.returncode == 0


def test_asked_before_the_work_has_begun_it_goes_on(run):
    def change(text):
        return text.replace("dls_restore() {\n", "dls_restore() {\n    dls_say asked; sleep 2\n")

    job = run.start("#!/bin/bash\ntrap -p; echo end\n", change=change)
    assert job.stdout.readline() == b"datalad-slurm: asked\n"
    job.send_signal(signal.SIGUSR1)
    out, _ = job.communicate(timeout=60)
    assert (out, job.returncode) == (b"end\n", 0)


def test_shells_that_clean_up_at_their_end_get_the_signal_only_if_they_have_a_trap_for_it(run):
    # for the trap for EXIT bash catches all signals itself, and ends by them
    script = "#!/bin/bash\ntrap 'echo clean' EXIT\n{}\necho ready\n{}sleep 2\necho end\n"
    inner = """bash -c 'trap "echo inner" EXIT; sleep 1; :'\n"""
    for trap, expected in (
        ("#SBATCH --signal=B:USR1@60 # USR1", b"inner\nend\nclean\n"),
        ("trap 'echo asked' USR1", b"inner\nasked\nend\nclean\n"),
    ):
        job = run.start(script.format(trap, inner))
        assert job.stdout.readline() == b"ready\n"
        time.sleep(0.5)
        job.send_signal(signal.SIGUSR1)
        assert job.communicate(timeout=60)[0] == expected
        assert job.returncode == 0


def test_told_to_end_it_leaves_a_state_with_which_the_next_attempt_begins(run):
    # bash ends by the signal, python goes on until its state is written
    (run.root / "count.py").write_text(COUNT)
    job = run.start(f"#!/bin/bash\n{sys.executable} count.py\n")
    assert job.stdout.readline() == b"from 0\n"
    job.send_signal(signal.SIGUSR1)
    wait_until(run.kept)
    for attempt, restart in ((1, 1), (2, 0)):
        time.sleep(1)
        run.send_to_all(signal.SIGTERM)
        assert b"half written" not in job.communicate(timeout=60)[0]
        before = run.state()
        assert len(run.kept()) == 1
        (run.root / "state").write_text("half")
        job = run.start(f"#!/bin/bash\nexec {sys.executable} count.py\n", attempt=attempt,
                        restart=restart)  # fmt: skip
        assert job.stdout.readline() == f"from {before}\n".encode()
    job.terminate()
    job.communicate(timeout=60)
    assert [name[:16] for name in run.kept()] == ["state.0002.0000."]


def test_before_the_limit_it_is_asked_for_one_and_then_told_to_end(run):
    script = COUNT.replace("def save(*_):", "def save(*_):\n    print(_[:1], flush=True)")
    # the runner takes 24 seconds for the limit, so it begins when 12 are left
    job = run.start(script.replace("500", "50000"), grace=100, limit=34)
    began = time.monotonic()
    assert job.stdout.readline() == b"from 0\n"
    assert job.stdout.readline() == f"({int(signal.SIGUSR1)},)\n".encode()
    assert 9 < time.monotonic() - began < 17
    assert job.stdout.readline() == b"()\n"  # at SIGTERM
    assert 15 < time.monotonic() - began < 23
    wait_until(lambda: len(run.kept()) == 1 and "00000002" in run.kept()[0])
    assert job.poll() is None  # Slurm is to end it, and call it TIMEOUT
    wait_until(lambda: job.terminate() or job.poll() is not None)
    assert job.returncode == 1


def test_what_is_written_in_place_when_it_is_killed_is_no_checkpoint(run):
    deaf = "#!/bin/bash\ntrap '' TERM\necho whole > state; sleep 6; echo ready\n"
    job = run.start(f"{deaf}while :; do echo more >> state; sleep 0.05; done\n")
    assert job.stdout.readline() == b"ready\n"
    (before,) = run.kept()
    run.send_to_all(signal.SIGTERM)
    assert b"may be half written" in job.communicate(timeout=60)[0]
    assert run.kept() == [before]


def _moved(name, number):
    return f"echo {number} > {name}.new; mv {name}.new {name}"


@pytest.mark.parametrize(
    ("changes", "kept_one"),
    [
        ("echo more >> state/a", False),
        (_moved("state/a", 2), False),  # of two files one is of another time
        ("rm state/b; " + _moved("state/a", 2), False),
        ("rm state/b; await second; echo new > state/b", False),
        ("rm state/b; await second; " + _moved("state/a", 2), True),
    ],
)
def test_of_a_program_that_is_ended_the_state_counts_if_it_is_one_file_that_was_replaced(
    run, changes, kept_one
):
    begin = """#!/bin/bash
        await() { until [[ -e $1 ]]; do sleep 0.1; done; }
        mkdir state; echo 1 > state/a; echo 1 > state/b; await first
    """
    job = run.start(f"{begin}\n{changes}; echo ready; sleep 60\n")
    wait_until(run.kept)
    first = run.kept()
    (run.root / "first").touch()
    if "second" in changes:
        wait_until(lambda: run.kept() not in ([], first))
        (run.root / "second").touch()
    assert job.stdout.readline() == b"ready\n"
    before = run.kept()
    time.sleep(0.8)  # the last change is seen, mostly, but not quiet
    run.send_to_all(signal.SIGTERM)
    out, _ = job.communicate(timeout=60)
    assert (b"may be half written" in out, run.kept() == before) == (not kept_one, not kept_one)


def test_a_damaged_checkpoint_is_not_used_and_that_is_said(run):
    job = run.start("#!/bin/bash\necho whole > state; sleep 60\n", index=3)
    wait_until(run.kept)
    run.send_to_all(signal.SIGKILL)
    job.communicate(timeout=60)
    (name,) = run.kept()
    assert name.startswith("state_3.0001.0000.")
    older = run.store / name.replace(".0001.", ".0000.")
    shutil.copy(run.store / name, older)
    (run.store / name).write_bytes(b"x")
    job = run.start("#!/bin/bash\ncat state\n", index=3, attempt=2)
    out, _ = job.communicate(timeout=60)
    assert b"is damaged, and not used" in out
    assert out.endswith(b"whole\n")


def test_that_nothing_was_kept_of_the_state_that_is_there_is_said(run):
    (run.root / "state").write_text("left\n")
    said = []
    for attempt, restart in ((1, 0), (1, 1), (2, 0)):
        job = run.start("#!/bin/bash\ncat state\n", attempt=attempt, restart=restart)
        out, _ = job.communicate(timeout=60)
        assert out.endswith(b"left\n")
        said.append(b"may be half written" in out)
    assert said == [False, True, True]


#: Commands of the runner before which it is killed: each step of keeping a state, and of putting
#: it back.
_STEP = re.compile(r"^ +(?:tar |mv |rm |trap '' |sync|printf -v dls_file|if dls_sum|dls_un|\(cd )")


def killed_at(number):
    return KilledAt(number, _STEP, "dls_checkpoint_signal=")


#: A state of two files, of which only one is there for a moment.
STATES = """#!/bin/bash
cat state/{a,b}
mkdir -p state; rm -f state/b; echo %d > state/a; echo %d > state/b
sleep 20
"""


def _outlives(run, number):
    """Return what an attempt finds after two that were killed at a step; nothing without a state.

    The second is killed while it puts back what the first has kept, if not before.
    """
    states = ("state/a", "state/b")
    for attempt in (1, 2):
        change = killed_at(number) if attempt == 2 or run.kept() == [] else lambda text: text
        job = run.start(STATES % (attempt, attempt), change=change, attempt=attempt, states=states)
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline and job.poll() is None:
            time.sleep(0.1)
        run.send_to_all(signal.SIGKILL)
        job.communicate(timeout=60)
    had_one = bool(run.kept())
    (run.root / "state").mkdir(exist_ok=True)
    (run.root / "state/a").write_text("half")
    job = run.start("#!/bin/bash\ncat state/{a,b}\n", attempt=3, states=states)
    out, _ = job.communicate(timeout=60)
    return out if had_one else b""


def test_killed_at_any_step_of_keeping_a_whole_state_is_put_back_or_none(tmp_path, count_faults):
    count = killed_at(-1)
    (tmp_path / "count").mkdir()
    Run(tmp_path / "count").start("#!/bin/bash\n", change=count).communicate(timeout=60)
    runs = []
    for number in range(count.steps):
        (tmp_path / str(number)).mkdir()
        runs.append(Run(tmp_path / str(number), os.getpid() * 100 + number))
    assert len(runs) > 6
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(_outlives, runs, range(len(runs))))
    assert found <= {b"1\n1\n", b"2\n2\n", b""}
    assert len(found) > 1
    count_faults("crash points", 2 * len(runs))
