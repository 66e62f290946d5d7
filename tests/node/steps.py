"""Runners that kill themselves at one of their steps."""

from __future__ import annotations

import re


class KilledAt:
    """A change to the text of a runner, after which it kills itself before its n-th step.

    A step is a command whose line, which is no later part of a pipeline or list, matches `step`,
    from the line on that begins with `begin`.
    """

    def __init__(self, number: int, step: re.Pattern[str], begin: str) -> None:
        self._number, self._step, self._begin = number, step, begin
        #: how many steps there are, once it was applied
        self.steps = 0

    def __call__(self, text: str) -> str:
        """Return the text with that change."""
        lines, is_inside, is_joined = [], False, False
        for line in text.split("\n"):
            is_inside = is_inside or line.startswith(self._begin)
            if is_inside and not is_joined and self._step.match(line):
                if self.steps == self._number:
                    lines.append("    kill -KILL $$ $BASHPID")
                self.steps += 1
            is_joined = line.endswith(("\\", "|", "&&", "||"))
            lines.append(line)
        return "\n".join(lines)
