"""What parameters may be; checked before anything happens."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any

from datalad_next.constraints import Constraint, EnsureBool, EnsureDataset
from datalad_next.constraints.exceptions import ConstraintError

from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.names import JobName

if TYPE_CHECKING:
    from datalad_slurm.jobs.table import Table

__all__ = [
    "EnsureJobIds",
    "EnsureParallelJobs",
    "EnsureRetries",
    "EnsureSeconds",
    "EnsureSignal",
    "EnsureTable",
    "EnsureTexts",
    "EnsureWholeSeconds",
    "dataset_with_repository",
    "one_job",
    "one_view",
    "only_retry",
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
        is_one = isinstance(value, JobName) or not isinstance(value, list | tuple)
        items = (value,) if is_one else value
        return tuple(self._name(item) for item in items)

    def _name(self, item: Any) -> JobName:
        text = str(item).strip()
        try:
            name = JobName.parse(text)
        except ValueError:
            said = "'{item}' is no id of a Slurm job, such as 4711, 4711_3 or '4711;cluster'"
            self.raise_for(item, said, item=item)
        return name

    def short_description(self) -> str:
        """Return what is expected, for documentation."""
        return "Slurm job id or list of them"


class EnsureRetries(EnsureJobIds):
    """Ensure names of Slurm jobs, or the word ``all``."""

    def _name(self, item: Any) -> Any:
        return item if item == "all" else super()._name(item)

    def short_description(self) -> str:
        """Return what is expected, for documentation."""
        return "Slurm job id, 'all', or list of them"


def only_retry(**kwargs: Any) -> None:
    """Refuse, beside ``retry``, what is about commits."""
    given = [name for name, value in kwargs.items() if value not in (None, False)]
    own = [name for name in ("retry_with", "max_attempts") if name in given]
    if own and not kwargs["retry"]:
        said = f"--{own[0].replace('_', '-')} is of use with --retry only"
        raise ConstraintError(EnsureRetries(), kwargs, said)
    others = [name for name in given if name not in ("retry", *own)]
    if kwargs["retry"] and others:
        said = ", ".join(f"--{name.replace('_', '-')}" for name in others)
        said = said.replace("--revision", "REVISION")
        raise ConstraintError(
            EnsureRetries(), kwargs, f"--retry is about open jobs, and does not go with {said}"
        )


def one_view(**kwargs: Any) -> None:
    """Refuse two forms of a report at once, and a choice of jobs where none is made."""
    given = [name for name, value in kwargs.items() if value not in (None, False)]
    views = [name for name in given if name in ("text", "html", "history")]
    if len(views) > 1:
        said = " and ".join(f"--{name}" for name in views)
        raise ConstraintError(EnsureTexts(), kwargs, f"{said} are two reports; ask for one")
    choice = [f"--{name}" for name in given if name not in views]
    if choice and views and views != ["text"]:
        raise ConstraintError(
            EnsureTexts(), kwargs, f"{', '.join(choice)} is of use for the table only"
        )


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


class EnsureTable(Constraint):
    """Ensure a table, from the path of a file, ``-`` for standard input, or a list of rows."""

    def __call__(self, value: Any) -> Table:
        """Return the table."""
        from datalad_slurm.jobs.table import read_table, table_of

        try:
            if not isinstance(value, str | os.PathLike):
                return table_of(value)
            if os.fspath(value) == "-":
                return read_table(sys.stdin.buffer.read(), "standard input")
            return read_table(Path(value).read_bytes(), os.fspath(value))
        except (OSError, ValueError) as exc:
            said = getattr(exc, "strerror", None) or str(exc)
            self.raise_for(value, "cannot read {file}: {said}", file=value, said=said)
        except (InvalidRequestError, TypeError) as exc:
            self.raise_for(value, "{said}", said=str(exc))
        raise AssertionError("raise_for has returned")

    def short_description(self) -> str:
        """Return what is expected, for documentation."""
        return "path of a table, or list of dictionaries"


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


class EnsureWholeSeconds(EnsureSeconds):
    """Ensure a whole number of seconds from 0, or None."""

    def __call__(self, value: Any) -> int | None:
        """Return the number."""
        number = super().__call__(value)
        if number is not None and not number.is_integer():
            self.raise_for(value, "must be a whole number of seconds")
        return None if number is None else int(number)

    def short_description(self) -> str:
        """Return what is expected, for documentation."""
        return "whole number of seconds"


class EnsureSignal(Constraint):
    """Ensure a signal that asks for a checkpoint, by its name or number."""

    def __call__(self, value: Any) -> str:
        """Return its name, without SIG."""
        from datalad_slurm.jobs.checkpoints import SIGNALS

        text = str(value).strip().upper().removeprefix("SIG")
        with suppress(ValueError):
            text = Signals(int(text)).name.removeprefix("SIG")
        if text not in SIGNALS:
            said = "must be one of {names}, not {given}"
            self.raise_for(value, said, names=", ".join(SIGNALS), given=value)
        return text

    def short_description(self) -> str:
        """Return what is expected, for documentation."""
        return "signal"


def dataset_with_repository(purpose: str) -> Any:
    """Return the constraint for the dataset a command works on."""
    return EnsureDataset(installed=True, purpose=purpose)


def one_job(**kwargs: Any) -> None:
    """Refuse what cannot be said together with the id of a job that is to be tracked."""
    job_id = kwargs["job_id"]
    needs = (
        ("node_local_dir", "node_local"),
        ("checkpoint_signal", "checkpoint"),
        ("pack_only", "pack"),
    )
    for option, needed in needs:
        if kwargs[option] and not kwargs[needed]:
            names = (f"--{name.replace('_', '-')}" for name in (option, needed))
            said = "{} is of use with {} only".format(*names)
            raise ConstraintError(EnsureBool(), kwargs, said)
    if job_id is not None and (kwargs["cmd"] or len(job_id) != 1):
        raise ConstraintError(
            EnsureJobIds(), kwargs, "--job-id takes the id of one job, and no command with it"
        )
    if job_id is not None and job_id[0].indices:
        raise ConstraintError(EnsureJobIds(), kwargs, "--job-id takes the id of a whole array")
    if job_id is not None and (kwargs["checkpoint"] or kwargs["grace"] is not None):
        said = "--job-id tracks a job as it was submitted, so it takes no --checkpoint or --grace"
        raise ConstraintError(EnsureJobIds(), kwargs, said)
    if kwargs["table"] is not None and (kwargs["then_finish"] or kwargs["then_push"]):
        said = "--then-finish is for one job; `slurm-finish --wait` waits for those of a table"
        raise ConstraintError(EnsureTable(), kwargs, said)
    if job_id is not None and (kwargs["dry_run"] or kwargs["expand"] or kwargs["table"]):
        said = "--job-id submits nothing, so it takes no --dry-run, --expand or --table"
        raise ConstraintError(EnsureJobIds(), kwargs, said)
