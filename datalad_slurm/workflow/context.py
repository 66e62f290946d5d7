"""What every flow works on: the repository, the tracked jobs, the settings."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.subdatasets import Hierarchy
from datalad_slurm.jobs.environment import Keep
from datalad_slurm.jobs.errors import InvalidRequestError, QueryFailedError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.names import JobName
from datalad_slurm.slurm.clusters import own_cluster
from datalad_slurm.tracking.earlier import database_name
from datalad_slurm.tracking.store import Tracker

__all__ = [
    "STORES",
    "Context",
    "Outcome",
    "Settings",
    "default_cluster",
    "open_context",
    "open_jobs",
]

lgr = logging.getLogger("datalad.slurm")


class _Configuration(Protocol):
    def get(self, var: str, default: Any = None) -> Any:
        """Return the value of a configuration variable."""

    def get_from_source(self, source: str, key: str, default: Any = None) -> Any:
        """Return its value in the ``local`` configuration, or that of the ``branch``."""


class _Dataset(Protocol):
    path: str
    id: str | None
    config: _Configuration


@dataclass(frozen=True)
class Settings:
    """Configuration under ``datalad.slurm.``; all times in seconds."""

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
    def read(cls, config: _Configuration) -> Settings:
        """Return the settings in a dataset's configuration.

        Raises
        ------
        InvalidRequestError
            When a value is not of its kind.
        """

        def seconds(name: str, default: float) -> float:
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

        def flag(name: str) -> bool | None:
            value = config.get(name)
            return None if value is None else str(value).lower() in ("1", "true", "yes", "on")

        exit_marker = str(config.get("datalad.slurm.exit-marker") or cls.exit_marker)
        if exit_marker not in ("auto", "always", "never"):
            raise InvalidRequestError(
                "configuration datalad.slurm.exit-marker must be auto, always or never, not "
                f"{exit_marker!r}"
            )
        keep = str(config.get("datalad.slurm.archive-environment") or Keep.FILTERED.value)
        if keep not in {each.value for each in Keep}:
            raise InvalidRequestError(
                "configuration datalad.slurm.archive-environment must be none, filtered or full, "
                f"not {keep!r}"
            )
        own = config.get_from_source("local", "datalad.slurm.archive-environment")
        if keep == Keep.FULL.value != own:
            keep = Keep.FILTERED.value  # nobody's secrets are given away by somebody else's dataset
        options = config.get("datalad.slurm.finish-job-options")
        finish_job_options = cls.finish_job_options if options is None else str(options)
        if options is not None and finish_job_options.strip():
            from datalad_slurm.jobs.sbatch_options import split_words

            if not split_words(finish_job_options):
                raise InvalidRequestError(
                    "configuration datalad.slurm.finish-job-options cannot be split into words: "
                    f"{finish_job_options!r}"
                )
        record_directory = config.get("datalad.run.record-directory")
        if record_directory:
            from datalad_slurm.jobs.record import is_inside

            if not is_inside(record_directory):
                raise InvalidRequestError(
                    "configuration datalad.run.record-directory is outside the dataset: "
                    f"{record_directory}"
                )
        return cls(
            query_timeout=seconds("query-timeout", cls.query_timeout),
            database_timeout=seconds("database-timeout", cls.database_timeout),
            finish_timeout=seconds("finish-timeout", cls.finish_timeout),
            latency_wait=seconds("latency-wait", cls.latency_wait),
            archive_interval=seconds("archive-interval", cls.archive_interval),
            grace=int(seconds("grace", cls.grace)),
            take_over=flag("datalad.slurm.take-over") is True,
            exit_marker=exit_marker,
            archive_environment=Keep(keep),
            finish_job_options=finish_job_options,
            record_sidecar=flag("datalad.run.record-sidecar"),
            record_directory=record_directory or cls.record_directory,
        )


#: Names, in the state directory, of directories for all that travels to and from runners: of the
#: present one, and of that of earlier versions, whose jobs may still run.
STORES = ("stores", "node-local")


@dataclass(frozen=True)
class Outcome:
    """One result of a flow; a command turns it into a result record."""

    action: str
    #: as in datalad's result records: ok, notneeded, impossible, error
    status: str
    message: str = ""
    #: relative to the dataset's root; None stands for the dataset itself
    path: str | None = None
    type: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """A dataset at hand."""

    repo: Repo
    tracker: Tracker
    settings: Settings
    dsid: str
    #: for what only datalad's own code can do
    dataset: Any

    @cached_property
    def hierarchy(self) -> Hierarchy:
        """The dataset with its subdatasets."""
        return Hierarchy(self.repo)

    def place_of(self, job: TrackedJob) -> Repo:
        """Return where a job runs: in the dataset, or in a directory that stands for its root."""
        return Repo(Path(job.alt_dir)) if job.alt_dir else self.repo

    def run_directory(self, job: TrackedJob) -> Path:
        """Return the directory in which a job's command runs."""
        return self.place_of(job).root / job.pwd

    @property
    def temporary_directories(self) -> Path:
        """Where each job may have a temporary directory, named by its token.

        They lie in the git directory, which a compute node sees as it sees the
        dataset, and are kept as long as the job is tracked.
        """
        return self.repo.state_dir / "tmp"


def open_jobs(context: Context, names: Iterable[JobName] | None = None) -> list[TrackedJob]:
    """Return the jobs that are named, or all open ones.

    Raises
    ------
    JobNotTrackedError
        When a name is not that of an open job of this dataset.
    InvalidRequestError
        When jobs of several clusters have the id that is named.
    QueryFailedError
        When Slurm does not tell the name of its cluster, and it matters.
    """
    own = partial(own_cluster, context.settings.query_timeout)
    return context.tracker.open_jobs(names, own)


def default_cluster(context: Context) -> str:
    """Return the name of the cluster that jobs go to by default; nothing when it is not told."""
    try:
        return own_cluster(context.settings.query_timeout)
    except QueryFailedError as exc:
        lgr.info("the name of this cluster is not known: %s", exc)
        return ""


def open_context(dataset: Any) -> Context:
    """Return the context of a datalad dataset, with open jobs of an earlier version taken over.

    Raises
    ------
    DataladSlurmError
        When its repository or its tracking database cannot be used.
    """
    repo = Repo(Path(dataset.path).resolve())
    settings = Settings.read(dataset.config)
    tracker = Tracker(repo.state_dir, settings.database_timeout)
    context = Context(repo, tracker, settings, dataset.id or "", dataset)
    earlier = repo.git_dir / database_name(context.dsid)
    if earlier.exists():
        from datalad_slurm.workflow.take_over import take_over

        take_over(context, earlier)
    return context
