"""Everything in this folder runs on the real Slurm of the testbed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.slurm.disk import mounted

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(autouse=True)
def _on_real_slurm(slurm) -> None:
    """Give every test here the testbed, whether it names it or not."""


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
