"""docs/parity.md names tests that exist, and every option there is."""

from __future__ import annotations

import re

import pytest
from datalad.core.local.run import Run
from datalad.local.rerun import Rerun

from tests.conftest import ROOT
from tests.unit.test_faults_document import NAMED, names_in
from tests.unit.test_parameters import COMMANDS, options

_TEXT = (ROOT / "docs" / "parity.md").read_text()
_OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][a-z-]*")
#: options of datalad-slurm 0.2.8
_EARLIER = {
    "slurm-schedule": (
        "-d --dataset -i --input -o --output --expand --assume-ready -m --message "
        "--check-outputs --dry-run -a --alt-dir -J --jobs"
    ),
    "slurm-finish": (
        "--slurm-job-id -m --message -d --dataset -o --output --explicit --close-failed-jobs "
        "--commit-failed-jobs -l --list-open-jobs --branches --octopus -J --jobs"
    ),
    "slurm-reschedule": (
        "--since -m --message --script -d --dataset --report --with-failed-jobs "
        "--assume-ready -a --alt-dir -J --jobs"
    ),
}
#: commands of datalad that are compared with ours
_DATALAD = {"slurm-schedule": Run, "slurm-reschedule": Rerun}


def documented(command, *, missing_only=False):
    """Return the options in the first column of a command's table."""
    table = _TEXT.partition(f"## `datalad {command}`\n")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| ")]
    chosen = [row for row in rows if not missing_only or row[3].startswith(" not here: ")]
    return {option for row in chosen for option in _OPTION.findall(row[1])}


def own(name):
    """Return the options of a command of ours, by its name in Python."""
    return {text for action in options(name).values() for text in action.option_strings}


def test_every_test_that_is_named_exists():
    named = NAMED.findall(_TEXT)
    assert len(named) > 60
    assert [f"{path}::{name}" for path, name in named if name not in names_in(path)] == []


def test_every_row_names_a_test_or_says_what_is_not_here():
    rows = [line for line in _TEXT.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith("| feature ")]
    assert len(rows) > 50
    for row in rows:
        _, feature, _, here, tests, _ = row.split("|")
        assert feature.strip()
        assert here.strip()
        assert NAMED.sub("", tests).strip() == "", row
        assert bool(NAMED.search(tests)) is not here.strip().startswith("not here: "), row


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_ours_and_of_the_earlier_version_has_a_row(name):
    command = name.replace("_", "-")
    assert (own(name) | set(_EARLIER.get(command, "").split())) - documented(command) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_that_is_here_is_said_to_be_missing(name):
    assert own(name) & documented(name.replace("_", "-"), missing_only=True) == set()


@pytest.mark.parametrize("command", _DATALAD)
def test_every_option_of_datalad_run_and_rerun_has_a_row(command):
    parameters = _DATALAD[command]._params_.values()
    theirs = {name for parameter in parameters for name in parameter.cmd_args or ()}
    theirs = {name for name in theirs if name.startswith("-")}
    assert len(theirs) > 10
    assert theirs - documented(command) == set()
