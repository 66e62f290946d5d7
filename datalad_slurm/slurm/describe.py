"""Ask slurmctld, by way of ``scontrol``, for all that it knows of many jobs at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from datalad_slurm.jobs.model import SlurmJob
from datalad_slurm.slurm.run import DEFAULT_TIMEOUT, on_cluster, query_lines
from datalad_slurm.slurm.scontrol import parse_job, parse_records

__all__ = ["describe_many", "parse_many"]

_FIRST = re.compile(r"JobId=(\d+) ")


def describe_many(
    tokens: Mapping[int, str], cluster: str = "", timeout: float = DEFAULT_TIMEOUT
) -> dict[int, SlurmJob]:
    """Return jobs as slurmctld holds them, as far as what it lists can be trusted.

    Parameters
    ----------
    tokens : mapping
        The comments of the jobs, by their ids.
    cluster : str
        Where they are; empty for the default one.
    timeout : float
        Seconds to wait for the answer.

    Raises
    ------
    QueryFailedError
        When slurmctld does not answer.

    Notes
    -----
    ``scontrol show job`` takes one id or none (22.05). In the list of all jobs
    somebody else's name of a job, which may hold line breaks, could pose as a
    record. So a record counts only if it is the only one of its id and has the
    comment that we gave the job. Arrays and heterogeneous jobs, which have
    several, are left out, to be asked about one by one.
    """
    argv = ["scontrol", *on_cluster(cluster), "show", "job"]
    return parse_many(query_lines(argv, timeout), tokens, cluster)


def parse_many(
    lines: Iterable[str], tokens: Mapping[int, str], cluster: str = ""
) -> dict[int, SlurmJob]:
    """Return the jobs in what ``scontrol show job`` printed of all."""
    found: dict[int, str] = {}
    refused: set[int] = set()
    for job_id, text in _records(lines, tokens):
        record = parse_records(text)[0]
        # scontrol prints a space behind it
        is_whole = record.get("Comment", "").rstrip() == tokens[job_id]
        is_one = not {"ArrayJobId", "HetJobId"} & record.keys()
        if job_id in found or not is_whole or not is_one:
            refused.add(job_id)
        found[job_id] = text
    return {
        job_id: parse_job(text, job_id, cluster)
        for job_id, text in found.items()
        if job_id not in refused
    }


def _records(lines: Iterable[str], wanted: Mapping[int, str]) -> Iterator[tuple[int, str]]:
    job_id, held, is_new = 0, "", True
    for line in chain(lines, [""]):
        if not line.strip():
            if held:
                yield job_id, held
            held, is_new = "", True
            continue
        named = _FIRST.match(line) if is_new else None
        is_new = False
        if named and int(named[1]) in wanted:
            job_id = int(named[1])
            held = line
        elif held:
            held += line
