"""The single place from which Slurm's query programs are started."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO

from datalad_slurm.jobs.errors import AccountingDisabledError, QueryFailedError

__all__ = [
    "DEFAULT_TIMEOUT",
    "in_chunks",
    "on_cluster",
    "query",
    "query_environment",
    "query_lines",
]

#: Seconds until a query counts as failed.
DEFAULT_TIMEOUT = 120.0
#: Ids on one command line; a single argument may have 128 KiB on Linux.
_IDS_PER_QUERY = 5000
_TIME_FORMAT = "%s"
#: what sacct says where AccountingStorageType is accounting_storage/none, seen on 22.05
_NO_ACCOUNTING = "accounting storage is disabled"


def query(argv: list[str], timeout: float = DEFAULT_TIMEOUT) -> str:
    """Run a query program and return what it printed.

    Parameters
    ----------
    argv : list of str
        Program and arguments.
    timeout : float
        Seconds to wait for it.

    Raises
    ------
    QueryFailedError
        When it could not be started, did not answer in time, or failed.
    AccountingDisabledError
        When it failed because this Slurm has no accounting.
    """
    return os.fsdecode(_answer(argv, timeout, subprocess.PIPE))


def query_lines(argv: list[str], timeout: float = DEFAULT_TIMEOUT) -> Iterator[str]:
    """Yield the lines that a query program prints, however many, when it has ended.

    Raises
    ------
    QueryFailedError
        As for `query`.
    """
    with tempfile.TemporaryFile() as answer:
        _answer(argv, timeout, answer)
        answer.seek(0)
        for line in answer:
            yield os.fsdecode(line)


def _answer(argv: list[str], timeout: float, stdout: int | IO[bytes]) -> bytes:
    program = argv[0]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=timeout,
            env=query_environment(),
            check=False,
        )
    except FileNotFoundError as exc:
        raise QueryFailedError(f"{program} is not on PATH") from exc
    except OSError as exc:
        raise QueryFailedError(f"{program} could not be started: {exc.strerror}") from exc
    except subprocess.TimeoutExpired as exc:
        raise QueryFailedError(f"{program} gave no answer within {timeout:g} s") from exc
    if done.returncode != 0:
        said = os.fsdecode(done.stderr).strip().splitlines()
        if any(_NO_ACCOUNTING in line for line in said):
            raise AccountingDisabledError("this Slurm has no accounting")
        raise QueryFailedError(said[0] if said else f"{program} ended with {done.returncode}")
    return done.stdout or b""


def query_environment() -> dict[str, str]:
    """Return an environment in which every site and user gets the same output.

    A user's own ``SQUEUE_STATES``, ``SACCT_FORMAT`` and the like would hide
    jobs or columns. ``SLURM_BITSTR_LEN=0`` keeps squeue and scontrol from
    cutting long index lists at 64 bytes (squeue(1), scontrol(1)).
    """
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SQUEUE_", "SACCT_", "SCONTROL_")) and name != "SLURM_CLUSTERS"
    }
    return env | {"LC_ALL": "C.UTF-8", "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": _TIME_FORMAT}


def on_cluster(cluster: str) -> list[str]:
    """Return the option that has a query answered by a cluster; none for an empty name."""
    return [f"--clusters={cluster}"] if cluster else []


def in_chunks(ids: Iterable[int]) -> Iterator[str]:
    """Yield comma-joined lists of ids that fit a command line."""
    ordered = sorted(set(ids))
    for start in range(0, len(ordered), _IDS_PER_QUERY):
        yield ",".join(map(str, ordered[start : start + _IDS_PER_QUERY]))
