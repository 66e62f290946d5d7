"""What real versions of Slurm printed, and mutations of it to throw at parsers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

DATA = Path(__file__).resolve().parent.parent / "data"
VERSIONS = ("22.05", "24.11")
_MARK = "##### "
#: what parsers of Slurm's notation may stumble over
_SNAGS = (
    *"|\x1f\n=%_+.[]-:;, ",
    "_[5-3]",
    "_[1,3,...]",
    "...",
    "JobId=",
    "JobId=1",
    "\n12|RUNNING|",
    "Submitted batch job ",
    "4294967294",
    "9" * 400,
    "nan",
    "inf",
    "٣",
    "\udcff",
)


@cache
def _sections(program: str, version: str) -> dict[str, str]:
    text = (DATA / f"{program}-{version}.txt").read_text(encoding="utf-8")
    parts = ("\n" + text).split(f"\n{_MARK}")[1:]
    return {title: body + "\n" for title, _, body in (part.partition("\n") for part in parts)}


def capture(program: str, version: str, title: str) -> str:
    """Return what a program printed, once, in one situation."""
    return _sections(program, version)[title].removesuffix("\n")


def captures(program: str) -> list[str]:
    """Return all that a program printed, in any version."""
    return [text for version in VERSIONS for text in _sections(program, version).values()]


def log_names(version: str) -> list[dict[str, Any]]:
    """Return names of logs: as scontrol showed them, and as the node wrote them."""
    rows: list[dict[str, Any]] = json.loads((DATA / f"logs-{version}.json").read_text())
    return rows


@st.composite
def mutations(draw: st.DrawFn, program: str) -> str:
    """Return something like what a program printed, with pieces cut out and put in."""
    text = draw(st.sampled_from(captures(program)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = draw(st.integers(start, min(start + 40, len(text))))
        piece = draw(st.sampled_from(_SNAGS) | st.text(max_size=10))
        text = text[:start] + piece + text[stop:]
    return text


def garbage(program: str) -> st.SearchStrategy[str]:
    """Return what a broken or strange program might print."""
    snags = st.lists(st.sampled_from(_SNAGS) | st.text(max_size=5)).map("".join)
    return mutations(program) | snags | st.text()
