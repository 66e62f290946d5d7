"""Ask slurmctld, by way of ``squeue``, about many jobs at once."""

from __future__ import annotations

from collections.abc import Iterable

from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.model import QueueRow
from datalad_slurm.jobs.states import JobState
from datalad_slurm.slurm.notation import parse_number, parse_task_name
from datalad_slurm.slurm.run import DEFAULT_TIMEOUT, in_chunks, query

__all__ = ["find_token", "parse", "parse_comments", "show"]

#: The job's name comes last: it may hold anything.
_FORMAT = "%i|%T|%V|%M|%r|%j"
_COMMENT_FORMAT = "%i|%k"


def show(
    job_ids: Iterable[int], cluster: str = "", timeout: float = DEFAULT_TIMEOUT
) -> list[QueueRow]:
    """Return what slurmctld knows of jobs; those it has forgotten are left out.

    Raises
    ------
    QueryFailedError
        When slurmctld does not answer.
    """
    rows: list[QueueRow] = []
    for ids in in_chunks(job_ids):
        argv = ["squeue", "--noheader", "--states=all", f"--format={_FORMAT}", f"--jobs={ids}"]
        try:
            rows += parse(query([*argv, *_cluster(cluster)], timeout))
        except QueryFailedError as exc:
            # squeue fails over one unknown id, but leaves unknown ones of several out
            if "Invalid job id" not in str(exc):
                raise
    return rows


def find_token(token: str, cluster: str = "", timeout: float = DEFAULT_TIMEOUT) -> list[int]:
    """Return the ids of the jobs that slurmctld knows with `token` as comment."""
    argv = ["squeue", "--noheader", "--states=all", f"--format={_COMMENT_FORMAT}", "--me"]
    return parse_comments(query([*argv, *_cluster(cluster)], timeout), token)


def parse(text: str) -> list[QueueRow]:
    """Return the rows in what squeue printed; lines that are none are left out."""
    rows: list[QueueRow] = []
    for line in text.split("\n"):
        fields = line.split("|", 5)
        named = parse_task_name(fields[0].strip())
        if named is None or len(fields) != 6:
            continue  # "CLUSTER: name", or the rest of a job name with a line break
        word = fields[1].strip()
        rows += (
            QueueRow(
                task=task,
                state=JobState.parse(word),
                word=word,
                submitted=parse_number(fields[2]),
                elapsed=fields[3],
                reason=fields[4],
                name=fields[5],
            )
            for task in named.tasks
        )
    return rows


def parse_comments(text: str, token: str) -> list[int]:
    """Return the ids of jobs whose comment is `token`, each once."""
    found: list[int] = []
    for line in text.split("\n"):
        name, _, comment = line.partition("|")
        named = parse_task_name(name.strip())
        if named and named.tasks and comment.strip() == token:
            found.append(named.tasks[0].job_id)
    return list(dict.fromkeys(found))


def _cluster(cluster: str) -> list[str]:
    return [f"--clusters={cluster}"] if cluster else []
