"""Ask Slurm for the names of clusters."""

from __future__ import annotations

import re

from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.slurm.run import DEFAULT_TIMEOUT, query

__all__ = ["known_clusters", "own_cluster"]

_CLUSTER_NAME = re.compile(r"^ClusterName\s*=\s*(\S+)", re.MULTILINE)


def own_cluster(timeout: float = DEFAULT_TIMEOUT) -> str:
    """Return the name of the cluster that jobs go to by default.

    Raises
    ------
    QueryFailedError
        When slurmctld does not answer.
    """
    match = _CLUSTER_NAME.search(query(["scontrol", "show", "config"], timeout))
    if match is None:
        raise QueryFailedError("scontrol does not tell the name of this cluster")
    return match[1]


def known_clusters(timeout: float = DEFAULT_TIMEOUT) -> list[str]:
    """Return the names of all clusters of the accounting: what ``--clusters=all`` stands for.

    Raises
    ------
    QueryFailedError
        When the accounting does not answer.
    """
    argv = ["sacctmgr", "--noheader", "--parsable2", "show", "clusters", "format=Cluster"]
    return query(argv, timeout).split()
