"""The configuration under ``datalad.slurm.``, and what counts of ``datalad.run.``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from datalad_slurm.jobs.environment import Keep
from datalad_slurm.jobs.errors import InvalidRequestError

__all__ = ["Configuration", "Settings"]


class Configuration(Protocol):
    """What is used of datalad's `ConfigManager`."""

    def get(self, var: str, default: Any = None) -> Any:
        """Return the value of a configuration variable."""

    def get_from_source(self, source: str, key: str, default: Any = None) -> Any:
        """Return its value in the ``local`` configuration, or that of the ``branch``."""


class Settings(NamedTuple):
    """What users can configure; all times in seconds."""

    #: until a query to Slurm counts as failed
    query_timeout: float = 120.0
    #: until the tracking database counts as locked
    database_timeout: float = 60.0
    #: to wait for another process that finishes jobs
    finish_timeout: float = 600.0
    #: to wait for outputs that a file system shows late
    latency_wait: float = 5.0
    #: before a time limit, to end a job that runs in a directory of its node
    grace: int = 120
    #: finish although another process claims to be at it
    take_over: bool = False
    #: between two commits of `slurm-archive --dataset`
    archive_interval: float = 300.0
    #: whether jobs note how they end: "always", "never", or "auto", without accounting
    exit_marker: str = "auto"
    #: how much of the environment of a submission is kept
    archive_environment: Keep = Keep.FILTERED
    #: options of sbatch for jobs that finish others
    finish_job_options: str = "--ntasks=1 --mem=1000 --time=2:00:00"
    #: ``datalad.run.record-sidecar``: whether records get files of their own
    record_sidecar: bool | None = None
    #: ``datalad.run.record-directory``: where those lie, relative to the root
    record_directory: str = ".datalad/runinfo"

    @classmethod
    def read(cls, config: Configuration) -> Settings:
        """Return the settings in a dataset's configuration.

        Raises
        ------
        InvalidRequestError
            When a value is not of its kind.
        """
        defaults = cls()
        return cls(
            query_timeout=_seconds(config, "query-timeout", defaults.query_timeout),
            database_timeout=_seconds(config, "database-timeout", defaults.database_timeout),
            finish_timeout=_seconds(config, "finish-timeout", defaults.finish_timeout),
            latency_wait=_seconds(config, "latency-wait", defaults.latency_wait),
            archive_interval=_seconds(config, "archive-interval", defaults.archive_interval),
            grace=int(_seconds(config, "grace", defaults.grace)),
            take_over=_flag(config, "datalad.slurm.take-over") is True,
            exit_marker=_choice(
                config, "exit-marker", ("auto", "always", "never"), defaults.exit_marker
            ),
            archive_environment=_archive_environment(config),
            finish_job_options=_finish_job_options(config, defaults.finish_job_options),
            record_sidecar=_flag(config, "datalad.run.record-sidecar"),
            record_directory=_record_directory(config, defaults.record_directory),
        )


def _seconds(config: Configuration, name: str, default: float) -> float:
    value = config.get(f"datalad.slurm.{name}")
    if value is None:
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < float("inf"):
        raise InvalidRequestError(
            f"configuration datalad.slurm.{name} must be a number of seconds, not {value!r}"
        )
    return number


def _flag(config: Configuration, name: str) -> bool | None:
    value = config.get(name)
    return None if value is None else str(value).lower() in ("1", "true", "yes", "on")


def _choice(config: Configuration, name: str, choices: Sequence[str], default: str) -> str:
    value = str(config.get(f"datalad.slurm.{name}") or default)
    if value not in choices:
        told = f"{', '.join(choices[:-1])} or {choices[-1]}"
        raise InvalidRequestError(
            f"configuration datalad.slurm.{name} must be {told}, not {value!r}"
        )
    return value


def _archive_environment(config: Configuration) -> Keep:
    name = "archive-environment"
    keep = Keep(_choice(config, name, [each.value for each in Keep], Keep.FILTERED.value))
    own = config.get_from_source("local", f"datalad.slurm.{name}")
    if keep is Keep.FULL and own != Keep.FULL.value:
        return Keep.FILTERED  # nobody's secrets are given away by somebody else's dataset
    return keep


def _finish_job_options(config: Configuration, default: str) -> str:
    value = config.get("datalad.slurm.finish-job-options")
    if value is None:
        return default
    options = str(value)
    if options.strip():
        from datalad_slurm.jobs.sbatch_options import split_words

        if not split_words(options):
            raise InvalidRequestError(
                "configuration datalad.slurm.finish-job-options cannot be split into words: "
                f"{options!r}"
            )
    return options


def _record_directory(config: Configuration, default: str) -> str:
    directory = config.get("datalad.run.record-directory")
    if not directory:
        return default
    from datalad_slurm.jobs.record import is_inside

    if not is_inside(directory):
        raise InvalidRequestError(
            f"configuration datalad.run.record-directory is outside the dataset: {directory}"
        )
    return str(directory)
