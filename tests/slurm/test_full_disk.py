"""The disk is full: it is said, nothing is lost, and with room again all ends well."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from datalad.api import slurm_reschedule, slurm_schedule

from tests.conftest import Box
from tests.crash import Crasher, Ended
from tests.slurm.sweeps import (
    FinishScenario,
    SubmissionScenario,
    copy,
    noted_jobs,
    wait_for_accounting,
)
from tests.slurm.test_schedule import finish, schedule

_SIZE = 128 * 2**20
_FILES = 20_000


class Disk:
    """A small file system that can be filled."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._balloon = root / "balloon"
        self._files = root / "files"

    @property
    def fill_up(self) -> str:
        """Text for a shell that leaves nothing free."""
        return f"cat /dev/zero > {self._balloon} 2> /dev/null"

    def leave(self, number: int, what: str) -> None:
        """Leave some blocks free, of which each file takes one at least, or some inodes."""
        if what == "blocks":
            found = os.statvfs(self.root)
            with self._balloon.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, (found.f_bfree - number) * found.f_bsize)
        else:
            self._files.mkdir()
            with suppress(OSError):
                for made in range(_FILES):
                    (self._files / str(made)).touch()
            for spare in range(number):
                (self._files / str(spare)).unlink()

    def free(self) -> None:
        """Leave everything free."""
        self._balloon.unlink(missing_ok=True)
        shutil.rmtree(self._files, ignore_errors=True)


@pytest.fixture
def disk(tmp_path):
    root = tmp_path.resolve() / "small"
    root.mkdir()
    mount = [
        "mount",
        "-t",
        "tmpfs",
        "-o",
        f"size={_SIZE},nr_inodes={_FILES}",
        "datalad-slurm-test",
        root,
    ]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted: {done.stderr.strip()}")
    yield Disk(root)
    # lazily: a node may still have a log open there
    subprocess.run(["umount", "--lazy", root], check=True)


@pytest.fixture
def box(box, tmp_path):
    # git-annex keeps 100 MB free and would refuse everything
    box.git("config", "annex.diskreserve", "0")
    # and tries for minutes to open databases of its own for which there is no room
    box.git("config", "annex.dbdir", str(tmp_path / "annex-databases"))
    return box


def assert_said(ended: Ended, where: str) -> None:
    """Assert that a command has said what failed, each time in one line."""
    assert ended.code == 1, (where, ended)
    assert "Traceback" not in ended.output, (where, ended.output)
    assert "CallStack" not in ended.output, (where, ended.output)
    errors = [line for line in ended.output.splitlines() if "(error): " in line]
    assert errors, (where, ended.output)


def levels_until(done: Callable[[int, str], bool], what: str) -> int:
    """Leave more and more room, until a command has enough; return how often it was run."""
    for number, left in enumerate(range(0, 400, 4), 1):
        if done(left, what):
            return number
    return pytest.fail(f"there were never enough {what}")


def places_to_fill(steps: tuple[str, ...]) -> list[int]:
    """Return the steps at which it makes a difference that the disk fills."""
    return [at for at, step in enumerate(steps, 1) if step.startswith(("before ", "open"))]


@pytest.mark.faults
def test_a_finish_on_a_full_disk_says_so_and_can_be_repeated(
    box, slurm, disk, tmp_path, count_faults
):
    copy(box.path, disk.root / "ds")
    box = Box(disk.root / "ds")
    scenario = FinishScenario(box, slurm, tmp_path / "original")
    crasher = Crasher(tmp_path / "crash", box.path)

    def finish_with(left: int = -1, what: str = "", at: int = 0) -> bool:
        where = f"{left} {what} left" if what else f"full at step {at}"
        function = scenario.prepare()
        if what:
            disk.leave(left, what)
        ended = crasher.run(function, at, disk.fill_up)
        disk.free()
        is_done = len(noted_jobs(box)) == 1
        if not is_done:
            assert_said(ended, where)
        scenario.check(where)
        return is_done

    points = sum(levels_until(finish_with, what) for what in ("blocks", "inodes"))
    for at in places_to_fill(crasher.run(scenario.prepare()).steps):
        points += 1
        finish_with(at=at)
    count_faults("full-disk points", points)


@pytest.mark.faults
@pytest.mark.parametrize("command", ["schedule", "reschedule"])
def test_a_submission_on_a_full_disk_says_so_and_can_be_repeated(
    box, slurm, disk, tmp_path, command, count_faults
):
    if command == "schedule":
        (box.path / "out").write_text("old\n")
        box.cli("save", "-m", "an output that is unlocked first")

        def submit(box, **how):
            submitting = "sbatch --wrap 'echo new > out'"
            return slurm_schedule(submitting, dataset=box.path, outputs=["out"], **how)
    else:
        job = schedule(box, ["sbatch", "--wrap", "echo new > out"])
        wait_for_accounting(slurm, [job])
        finish(box)

        def submit(box, **how):
            return slurm_reschedule(dataset=box.path, **how)

    scenario = SubmissionScenario(box, slurm, submit, disk.root)
    crasher = Crasher(tmp_path / "crash", disk.root)

    def submit_with(left: int = -1, what: str = "", at: int = 0) -> bool:
        where = f"{left} {what} left" if what else f"full at step {at}"
        function = scenario.prepare()
        if what:
            disk.leave(left, what)
        ended = crasher.run(function, at, disk.fill_up)
        disk.free()
        if ended.code or "(error)" in ended.output:
            assert_said(ended, where)
        scenario.run_again(where)
        return ended.code == 0

    points = sum(levels_until(submit_with, what) for what in ("blocks", "inodes"))
    steps = crasher.run(scenario.prepare()).steps
    scenario.run_again("not full")
    for at in places_to_fill(steps):
        points += 1
        submit_with(at=at)
    scenario.finish_all()
    count_faults("full-disk points", points)


def test_a_file_that_cannot_be_made_is_named_and_nothing_stays_claimed(box, slurm):
    submissions = box.path / ".git/datalad-slurm/submissions"
    submissions.parent.mkdir()
    submissions.touch()
    command = ["slurm-schedule", "-o", "out", "sbatch", "--hold", "--wrap", "true"]
    done = box.cli(*command, code=1)
    assert f"slurm-schedule(error): [Not a directory: {submissions}/" in done.stdout
    submissions.unlink()
    box.cli(*command)
