"""Directive ``changelog-fragments``: what the next release brings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

_FRAGMENTS = Path(__file__).parent.parent.parent / "changelog.d"
_KINDS = ("added", "changed", "fixed", "removed")


def render(fragments: Iterable[Path]) -> str:
    """Return fragments as a list in Markdown for each kind that there is.

    The kind of a fragment is the suffix before ``.md``, as CHANGELOG.md explains.
    """
    by_kind: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for fragment in sorted(fragments):
        kind = fragment.suffixes[-2].lstrip(".")
        by_kind[kind].append(fragment.read_text().strip())
    lines = []
    for kind, texts in by_kind.items():
        if texts:
            lines += [f"**{kind.capitalize()}**", ""]
            lines += ["- " + text.replace("\n", "\n  ") for text in texts]
            lines += [""]
    return "\n".join(lines)


class ChangelogFragments(SphinxDirective):
    """Show the fragments in ``changelog.d``, by kind."""

    def run(self) -> list[nodes.Node]:
        """Return what is shown in the directive's place."""
        fragments = list(_FRAGMENTS.glob("*.md"))
        for path in (_FRAGMENTS, *fragments):
            self.env.note_dependency(str(path))
        return self.parse_text_to_nodes(render(fragments))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("changelog-fragments", ChangelogFragments)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
