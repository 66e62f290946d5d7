"""How a person names a job: by its id, and its cluster where that is needed."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from datalad_slurm.jobs.errors import InvalidRequestError, JobNotTrackedError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob

__all__ = ["JobName", "select_jobs"]

#: sbatch(1), --parsable: "12" or "12;c1"
_NAME = re.compile(r"(\d{1,18})(?:;([\w.-]+))?", re.ASCII)


@dataclass(frozen=True, order=True)
class JobName:
    """Id of a Slurm job, with its cluster or, when that is empty, without.

    Without a cluster it stands for the only job of that id, whatever its cluster.
    """

    job_id: int
    cluster: str = ""

    @classmethod
    def parse(cls, text: str) -> JobName:
        """Return the name that a text is, in the form that ``sbatch --parsable`` prints.

        Raises
        ------
        ValueError
            When it is none.
        """
        match = _NAME.fullmatch(text)
        if match is None or int(match[1]) < 1:
            raise ValueError(f"{text!r} is no id of a Slurm job")
        return cls(int(match[1]), match[2] or "")

    def __str__(self) -> str:
        """Return the name as ``sbatch --parsable`` prints it."""
        return f"{self.job_id};{self.cluster}" if self.cluster else str(self.job_id)


def select_jobs(
    jobs: Sequence[TrackedJob], names: Iterable[JobName], own_cluster: Callable[[], str]
) -> list[TrackedJob]:
    """Return the jobs that are named, in the order of the names, each once.

    Parameters
    ----------
    jobs : sequence of TrackedJob
        To choose from.
    names : iterable of JobName
        The names.
    own_cluster : callable
        Returns the name of the cluster that jobs go to by default. Called
        only where the answer matters.

    Raises
    ------
    JobNotTrackedError
        When a name is that of none.
    InvalidRequestError
        When a name is that of several.
    """
    by_id: defaultdict[int, list[tuple[SlurmJob, TrackedJob]]] = defaultdict(list)
    for job in jobs:
        for slurm_job in job.slurm_jobs:
            by_id[slurm_job.job_id].append((slurm_job, job))
    chosen: dict[int, TrackedJob] = {}
    missing: list[JobName] = []
    for name in dict.fromkeys(names):
        found = {
            job.id: (slurm_job, job)
            for slurm_job, job in by_id.get(name.job_id, ())
            if not name.cluster or name.cluster == (slurm_job.cluster or own_cluster())
        }
        if not found:
            missing.append(name)
        elif len(found) > 1:
            raise InvalidRequestError(
                _ambiguous(name, [slurm_job for slurm_job, _ in found.values()], own_cluster)
            )
        chosen |= {tracked_id: job for tracked_id, (_, job) in found.items()}
    if missing:
        _refuse_replaced(jobs, missing)
        raise JobNotTrackedError(
            f"no open job {', '.join(map(str, missing))} in this dataset; "
            "`datalad slurm-finish --list-open-jobs` shows those there are"
        )
    return list(chosen.values())


def _refuse_replaced(jobs: Sequence[TrackedJob], names: Iterable[JobName]) -> None:
    for name in names:
        for job in jobs:
            if any(entry["slurm_job_id"] == name.job_id for entry in job.attempts):
                raise JobNotTrackedError(
                    f"job {name} was submitted again, and is job {job.slurm_jobs[-1].job_id} now"
                )


def _ambiguous(name: JobName, found: Sequence[SlurmJob], own_cluster: Callable[[], str]) -> str:
    clusters = [slurm_job.cluster or own_cluster() for slurm_job in found]
    forms = " or ".join(f"'{JobName(name.job_id, cluster)}'" for cluster in clusters)
    return (
        f"jobs {name.job_id} of the clusters {' and '.join(clusters)} are open in this dataset; "
        f"name the one that is meant as Slurm writes it with --parsable: {forms}"
    )
