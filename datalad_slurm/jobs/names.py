"""How a person names a job: by its id, with tasks of an array, and its cluster where needed."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from datalad_slurm.jobs.errors import InvalidRequestError, JobNotTrackedError
from datalad_slurm.jobs.model import SlurmJob, TaskStatus, TrackedJob
from datalad_slurm.jobs.tasks import TaskId, expand_index_list, format_index_list

__all__ = ["JobName", "names_of", "select_jobs", "select_tasks"]

#: sbatch(1), --parsable: "12" or "12;c1"; and tasks as squeue has them: "12_3", "12_[1-5,8]"
_NAME = re.compile(r"(\d{1,18})(?:_(?:(\d{1,9})|\[([\d,:-]+)\]))?(?:;([\w.-]+))?", re.ASCII)


class JobName(NamedTuple):
    """Id of a Slurm job, with its cluster or, when that is empty, without.

    Without a cluster it stands for the only job of that id, whatever its cluster.
    """

    job_id: int
    cluster: str = ""
    #: of an array, the tasks that are meant; empty for the whole job
    indices: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> JobName:
        """Return the name that a text is, as ``sbatch --parsable`` prints it, with array tasks.

        Raises
        ------
        ValueError
            When it is none.
        """
        match = _NAME.fullmatch(text)
        if match is None or int(match[1]) < 1:
            raise ValueError(f"{text!r} is no id of a Slurm job")
        indices = set(expand_index_list(match[2] or match[3])) if match[2] or match[3] else ()
        return cls(int(match[1]), match[4] or "", tuple(sorted(indices)))

    def __str__(self) -> str:
        """Return the name as it is typed."""
        tasks = f"_[{format_index_list(list(self.indices))}]" if self.indices else ""
        if len(self.indices) == 1:
            tasks = f"_{self.indices[0]}"
        return f"{self.job_id}{tasks}" + (f";{self.cluster}" if self.cluster else "")


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


def select_tasks(
    jobs: Iterable[TrackedJob], names: Iterable[JobName]
) -> dict[int, frozenset[TaskId]]:
    """Return the tasks that are named, by the tracked job, where not the whole job is.

    Parameters
    ----------
    jobs : iterable of TrackedJob
        What `select_jobs` has chosen by these names.
    names : iterable of JobName
        The names.

    Raises
    ------
    JobNotTrackedError
        When a task is named that is not one of the open ones.
    """
    names = list(names)
    whole = {name.job_id for name in names if not name.indices}
    named = {TaskId(name.job_id, index) for name in names for index in name.indices}
    chosen: dict[int, frozenset[TaskId]] = {}
    is_open: set[TaskId] = set()
    for job in jobs:
        open_tasks = set(job.tasks)
        is_open |= open_tasks
        is_whole = not named or any(each.job_id in whole for each in job.slurm_jobs)
        if not is_whole:
            chosen[job.id] = frozenset(named & open_tasks)
    if missing := sorted(named - is_open):
        raise JobNotTrackedError(
            f"no open task {', '.join(map(str, missing[:10]))} in this dataset; `datalad "
            "slurm-finish --list-open-jobs` shows the jobs there are"
        )
    return chosen


def names_of(job: TrackedJob, tasks: Sequence[TaskStatus]) -> list[JobName]:
    """Return how a job is named, or, where these are not all of its open tasks, how they are."""
    cluster = job.slurm_jobs[0].cluster
    if len(tasks) >= len(job.tasks):
        return [JobName(job.job_id, cluster)]
    indices: defaultdict[int, list[int]] = defaultdict(list)
    for task in tasks:
        indices[task.task.job_id].append(task.task.index)
    return [JobName(job_id, cluster, tuple(found)) for job_id, found in indices.items()]


def _ambiguous(name: JobName, found: Sequence[SlurmJob], own_cluster: Callable[[], str]) -> str:
    clusters = [slurm_job.cluster or own_cluster() for slurm_job in found]
    forms = " or ".join(f"'{JobName(name.job_id, cluster, name.indices)}'" for cluster in clusters)
    return (
        f"jobs {name.job_id} of the clusters {' and '.join(clusters)} are open in this dataset; "
        f"name the one that is meant as Slurm writes it with --parsable: {forms}"
    )
