"""The Tab key, by the protocol that argcomplete has with bash."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.conftest import DATALAD

pytest.importorskip("argcomplete")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("datalad slurm-re", {"slurm-report", "slurm-reschedule"}),
        (
            "datalad slurm-schedule --no",
            {"--no-auto-dependency", "--node-local", "--node-local-dir"},
        ),
        ("datalad slurm-finish -l --wa", {"--wait"}),
    ],
)
def test_commands_and_options_are_completed(line, offered, tmp_path):
    env = os.environ | {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "offered"),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    subprocess.run([DATALAD], env=env, check=True, timeout=60)
    assert {word.strip() for word in (tmp_path / "offered").read_text().split("\n")} == offered
