"""What the documentation says to type is typed, and what it shows is what comes of it."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.documents import NotExecuted, read_page, type_page

_DOCS = ROOT / "docs"
_TUTORIAL = _DOCS / "tutorial.md"
_PAGES = sorted({*_DOCS.glob("*.md"), *_DOCS.glob("how-to/*.md")} - {_TUTORIAL})
_IN_A_DATASET = [page for page in _PAGES if "```console" in page.read_text()]
#: Pages with commands that no test types, by their names, and why.
_ONLY_READ = {
    "site-archive": "for administrators: it runs as root or as slurmctld's user, beside slurmctld",
}
_INDENTED_COMMAND = re.compile(r"^ {4,}(\$ )?(datalad|git annex) ", re.M)
#: Blocks that no test can execute; each gives its reason.
_NOT_EXECUTED = 4


def _name(page: Path) -> str:
    return page.stem


@pytest.mark.parametrize("page", _IN_A_DATASET, ids=_name)
def test_a_page_says_what_happens_in_a_new_dataset(page, box, tmp_path):
    # as after `datalad create -c text2git`
    with (box.path / ".gitattributes").open("a") as attributes:
        attributes.write("* annex.largefiles=(mimeencoding=binary)and(largerthan=0)\n")
    box.git("commit", "-qam", "Text goes into git")
    type_page(page.read_text(), box.path, tmp_path.resolve())


def test_the_tutorial_says_what_happens_in_an_empty_home(tmp_path):
    type_page(_TUTORIAL.read_text(), tmp_path, tmp_path.resolve())


def test_few_commands_are_left_out():
    steps = chain.from_iterable(read_page(page.read_text()) for page in [*_IN_A_DATASET, _TUTORIAL])
    left_out = [step.reason for step in steps if isinstance(step, NotExecuted)]
    assert len(left_out) <= _NOT_EXECUTED, left_out


def test_commands_of_datalad_stand_where_they_are_typed():
    only_read = [page.stem for page in _PAGES if _INDENTED_COMMAND.search(page.read_text())]
    assert only_read == list(_ONLY_READ)
