"""Change jobs that have not begun: for which others they wait, and whether they wait at all."""

from __future__ import annotations

import re
from collections.abc import Iterable

from datalad_slurm.jobs.dependencies import joined, replaced
from datalad_slurm.slurm.run import DEFAULT_TIMEOUT, query
from datalad_slurm.slurm.scontrol import parse_records

__all__ = ["cancel", "parse_dependency", "wait_for", "wait_for_another"]

#: scontrol(1) adds to each what has become of it, and ``_*`` to the id of an array
_STATE = re.compile(r"(_\*)?\((?:unfulfilled|failed|fulfilled)\)")


def wait_for(
    job_id: int, ids: Iterable[int], cluster: str = "", timeout: float = DEFAULT_TIMEOUT
) -> None:
    """Have a job wait for the success of others, too.

    Raises
    ------
    QueryFailedError
        When slurmctld does not answer, or the job has begun.
    """
    _update(job_id, joined(_dependency(job_id, cluster, timeout), ids), cluster, timeout)


def wait_for_another(
    job_id: int, old: int, new: int, cluster: str = "", timeout: float = DEFAULT_TIMEOUT
) -> bool:
    """Have a job that waits for one job wait for another in its place.

    Returns
    -------
    bool
        False when it does not wait for the first one.

    Raises
    ------
    QueryFailedError
        When slurmctld does not answer, or the job has begun, or is not known.
    """
    before = _dependency(job_id, cluster, timeout)
    after = replaced(before, {old: (new,)})
    if before == after:
        return False
    _update(job_id, after, cluster, timeout)
    return True


def cancel(name: str, cluster: str = "", timeout: float = DEFAULT_TIMEOUT) -> None:
    """Cancel a job, or tasks of it, as far as they have not begun.

    Parameters
    ----------
    name : str
        As for ``scancel``: ``12``, or ``12_[3,5-7]``.
    cluster : str
        Name of the cluster, empty for the default one.
    timeout : float
        Seconds to wait.

    Raises
    ------
    QueryFailedError
        When slurmctld does not answer, or refuses.
    """
    argv = ["scancel", "--state=PENDING", name]
    query([*argv, f"--clusters={cluster}"] if cluster else argv, timeout)


def _update(job_id: int, dependency: str, cluster: str, timeout: float) -> None:
    query(_scontrol(cluster, "update", f"jobid={job_id}", f"dependency={dependency}"), timeout)


def _dependency(job_id: int, cluster: str, timeout: float) -> str:
    return parse_dependency(query(_scontrol(cluster, "show", "job", str(job_id)), timeout))


def _scontrol(cluster: str, *words: str) -> list[str]:
    return ["scontrol", *([f"--clusters={cluster}"] if cluster else []), *words]


def parse_dependency(text: str) -> str:
    """Return for what a job still waits, from what ``scontrol show job`` printed of it."""
    records = parse_records(text)
    said = records[0].get("Dependency", "") if records else ""
    return "" if said == "(null)" else _STATE.sub("", said)
