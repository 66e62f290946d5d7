"""The pages of commands, which Sphinx makes of their classes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.test_parameters import COMMANDS, options

pytest.importorskip("sphinx")

from changelog_fragments import render as render_changelog
from datalad_commands import render


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_tells_every_option_what_it_is_for_and_an_example(name):
    page = render(name.replace("_", "-"))
    for action in options(name).values():
        for spelled in action.option_strings or [action.metavar]:
            assert re.search(rf"(option}} |, ){re.escape(spelled)}\b", page["Command line"])
    assert page[""].count("\n\n") >= 1
    assert f"datalad {name.replace('_', '-')}" in page["Examples"]
    assert f"datalad.api.{name}(" in page["Python"]
    assert "result_renderer" not in "".join(page.values())


def test_what_is_no_markdown_is_shown_as_it_is():
    page = render("slurm-schedule")
    assert r"'\*', '?', '\[a-c\]'" in page["Command line"]
    assert r"\{inputs\}" in page[""]
    assert "`datalad run`" in page[""]


def test_fragments_of_the_changelog_are_listed_by_kind(tmp_path: Path):
    for name, text in {
        "+b.fixed.md": "One.\nTwo.\n",
        "12.added.md": "New.\n",
        "+a.fixed.md": "Zero.\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert render_changelog(tmp_path.glob("*.md")) == (
        "**Added**\n\n- New.\n\n**Fixed**\n\n- Zero.\n- One.\n  Two.\n"
    )
