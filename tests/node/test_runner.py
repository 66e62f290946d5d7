"""The batch script that is submitted in place of the user's, run by bash without Slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from datalad_slurm.jobs.checkpoints import Checkpoint
from datalad_slurm.jobs.node_local import NodeLocal
from datalad_slurm.jobs.runner_options import RunnerOptions
from datalad_slurm.node.runner import (
    NodePlan,
    Stage,
    build,
    cannot_be_wrapped,
    script_in,
    submitted_as,
)
from tests.conftest import wait_until

JOB = {"SLURM_JOB_ID": "12", "SLURMD_NODENAME": "n1", "SLURM_CLUSTER_NAME": "c1"}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def endings(tmp_path):
    directory = tmp_path / "it's the endings"
    directory.mkdir()
    return directory


@pytest.fixture
def start(endings, tmp_path):
    """Return a function that starts a script in a runner, or bare."""

    def start(script, *args, bare=False, env=(), **options):
        path = tmp_path / "slurm_script"
        script = script.encode() if isinstance(script, str) else script
        path.write_bytes(script if bare else build(script, endings, ["job.sh"]))
        path.chmod(0o700)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        env = {**os.environ, **JOB, "TMPDIR": str(tmp_path), **dict(env)}
        # bash cannot trap what was ignored before, as in the background of a shell
        command = ["env", "--default-signal", path, *args]
        return subprocess.Popen(command, env=env, start_new_session=True, **pipes)

    return start


def notes(endings, name="12.0.ended"):
    return dict(line.split("=", 1) for line in (endings / name).read_text().splitlines())


@pytest.mark.parametrize(
    ("ending", "code", "noted"),
    [
        ("true", 0, "0:0"),
        ("exit 3", 3, "3:0"),
        ("exit 128", 128, "128:0"),
        ("exit 143", 143, "143:0"),
        ("exit 255", 255, "255:0"),
        ("kill -TERM $$", -15, "0:15"),
        ("kill -KILL $$", -9, "0:9"),
        ("kill -INT $$", -2, "0:2"),
        ("kill -SEGV $$", -11, "0:11"),
        ("kill -PIPE $$", -13, "0:13"),
        ("kill -TERM 0", -15, "0:15"),
        ("sleep 0.3; exit 137", 137, "137:0"),
        ("sleep 0.3; kill -USR1 $$", -10, "0:10"),
    ],
)
def test_it_ends_as_the_script_does_and_notes_it(start, endings, tmp_path, ending, code, noted):
    begun = int(time.time())
    job = start(f"#!/bin/bash\n{ending}\n")
    out, err = job.communicate(timeout=60)
    assert (job.returncode, out, err) == (code, b"", b"")
    found = notes(endings)
    assert found["exit_code"] == noted
    assert (found["job"], found["node"], found["cluster"]) == ("12", "n1", "c1")
    assert begun <= int(found["start"]) <= int(found["end"]) <= time.time()
    assert (endings / "12.0.began").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["it's the endings", "slurm_script"]


def test_the_script_gets_arguments_and_streams_as_without_it(start):
    job = start("#!/bin/sh\nprintf '<%s>' \"$@\"; cat; echo e >&2", "a b", "", "*", stdin=-1)
    out, err = job.communicate(b"in", timeout=60)
    assert out == b"<a b><><*>in"
    assert err == b"e\n"


def test_any_interpreter_with_an_argument_runs_it(start):
    script = f"#! {sys.executable} -I -B\nimport sys\nprint(sys.flags.isolated, sys.argv[1:])"
    assert start(script.replace(" -B", ""), "x").communicate(timeout=60)[0] == b"1 ['x']\n"
    # the kernel makes one argument of all that comes after the interpreter
    out, _ = start("#!/bin/echo a  b \n", "c").communicate(timeout=60)
    assert out.startswith(b"a  b /")
    assert out.endswith(b"/slurm_script c\n")


def test_every_byte_of_the_script_arrives(start, endings):
    body = bytes(range(1, 256)) + b"\n$(x) `y` '\\\nEND_OF_THE_JOB_SCRIPT\n@size@ '@end@' %b \xff"
    job = start(b"#!/bin/cat\n" + body)
    out, _ = job.communicate(timeout=60)
    assert out == b"#!/bin/cat\n" + body


PROBE = f"""#!{sys.executable} -IS
import os, resource, signal
environment = {{k: v for k, v in os.environb.items() if k != b"_"}}
pid = environment.pop(b"SLURM_TASK_PID", None)
found = [
    *sorted(environment.items()),
    pid == str(os.getpid()).encode(),
    os.getcwd(), os.umask(0), os.getpriority(0, 0), os.getpgrp() == os.getpid(),
    signal.pthread_sigmask(0, ()),
    [(n, signal.getsignal(n)) for n in signal.valid_signals()],
    [resource.getrlimit(n) for n in range(16)],
]
print(*found, sep="\\n")
"""


@pytest.mark.parametrize(
    "more", [{}, {"SHELLOPTS": "errexit:xtrace"}, {"SHLVL": "3", "BASH_ENV": "/x", "file": "f"}]
)
def test_the_script_finds_what_it_finds_without_it(start, more):
    env = {"SLURM_TASK_PID": "1", "BASH_FUNC_f%%": "() {  :\n}", "CDPATH": "/", "a.b": "c"}
    env |= {"SHLVL": "1", "PWD": os.getcwd(), **more}
    bare, within = (start(PROBE, bare=b, env=env).communicate(timeout=60) for b in (True, False))
    expected = bare[0].replace(b"\nFalse\n", b"\nTrue\n", 1)
    # exported shell options cannot be handed on unchanged, so they are left out
    expected = expected.replace(b"(b'SHELLOPTS', b'errexit:xtrace')\n", b"")
    assert expected
    assert within[0].splitlines() == expected.splitlines()
    assert within[1] == bare[1]


def test_open_files_are_those_of_the_job(start):
    probe = "#!/bin/sh\nls /proc/self/fd\n"
    bare, within = (start(probe, bare=b).communicate(timeout=60) for b in (True, False))
    assert within == bare


LISTENER = """#!/bin/bash
for name in HUP INT QUIT USR1 USR2 TERM CONT XCPU; do trap "echo $name" $name; done
trap 'echo TERM; exit 5' TERM
echo ready
while :; do sleep 0.05; done
"""


def ready(job):
    assert job.stdout.readline() == b"ready\n"
    # whatever else the runner does before that, it has done when its sentinel runs
    wait_until(lambda: sentinels(job))


def sentinels(job):
    """Return the processes by which the runner learns that a signal was to the whole job."""
    return [pid for pid in tree(job.pid) if "2147483647" in _command(pid)]


def _command(pid):
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def _stat(pid):
    """Return state and the rest of what proc(5) tells of a process; clock ticks are 11 and 12."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [""]


def test_a_signal_to_the_batch_shell_reaches_the_script_at_once(start, endings):
    job = start(LISTENER)
    ready(job)
    for name in ("USR1", "HUP", "INT", "QUIT", "CONT", "XCPU", "USR1"):
        job.send_signal(getattr(signal, f"SIG{name}"))
        assert job.stdout.readline() == f"{name}\n".encode()
    job.terminate()
    out, err = job.communicate(timeout=60)
    assert (out, err, job.returncode) == (b"TERM\n", b"", 5)
    found = notes(endings)
    assert found["exit_code"] == "5:0"
    assert [word.partition(":")[0] for word in found["received"].split()] == [
        *("USR1", "HUP", "INT", "QUIT", "CONT", "XCPU", "USR1", "TERM")
    ]


def test_signals_that_come_together_all_reach_the_script(start):
    job = start(LISTENER)
    ready(job)
    for names in (("CONT", "USR1"), ("XCPU", "USR1"), ("CONT", "XCPU"), ("QUIT", "CONT")) * 3:
        for name in names:
            job.send_signal(getattr(signal, f"SIG{name}"))
        printed = {job.stdout.readline() for _ in names}
        assert printed == {f"{name}\n".encode() for name in names}
    job.terminate()
    assert job.communicate(timeout=60)[0] == b"TERM\n"


def tree(pid):
    """Return the processes that descend from one, as proctrack/linuxproc finds them."""
    pids = [pid]
    for each in pids:
        with suppress(FileNotFoundError):  # it has ended
            pids += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
    return pids


@pytest.mark.parametrize("name", ["USR1", "TERM"])
def test_a_signal_to_the_whole_job_reaches_the_script_once(start, name):
    job = start(LISTENER.replace("exit 5", "sleep 1; exit 5"))
    ready(job)
    for _ in range(2 if name == "USR1" else 1):
        before = sentinels(job)
        # the runner last, lest it waits in vain for the others if this process is slow
        for pid in reversed(tree(job.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, getattr(signal, f"SIG{name}"))
        assert job.stdout.readline() == f"{name}\n".encode()
        if name == "USR1":
            # it starts another sentinel where it would pass the signal on
            wait_until(lambda before=before: set(sentinels(job)) - set(before))
    if name == "USR1":
        os.killpg(job.pid, signal.SIGTERM)
    out, _ = job.communicate(timeout=60)
    assert out == (b"TERM\n" if name == "USR1" else b"")
    assert job.returncode == 5


def test_a_script_without_traps_dies_of_the_signal(start, endings):
    job = start("#!/bin/bash\necho ready\nsleep 60\n")
    ready(job)
    job.terminate()
    assert job.wait(timeout=60) == -15
    assert notes(endings)["exit_code"] == "0:15"
    assert notes(endings)["received"].startswith("TERM:")


@pytest.mark.parametrize("script", ["sleep 60", "trap 'exit 143' TERM; sleep 60 & wait"])
def test_slurm_signal_that_reaches_the_script_first_is_noted_all_the_same(start, endings, script):
    job = start(f"#!/bin/bash\necho ready\n{script}\n")
    ready(job)
    for pid in reversed(tree(job.pid)[1:]):
        os.kill(pid, signal.SIGTERM)
    time.sleep(1)  # a busy node
    job.terminate()
    assert job.wait(timeout=60) in (-15, 143)
    assert notes(endings)["received"].startswith("TERM:")


def test_a_script_that_was_stopped_goes_on(start, endings):
    job = start("#!/bin/bash\necho ready\nkill -STOP $$\nexit 4\n")
    ready(job)
    # it says that it is ready before it stops itself
    wait_until(lambda: any(_stat(pid)[0] == "T" for pid in tree(job.pid)))
    assert sum(map(int, _stat(job.pid)[11:13])) < 50
    for pid in tree(job.pid)[1:]:
        os.kill(pid, signal.SIGCONT)
    assert job.wait(timeout=60) == 4


def test_killed_with_all_its_processes_it_has_only_begun(start, endings):
    job = start("#!/bin/bash\ntrap '' TERM\necho ready\nsleep 60\n")
    ready(job)
    job.terminate()
    wait_until(lambda: notes(endings, "12.0.began")["received"].startswith("TERM:"))
    for pid in tree(job.pid):
        os.kill(pid, signal.SIGKILL)
    job.wait(timeout=60)
    assert [p.name for p in endings.iterdir()] == ["12.0.began"]


def test_tasks_and_restarts_have_notes_of_their_own(start, endings):
    env = {"SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}
    start("#!/bin/sh\n", env=env | {"SLURM_RESTART_COUNT": "2"}).wait(timeout=60)
    assert sorted(p.name for p in endings.iterdir()) == ["12_3.2.began", "12_3.2.ended"]
    assert notes(endings, "12_3.2.ended")["job"] == "15"


def test_without_a_place_for_notes_or_a_temporary_directory_the_script_still_runs(start, endings):
    endings.rmdir()
    job = start("#!/bin/sh\necho x; exit 3", env={"TMPDIR": "/nowhere"})
    assert job.communicate(timeout=60) == (b"x\n", b"")
    assert job.returncode == 3


def test_the_head_of_the_script_comes_first_and_whole(endings):
    head = b"#SBATCH -J x\n\n  # c\n#BB y\n#SBATCH --time=1"
    script = b"#!/bin/sh\n" + head + b"\necho\n#SBATCH -J no\n"
    built = build(script, endings, ["job.sh"])
    assert built.startswith(b"#!/bin/bash -p\n" + head + b"\n# ---\n")


def test_what_it_was_submitted_as_can_be_read_again(endings):
    words = ["--wrap", "a\nb 'c'", "\udcff"]
    built = build(b"#!/bin/sh\n", endings, words)
    assert submitted_as(built.decode()) == words
    assert submitted_as('#!/bin/sh\n# sbatch ["job.sh"]\n') is None


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (b"#!/bin/sh\n#SBATCH -n1\nx\n", ""),
        (b"#!/bin/sh\nx\n#SBATCH hetjob\n", ""),
        (b"", "#!"),
        (b"echo\n", "#!"),
        (b"#!\n", "#!"),
        (b"#!/bin/sh\r\nx\r\n", "line breaks"),
        (b"#!/bin/sh\n\0", "text"),
        (b"#!/bin/sh\n#SBATCH hetjob\n#SBATCH -n1\nx\n", "heterogeneous"),
        (b"#!/bin/sh\n#SBATCH -n1 --container=/x\n", "container"),
        (b"#!/bin/sh\n" + b"#" * 2**22, "too large"),
    ],
)
def test_what_cannot_be_wrapped_is_told(script, said):
    problem = cannot_be_wrapped(script)
    assert said in problem
    assert bool(problem) == bool(said)


def test_the_text_of_a_runner(endings):
    """The whole of it, to be looked at when it changes: tests/data/runner.bash."""
    script = b"#!/usr/bin/env python3\n#SBATCH --time=5\n\nprint('x')\n"
    built = build(script, Path("/ds/.git/datalad-slurm/endings/token"), ["-n1", "job.py", "a b"])
    assert built.decode() == (Path(__file__).parent.parent / "data" / "runner.bash").read_text()


@pytest.mark.parametrize(
    ("name", "node_local", "checkpoint"),
    [
        ("node-local", NodeLocal("/scratch/$USER/x"), None),
        (
            "checkpoint",
            None,
            Checkpoint(("state",), "USR2", ("it's a[*]", "s-[\ue0003a]/[\ue000x].h5")),
        ),
    ],
)
def test_the_text_of_a_runner_that_does_more(name, node_local, checkpoint):
    """The whole of it: tests/data/runner-*.bash."""
    script = b"#!/usr/bin/env python3\n#SBATCH --time=5\n\nprint('x')\n"
    store = "/ds/.git/datalad-slurm/stores/token"
    outputs = ("out", "it's/*.cs[v]", "sub-[\ue0003a]/**")
    plan = NodePlan(
        RunnerOptions(120, node_local, checkpoint),
        root="/ds",
        store=store,
        kill_wait=30,
        attempt=2,
        stage=Stage(f"{store}/token.inputs.tar", 123, outputs, may_compress=True)
        if node_local
        else None,
        pwd="sub",
        limit=300,
    )
    endings = Path("/ds/.git/datalad-slurm/endings/token")
    built = build(script, endings, ["-n1", "job.py", "a b"], plan)
    golden = Path(__file__).parent.parent / "data" / f"runner-{name}.bash"
    assert built.decode() == golden.read_text()
    assert script_in(built) == script
    assert submitted_as(built.decode()) == ["-n1", "job.py", "a b"]


@pytest.mark.parametrize(
    "script",
    [
        b"#!/bin/sh\necho 1\n",
        b"#!/bin/sh\necho 1",
        b"#!/bin/sh\n#SBATCH -n 1\ncat <<END_OF_THE_JOB_SCRIPT\n\nEND_OF_THE_JOB_SCRIPT\n\n\n",
        b"#!/usr/bin/env python3\nprint('\xff')\n",
    ],
)
def test_the_script_in_a_runner_is_found_again(script, tmp_path):
    runner = build(script, tmp_path, ["job.sh"])
    assert script_in(runner) == script
    assert script_in(script) == script
