"""The file that keeps what was measured, over several runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from _bench.goals import judged
from _bench.measure import Row
from _bench.processes import BenchError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass
class Results:
    """What is known; a scenario's rows are of one run."""

    machine: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read a file.

        Raises
        ------
        BenchError
            When there is none, or it is no such file.
        """
        try:
            known = json.loads(path.read_text())
            return cls(known["machine"], [Row.from_dict(row) for row in known["rows"]])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BenchError(f"cannot read results from {path}: {error!r}") from error

    def replace(self, rows: Iterable[Row], order: Iterable[str]) -> None:
        """Take in the rows of scenarios that were measured again; they come in an order."""
        new = list(rows)
        measured = {row.scenario for row in new}
        kept = [row for row in self.rows if row.scenario not in measured]
        places = {name: place for place, name in enumerate(order)}
        self.rows = sorted(kept + new, key=lambda row: places[row.scenario])

    def write(self, path: Path) -> None:
        known = {
            "machine": self.machine,
            "goals": [verdict.as_dict() for verdict in judged(self.rows)],
            "rows": [row.as_dict() for row in self.rows],
        }
        path.write_text(json.dumps(known, indent=1) + "\n")
