"""The pages of reference that are written by hand tell all that there is."""

from __future__ import annotations

import re

from datalad_slurm import command_suite
from datalad_slurm.jobs.facts import job_facts
from datalad_slurm.jobs.model import JobStatus
from datalad_slurm.jobs.record import RunRecord
from datalad_slurm.jobs.states import JobState
from datalad_slurm.tracking.schema import STATEMENTS
from tests.conftest import ROOT
from tests.unit.builders import array, known
from tests.unit.test_facts import FACTS, PLAIN

_REFERENCE = ROOT / "docs" / "reference"
_CODE = re.compile(r"`([^`\n]+)`")


def _sections(page: str) -> list[str]:
    return re.split(r"^## ", (_REFERENCE / page).read_text(), flags=re.MULTILINE)


def _first_column(text: str) -> set[str]:
    cells = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    return {word for cell in cells for word in _CODE.findall(cell)}


def test_each_command_has_a_page():
    commands = {name for _, _, name, _ in command_suite[1]}
    assert {page.stem for page in _REFERENCE.glob("slurm-*.md")} == commands


def test_each_state_is_in_the_section_of_its_class():
    words = {state.value for state in JobState}
    going, well, badly = (
        {word for word in _CODE.findall(section) if word in words}
        for section in _sections("states.md")[1:4]
    )
    assert going == {state.value for state in JobState if not state.has_ended}
    assert well == {"COMPLETED"}
    assert badly == words - going - well


def test_each_key_of_a_record_is_told():
    keys = set(RunRecord("sbatch job.sh", "id", 1).content())
    assert _first_column(_sections("record.md")[1]) == keys


def test_each_fact_in_a_record_is_told():
    one = job_facts(PLAIN, JobStatus((known("COMPLETED", **FACTS),)))
    several = job_facts(PLAIN, array("COMPLETED", "FAILED"))
    assert one.keys() | several.keys() <= _first_column(_sections("record.md")[2])


def test_each_table_of_the_database_is_told():
    tables = re.findall(r"CREATE TABLE (\w+)", " ".join(STATEMENTS))
    assert _first_column(_sections("database.md")[0]) == set(tables)
