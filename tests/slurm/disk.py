"""A small file system that can be filled, and what must hold when it is full."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.crash import Ended

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


@contextmanager
def mounted(root: Path) -> Iterator[Disk]:
    """Mount a small file system for some time; skip the test where that is not allowed."""
    root.mkdir()
    size = f"size={_SIZE},nr_inodes={_FILES}"
    mount = ["mount", "-t", "tmpfs", "-o", size, "datalad-slurm-test", root]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted: {done.stderr.strip()}")
    try:
        yield Disk(root)
    finally:
        # lazily: a node may still have a log open there
        subprocess.run(["umount", "--lazy", root], check=True)


def assert_said(ended: Ended, where: str) -> None:
    """Assert that a command has said what failed, each time in one line."""
    assert ended.code == 1, (where, ended)
    assert "Traceback" not in ended.output, (where, ended.output)
    assert "CallStack" not in ended.output, (where, ended.output)
    errors = [line for line in ended.output.splitlines() if "(error): " in line]
    assert errors, (where, ended.output)


def levels_until(done: Callable[[int, str], bool], what: str, step: int) -> int:
    """Leave more and more room, until a command has enough; return how often it was run."""
    for number, left in enumerate(range(0, 400, step), 1):
        if done(left, what):
            return number
    return pytest.fail(f"there were never enough {what}")


def places_to_fill(steps: tuple[str, ...]) -> list[int]:
    """Return the steps at which it makes a difference that the disk fills."""
    return [at for at, step in enumerate(steps, 1) if step.startswith(("before ", "open"))]
