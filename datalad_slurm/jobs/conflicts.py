"""Find, among many claims, one that collides with another: by what they begin with."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from datalad_slurm.jobs.claims import beginning, collide, prefixes

__all__ = ["ClaimIndex"]


class ClaimIndex:
    """Claims, each with the number of its job, sorted by what they begin with.

    Of two claims that collide, one's beginning is a beginning of the other's
    (`datalad_slurm.jobs.claims.beginning`), so that only few need a closer look.
    """

    def __init__(self, claims: Iterable[tuple[str, int]]) -> None:
        self._at: dict[str, list[tuple[str, int]]] = {}
        for claim in claims:
            self._at.setdefault(beginning(claim[0]), []).append(claim)
        self._starts = sorted(self._at)

    def find(self, claim: str) -> tuple[str, int] | None:
        """Return a claim that collides with this one, and its job's number, or None."""
        start = beginning(claim)
        for prefix in prefixes(start)[:-1]:
            for held in self._at.get(prefix, ()):
                if collide(claim, held[0]):
                    return held
        for position in range(bisect_left(self._starts, start), len(self._starts)):
            if not self._starts[position].startswith(start):
                break
            for held in self._at[self._starts[position]]:
                if collide(claim, held[0]):
                    return held
        return None
