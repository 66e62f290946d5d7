"""Ask Slurm for the names of clusters."""

from __future__ import annotations

from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.slurm.run import DEFAULT_TIMEOUT, query
from datalad_slurm.slurm.scontrol import configuration

__all__ = ["known_clusters", "own_cluster"]


def own_cluster(timeout: float = DEFAULT_TIMEOUT) -> str:
    """Return the name of the cluster that jobs go to by default.

    Raises
    ------
    QueryFailedError
        When slurmctld does not answer.
    """
    name = configuration(timeout).get("ClusterName")
    if not name:
        raise QueryFailedError("scontrol does not tell the name of this cluster")
    return name


def known_clusters(timeout: float = DEFAULT_TIMEOUT) -> list[str]:
    """Return the names of all clusters of the accounting: what ``--clusters=all`` stands for.

    Raises
    ------
    QueryFailedError
        When the accounting does not answer.
    """
    argv = ["sacctmgr", "--noheader", "--parsable2", "show", "clusters", "format=Cluster"]
    return query(argv, timeout).split()
