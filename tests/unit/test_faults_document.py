"""docs/faults.md names tests that exist, and all tests of the modules that are about faults."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import ROOT

NAMED = re.compile(r"`(tests/\w+/\w+\.py)::(\w+)`")
_TEXT = (ROOT / "docs" / "faults.md").read_text()
_ROWS = [line for line in _TEXT.splitlines() if line.startswith("| ")]
#: modules in which every test is about a fault
_FAULTS = [
    "tests/slurm/test_concurrency.py",
    "tests/slurm/test_crash_reschedule.py",
    "tests/slurm/test_crash_retry.py",
    "tests/slurm/test_finish_interrupted.py",
    "tests/slurm/test_finish_killed.py",
    "tests/slurm/test_full_disk.py",
    "tests/slurm/test_full_disk_at_finish.py",
    "tests/slurm/test_hostile.py",
    "tests/slurm/test_lives_of_jobs.py",
    "tests/slurm/test_outage.py",
    "tests/slurm/test_permissions.py",
    "tests/slurm/test_restarts.py",
    "tests/slurm/test_surroundings.py",
    "tests/slurm/test_umask.py",
]


def names_in(path):
    """Return the names of the tests in a module, without importing it."""
    tree = ast.parse((ROOT / path).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}


def test_every_test_that_is_named_exists():
    named = NAMED.findall(_TEXT)
    assert len(named) > 60
    assert [f"{path}::{name}" for path, name in named if name not in names_in(path)] == []


def test_every_row_names_a_test_and_what_the_user_does():
    rows = [row for row in _ROWS if not row.startswith("| fault ")]
    assert len(rows) > 50
    for row in rows:
        _, fault, happens, does, tests, _ = row.split("|")
        assert fault.strip()
        assert happens.strip()
        assert does.strip()
        assert NAMED.sub("", tests).strip() == "", row
        assert NAMED.search(tests), row


@pytest.mark.parametrize("path", _FAULTS)
def test_no_test_of_a_fault_is_left_out(path):
    named = {name for where, name in NAMED.findall(_TEXT) if where == path}
    assert names_in(path) - named == set()
