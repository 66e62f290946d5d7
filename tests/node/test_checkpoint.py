"""The runner for work with checkpoints, run by bash without Slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from datalad_slurm.jobs.checkpoints import Checkpoint
from datalad_slurm.jobs.runner_options import RunnerOptions
from datalad_slurm.node.runner import NodePlan, build
from datalad_slurm.node.states import read_kept
from tests.conftest import wait_until

pytestmark = pytest.mark.timeout(600)


class Run:
    """A place for a job, its dataset and its store."""

    def __init__(self, path):
        self.path = path
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
        env = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_RESTART_COUNT": str(restart)}
        env |= {"SLURM_ARRAY_TASK_ID": str(index)} if index is not None else {}
        return subprocess.Popen(
            ["env", "--default-signal", path],
            env={**os.environ, **env, "PATH": f"{self.path}/bin:{os.environ['PATH']}"},
            cwd=self.root,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

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
    wait_until(run.kept, 30)
    os.killpg(job.pid, signal.SIGKILL)
    subprocess.run(["pkill", "-KILL", "-g", str(job.pid)], check=False)
    job.wait(timeout=60)
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
    wait_until(run.kept, 30)
    job.kill()
    subprocess.run(["tar", "-xf", run.store / run.kept()[0], "-C", run.path], check=True)
    assert (run.path / "state").read_text().split()[-1] == "60"


def test_asked_for_one_the_program_writes_it_and_goes_on(run):
    job = run.start(COUNT)
    assert job.stdout.readline() == b"from 0\n"
    time.sleep(1)
    job.send_signal(signal.SIGUSR1)
    wait_until(run.kept, 30)
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


def test_told_to_end_it_leaves_a_state_that_the_next_attempt_begins_with(run):
    job = run.start(f"#!/bin/bash\ncat > count.py <<'E'\n{COUNT}E\n{sys.executable} count.py\n")
    assert job.stdout.readline() == b"from 0\n"
    for attempt, restart in ((1, 1), (2, 0)):
        time.sleep(1.5)
        os.killpg(job.pid, signal.SIGTERM)  # as Slurm does it
        _end_all(run)
        out = job.communicate(timeout=60)[0]
        before = int(run.state())
        # bash has ended by the signal: that it was written in one go is not certain
        assert b"may be half written" in out or len(run.kept()) == 1
        job = run.start(COUNT, attempt=attempt, restart=restart)
        assert job.stdout.readline() == f"from {before}\n".encode()
    job.terminate()
    job.communicate(timeout=60)
    assert len(run.kept()) == 1
    assert run.kept()[0].startswith("state.0002.0000.")


def _end_all(run):
    """Send SIGTERM to all processes of the job, as Slurm does it."""
    for environ in os.scandir("/proc"):
        if environ.name.isdigit():
            try:
                with open(f"/proc/{environ.name}/environ", "rb") as file:
                    is_own = f"SLURM_JOB_ID={os.getpid()}".encode() in file.read().split(b"\0")
                if is_own:
                    os.kill(int(environ.name), signal.SIGTERM)
            except OSError:
                continue
