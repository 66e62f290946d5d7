"""Fill docs/performance.md, and draw its picture, from the results."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from _bench import report
from _bench.environments import CHECKOUT, prepare_plot
from _bench.goals import judged
from _bench.processes import BenchError, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from _bench.results import Results

DOCUMENT = CHECKOUT / "docs" / "performance.md"
RESULTS = DOCUMENT.with_suffix(".json")
_PICTURE = DOCUMENT.with_suffix(".svg")
#: milliseconds a call, and jobs, of the price list
PRICE = 1.0
PRICED_JOBS = 10_000


def write_document(results: Results, cache: Path, say: Callable[[str], None]) -> None:
    """Write the tables into the document, and draw the picture beside it."""
    DOCUMENT.write_text(filled(DOCUMENT.read_text(), regions(results)))
    python = prepare_plot(cache, say)
    rows = json.dumps([row.as_dict() for row in results.rows])
    script = CHECKOUT / "tools" / "_bench" / "plot.py"
    env = {"HOME": str(cache), "MPLBACKEND": "svg", "PYTHONDONTWRITEBYTECODE": "1"}
    run([python, script, _PICTURE], env=env, cwd=cache, stdin=rows)
    say(f"wrote {DOCUMENT} and {_PICTURE}")


def regions(results: Results) -> dict[str, str]:
    """Return what the document is to say, by the name of the place."""
    rows = results.rows
    return {
        "machine": report.markdown(report.machine(results.machine)),
        "goals": report.markdown(report.goals(judged(rows), rows)),
        "noise": report.noise(rows),
        "prices": report.markdown(report.prices(rows, PRICE, PRICED_JOBS)),
        "measurements": report.markdown(report.measurements(rows)),
    }


def filled(text: str, contents: Mapping[str, str]) -> str:
    """Return a document with what stands between the comments of each region replaced.

    Raises
    ------
    BenchError
        When it lacks one of them.
    """
    for name, content in contents.items():
        pattern = rf"(<!-- bench: {name} -->\n).*?(<!-- bench: end -->)"
        text, count = re.subn(
            pattern, lambda m, new=content: f"{m[1]}\n{new}\n\n{m[2]}", text, flags=re.DOTALL
        )
        if count != 1:
            raise BenchError(f"the document has {count} regions `bench: {name}`, not one")
    return text
