"""What parameters may be; checked before anything happens."""

from __future__ import annotations

from typing import Any

from datalad_next.constraints import Constraint, EnsureDataset

from datalad_slurm.jobs.names import JobName

__all__ = [
    "EnsureJobIds",
    "EnsureParallelJobs",
    "EnsureSeconds",
    "EnsureTexts",
    "dataset_with_repository",
]


class EnsureTexts(Constraint):
    """Ensure a tuple of texts, from one text or a list of them."""

    def __call__(self, value: Any) -> tuple[str, ...]:
        """Return the texts."""
        if isinstance(value, str):
            return (value,)
        items = tuple(map(str, value)) if isinstance(value, list | tuple) else None
        if items is None:
            self.raise_for(value, "must be a text or a list of texts")
        return items or ()

    def short_description(self) -> str:
        """Return what is expected, for documentation."""
        return "text or list of texts"


class EnsureJobIds(Constraint):
    """Ensure names of Slurm jobs, from numbers or texts, one or a list of them."""

    def __call__(self, value: Any) -> tuple[JobName, ...]:
        """Return the names."""
        items = value if isinstance(value, list | tuple) else (value,)
        return tuple(self._name(item) for item in items)

    def _name(self, item: Any) -> JobName:
        text = str(item).strip()
        array, underscore, task = text.partition("_")
        if underscore and array.isdigit() and task.isdigit():
            self.raise_for(item, "an array is finished as a whole: name it as {array}", array=array)
        try:
            name = JobName.parse(text)
        except ValueError:
            said = "'{item}' is no id of a Slurm job, such as 4711 or '4711;cluster'"
            self.raise_for(item, said, item=item)
        return name

    def short_description(self) -> str:
        """Return what is expected, for documentation."""
        return "Slurm job id or list of them"


class EnsureParallelJobs(Constraint):
    """Ensure how many downloads may run at a time: a number, or ``auto``."""

    def __call__(self, value: Any) -> int | str | None:
        """Return the number, or ``auto``."""
        text = str(value)
        if value is None or text == "auto":
            return value if value is None else text
        if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or int(text) < 1:
            self.raise_for(value, "must be 'auto' or a number from 1")
        return int(text)

    def short_description(self) -> str:
        """Return what is expected, for documentation."""
        return "number or 'auto'"


class EnsureSeconds(Constraint):
    """Ensure a number of seconds from 0, or None."""

    def __call__(self, value: Any) -> float | None:
        """Return the number."""
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = -1.0
        if not 0 <= number < float("inf"):
            self.raise_for(value, "must be a number of seconds")
        return number

    def short_description(self) -> str:
        """Return what is expected, for documentation."""
        return "number of seconds"


def dataset_with_repository(purpose: str) -> Any:
    """Return the constraint for the dataset a command works on."""
    return EnsureDataset(installed=True, purpose=purpose)
