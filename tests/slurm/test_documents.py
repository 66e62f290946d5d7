"""What the documentation says to type is typed, and what it shows is what comes of it."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.documents import NotExecuted, read_page, type_page

_DOCS = ROOT / "docs"
_PAGES = [*sorted((_DOCS / "how-to").glob("*.md")), _DOCS / "for-datalad-run-users.md"]
_HOW_TO = [page for page in _PAGES if "```console" in page.read_text()]
_TUTORIAL = _DOCS / "tutorial.md"
#: Blocks that no test can execute; each gives its reason.
_NOT_EXECUTED = 4


def _name(page: Path) -> str:
    return page.stem


@pytest.mark.parametrize("page", _HOW_TO, ids=_name)
def test_a_page_says_what_happens_in_a_new_dataset(page, box, tmp_path):
    # as after `datalad create -c text2git`
    with (box.path / ".gitattributes").open("a") as attributes:
        attributes.write("* annex.largefiles=(mimeencoding=binary)and(largerthan=0)\n")
    box.git("commit", "-qam", "Text goes into git")
    type_page(page.read_text(), box.path, tmp_path.resolve())


def test_the_tutorial_says_what_happens_in_an_empty_home(tmp_path):
    type_page(_TUTORIAL.read_text(), tmp_path, tmp_path.resolve())


def test_few_commands_are_left_out():
    steps = chain.from_iterable(read_page(page.read_text()) for page in [*_HOW_TO, _TUTORIAL])
    left_out = [step.reason for step in steps if isinstance(step, NotExecuted)]
    assert len(left_out) <= _NOT_EXECUTED, left_out
