"""Ask slurmctld, by way of ``squeue``, about many jobs at once."""

from __future__ import annotations

from collections.abc import Iterable

from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.model import QueueRow
from datalad_slurm.jobs.states import JobState
from datalad_slurm.slurm.notation import parse_number, parse_task_name
from datalad_slurm.slurm.run import DEFAULT_TIMEOUT, in_chunks, query

__all__ = [
    "find_comments",
    "find_in_command",
    "find_restarted",
    "find_submitted_in",
    "has_own",
    "parse",
    "parse_comments",
    "show",
]

#: Without the job's name: that may hold line breaks, and so feign rows of other jobs.
_FORMAT = "%i|%T|%V|%M|%r"
_COMMENT_FORMAT = "%i|%k"
_COMMAND_FORMAT = "%i|%o"
_PLACE_FORMAT = "%i|%V|%Z"
_RESTARTS_FORMAT = "ArrayJobID:20,RestartCnt:20"


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


def find_comments(cluster: str = "", timeout: float = DEFAULT_TIMEOUT) -> dict[int, str]:
    """Return the comments of all own jobs that slurmctld holds, by their ids.

    A cluster that is not known to Slurm holds none.
    """
    argv = ["squeue", "--noheader", "--states=all", f"--format={_COMMENT_FORMAT}", "--me"]
    try:
        return parse_comments(query([*argv, *_cluster(cluster)], timeout))
    except QueryFailedError as exc:
        if cluster and f"No cluster '{cluster}' known" in str(exc):
            return {}
        raise


def find_restarted(
    job_ids: Iterable[int], cluster: str = "", timeout: float = DEFAULT_TIMEOUT
) -> set[int]:
    """Return those of some jobs of which Slurm has started a run again.

    Raises
    ------
    QueryFailedError
        When slurmctld does not answer.
    """
    argv = ["squeue", "--noheader", "--states=all", f"--Format={_RESTARTS_FORMAT}"]
    found: set[int] = set()
    for ids in in_chunks(job_ids):
        for line in query([*argv, f"--jobs={ids}", *_cluster(cluster)], timeout).split("\n"):
            words = [parse_number(word) for word in line.split()]
            if len(words) == 2 and words[0] is not None and words[1]:
                found.add(words[0])
    return found


def find_in_command(text: str, cluster: str = "", timeout: float = DEFAULT_TIMEOUT) -> list[int]:
    """Return the ids of own jobs whose script's path, or its arguments, hold a text."""
    argv = ["squeue", "--noheader", "--states=all", f"--format={_COMMAND_FORMAT}", "--me"]
    commands = parse_comments(query([*argv, *_cluster(cluster)], timeout))
    return [job_id for job_id, command in commands.items() if text in command]


def find_submitted_in(directory: str, since: int, timeout: float = DEFAULT_TIMEOUT) -> list[int]:
    """Return the ids of own jobs that were submitted in a directory since a time."""
    argv = ["squeue", "--noheader", "--states=all", f"--format={_PLACE_FORMAT}", "--me"]
    found: list[int] = []
    for line in query(argv, timeout).split("\n"):
        name, _, rest = line.partition("|")
        moment, _, place = rest.partition("|")
        named = parse_task_name(name.strip())
        if named and place == directory and (parse_number(moment) or 0) >= since:
            found.append(named.tasks[0].job_id)
    return sorted(set(found))


def has_own(cluster: str = "", timeout: float = DEFAULT_TIMEOUT) -> bool:
    """Return whether a job of one's own waits or runs."""
    argv = ["squeue", "--noheader", "--format=%i", "--me", *_cluster(cluster)]
    return any(map(parse_task_name, query(argv, timeout).split()))


def parse(text: str) -> list[QueueRow]:
    """Return the rows in what squeue printed; lines that are none are left out."""
    rows: list[QueueRow] = []
    for line in text.split("\n"):
        fields = line.split("|")
        named = parse_task_name(fields[0].strip())
        if named is None or len(fields) != 5:
            continue  # such as "CLUSTER: name"
        word = fields[1].strip()
        rows += (
            QueueRow(
                task=task,
                state=JobState.parse(word),
                word=word,
                submitted=parse_number(fields[2]),
                elapsed=fields[3],
                reason=fields[4],
            )
            for task in named.tasks
        )
    return rows


def parse_comments(text: str) -> dict[int, str]:
    """Return the comments of jobs by their ids."""
    comments: dict[int, str] = {}
    for line in text.split("\n"):
        name, _, comment = line.partition("|")
        named = parse_task_name(name.strip())
        if named:
            comments[named.tasks[0].job_id] = comment.strip()
    return comments


def _cluster(cluster: str) -> list[str]:
    return [f"--clusters={cluster}"] if cluster else []
