"""What every flow works on: the repository, the tracked jobs, the settings."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.subdatasets import Hierarchy
from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.names import JobName
from datalad_slurm.slurm.clusters import own_cluster
from datalad_slurm.tracking.earlier import database_name
from datalad_slurm.tracking.store import Tracker
from datalad_slurm.workflow.settings import Configuration, Settings

__all__ = ["STORES", "Context", "Outcome", "default_cluster", "open_context", "open_jobs"]

lgr = logging.getLogger("datalad.slurm")


class _Dataset(Protocol):
    path: str
    id: str | None
    config: Configuration


#: Names, in the state directory, of directories for all that travels to and from runners: of the
#: present one, and of that of earlier versions, whose jobs may still run.
STORES = ("stores", "node-local")


class Outcome(NamedTuple):
    """One result of a flow; a command turns it into a result record."""

    action: str
    #: as in datalad's result records: ok, notneeded, impossible, error
    status: str
    message: str = ""
    #: relative to the dataset's root; None stands for the dataset itself
    path: str | None = None
    type: str = ""
    details: Mapping[str, Any] = MappingProxyType({})


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

    @cached_property
    def dataset_option(self) -> str:
        """What a command that is told to the user needs to find the dataset from here."""
        from datalad.distribution.dataset import get_dataset_root

        here = get_dataset_root(str(Path.cwd()))
        if here is not None and Path(here).resolve() == self.repo.root:
            return ""
        return f"-d {shlex.quote(str(self.dataset.path))} "

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
