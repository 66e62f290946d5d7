"""Braces in texts in which placeholders stand between them."""

from __future__ import annotations

__all__ = ["literal"]


def literal(text: str) -> str:
    """Return a text as it must be typed to have no placeholder in it."""
    return text.replace("{", "{{").replace("}", "}}")
