"""Everything in this folder runs on the real Slurm of the testbed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datalad_slurm.slurm import scontrol
from tests.conftest import TESTBED, Slurm
from tests.slurm.array_tasks import OUTPUTS, SCRIPT
from tests.slurm.disk import mounted
from tests.slurm.test_schedule import schedule

_HERE = Path(__file__).parent


#: Modules that take minutes; what begins last decides how long the whole takes.
_LONG = (
    "test_checkpoints",
    "test_documents",
    "test_no_accounting",
    "test_node_local",
    "test_no_accounting_scripts",
    "test_alt_dir_killed",
    "test_full_disk",
    "test_full_disk_at_finish",
    "test_finish_killed",
    "test_finish_interrupted",
    "test_crash",
    "test_crash_reschedule",
    "test_crash_retry",
    "test_partial_killed",
    "test_lives_of_jobs",
    "test_restarts",
    "test_concurrency",
    "test_alt_dir",
    "test_alt_dir_inputs",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.slurm)
        if item.path.stem in _LONG:
            # minutes become many when the machine has more to do (seconds)
            item.add_marker(pytest.mark.timeout(1500))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if item.path.stem in _LONG:
        return _LONG.index(item.path.stem)
    return len(_LONG) + (_HERE not in item.path.parents)


@pytest.fixture(autouse=True)
def _on_real_slurm(slurm) -> None:
    """Give every test here the testbed, whether it names it or not."""
    # what is kept for a process must not outlive a test with a stand-in
    scontrol._configuration.cache_clear()


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Return a function that puts a script in the place of a program."""
    bin_dir = tmp_path / "stand-in"
    bin_dir.mkdir()

    def place(program, body):
        real = shutil.which(program, path=os.environ["PATH"].replace(f"{bin_dir}:", ""))
        (bin_dir / program).write_text(f"#!/bin/bash\nreal={real}\n{body}\n")
        (bin_dir / program).chmod(0o755)
        monkeypatch.setenv("PATH", str(bin_dir), prepend=":")

    return place


@pytest.fixture
def disk(tmp_path):
    """Return a small file system that can be filled."""
    with mounted(tmp_path.resolve() / "small") as disk:
        yield disk


@pytest.fixture
def roomy_box(box, tmp_path):
    """Return a dataset in which git-annex leaves it to others to look after the disk."""
    # it keeps 100 MB free and would refuse everything
    box.git("config", "annex.diskreserve", "0")
    # and tries for minutes to open databases of its own for which there is no room
    box.git("config", "annex.dbdir", str(tmp_path / "annex-databases"))
    return box


@pytest.fixture
def alt(tmp_path):
    """Return a directory for jobs to run in."""
    path = tmp_path / "alt"
    path.mkdir()
    return path


@pytest.fixture(params=["same file system", "other file system"])
def either(request, alt):
    """Return such a directory on the same file system as the dataset, and on another one."""
    if request.param.startswith("same"):
        yield alt
        return
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no /dev/shm")
    path = Path(f"/dev/shm/alt-{os.getpid()}-{time.time_ns()}")
    path.mkdir()
    yield path
    shutil.rmtree(path)


def _run_testbed(*args):
    subprocess.run([sys.executable, str(TESTBED), *args], check=True, capture_output=True)


@pytest.fixture(scope="module")
def _testbed_without_accounting(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tb")
    _run_testbed("up", "--dir", str(directory), "--no-accounting", "--min-job-age", "3000")
    yield directory
    _run_testbed("down", "--dir", str(directory), "--wipe")


@pytest.fixture
def bare(_testbed_without_accounting, monkeypatch):
    """Return the Slurm without accounting."""
    monkeypatch.setenv("SLURM_CONF", str(_testbed_without_accounting / "etc" / "slurm.conf"))
    return Slurm(_testbed_without_accounting, has_accounting=False)


@pytest.fixture
def chain(box):
    """Return a dataset with three scripts, each of which reads what the one before it writes."""
    box.script("sleep ${2:-0}; echo one > a; exit ${1:-0}", "a.sh")
    box.script("sleep ${2:-0}; mkdir -p b; cat a > b/two && echo two >> b/two", "b.sh")
    box.script("cat b/two > c && echo three >> c", "c.sh")
    return box


@pytest.fixture
def array(box, slurm):
    """Return a function that runs an array of six tasks, of which two fail, and its job."""
    box.script(SCRIPT)

    def run(*outputs, indices="1-6"):
        job = schedule(box, ["sbatch", f"--array={indices}", "job.sh"], [*OUTPUTS, *outputs])
        slurm.wait(job)
        return job

    return run
