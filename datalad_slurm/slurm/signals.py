"""Send signals to jobs that run."""

from __future__ import annotations

from datalad_slurm.slurm.run import DEFAULT_TIMEOUT, on_cluster, query

__all__ = ["signal_script"]


def signal_script(
    name: str, signal: str, cluster: str = "", timeout: float = DEFAULT_TIMEOUT
) -> None:
    """Send a signal to the shell that Slurm takes for the script of a job, and to nothing else.

    Parameters
    ----------
    name : str
        As for ``scancel``: ``12``, or ``12_[3,5-7]``.
    signal : str
        Its name, without SIG.
    cluster : str
        Name of the cluster, empty for the default one.
    timeout : float
        Seconds to wait.

    Raises
    ------
    QueryFailedError
        When slurmctld does not answer, or refuses, as it does when the job has ended.
    """
    query(["scancel", "--batch", f"--signal={signal}", *on_cluster(cluster), name], timeout)
