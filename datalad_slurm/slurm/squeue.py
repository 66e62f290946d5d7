"""Ask slurmctld, by way of ``squeue``, about many jobs at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.slurm_rows import QueueRow
from datalad_slurm.jobs.states import JobState
from datalad_slurm.slurm.notation import parse_number, parse_task_name
from datalad_slurm.slurm.run import DEFAULT_TIMEOUT, in_chunks, on_cluster, query

__all__ = [
    "find_comments",
    "find_in_command",
    "find_owners",
    "find_restarted",
    "find_submitted_in",
    "has_own",
    "parse",
    "parse_comments",
    "parse_owners",
    "show",
]

#: Without the job's name: that may hold line breaks, and so feign rows of other jobs.
_FORMAT = "%i|%T|%V|%M|%r"
#: slurmctld tells squeue of all its jobs, and squeue compares each with each id that it is
#: given, which took 3 s for 10,000 of both (22.05). Of more ids than this, it is asked for all.
_MOST_NAMED = 500
_COMMENT_FORMAT = "%i|%k"
_COMMAND_FORMAT = "%i|%o"
_PLACE_FORMAT = "%i|%V|%Z"
_OWNER_FORMAT = "%F|%U"
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
    wanted = set(job_ids)
    columns = f"--format={_FORMAT}"
    if len(wanted) > _MOST_NAMED:
        # jobs that are named are shown in hidden partitions as well, others with --all only
        return parse(_query(columns, "--all", cluster, timeout), wanted)
    if not wanted:
        return []
    try:
        named = ",".join(map(str, sorted(wanted)))
        return parse(_query(columns, f"--jobs={named}", cluster, timeout))
    except QueryFailedError as exc:
        # squeue fails over one unknown id, but leaves unknown ones of several out
        if "Invalid job id" not in str(exc):
            raise
    return []


def find_comments(cluster: str = "", timeout: float = DEFAULT_TIMEOUT) -> dict[int, str]:
    """Return the comments of all own jobs that slurmctld holds, by their ids.

    A cluster that is not known to Slurm holds none.
    """
    try:
        return parse_comments(_query(f"--format={_COMMENT_FORMAT}", "--me", cluster, timeout))
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
    found: set[int] = set()
    for ids in in_chunks(job_ids):
        said = _query(f"--Format={_RESTARTS_FORMAT}", f"--jobs={ids}", cluster, timeout)
        for line in said.split("\n"):
            words = [parse_number(word) for word in line.split()]
            if len(words) == 2 and words[0] is not None and words[1]:
                found.add(words[0])
    return found


def find_in_command(text: str, cluster: str = "", timeout: float = DEFAULT_TIMEOUT) -> list[int]:
    """Return the ids of own jobs whose script's path, or its arguments, hold a text."""
    said = _query(f"--format={_COMMAND_FORMAT}", "--me", cluster, timeout)
    commands = parse_comments(said)
    return [job_id for job_id, command in commands.items() if text in command]


def find_submitted_in(directory: str, since: int, timeout: float = DEFAULT_TIMEOUT) -> list[int]:
    """Return the ids of own jobs that were submitted in a directory since a time."""
    found: list[int] = []
    for line in _query(f"--format={_PLACE_FORMAT}", "--me", "", timeout).split("\n"):
        name, _, rest = line.partition("|")
        moment, _, place = rest.partition("|")
        named = parse_task_name(name.strip())
        if named and place == directory and (parse_number(moment) or 0) >= since:
            found.append(named.tasks[0].job_id)
    return sorted(set(found))


def find_owners(job_ids: Iterable[int], timeout: float = DEFAULT_TIMEOUT) -> dict[int, int]:
    """Return the numeric ids of the users of jobs, arrays by their base id.

    Jobs that slurmctld does not know are left out.

    Raises
    ------
    QueryFailedError
        When slurmctld does not answer.
    """
    wanted = set(job_ids)
    named = f"--jobs={','.join(map(str, sorted(wanted)))}"
    jobs = named if len(wanted) <= _MOST_NAMED else "--all"
    try:
        said = _query(f"--format={_OWNER_FORMAT}", jobs, "", timeout)
    except QueryFailedError as exc:
        # as in `show`
        if "Invalid job id" not in str(exc):
            raise
        return {}
    return {job: user for job, user in parse_owners(said).items() if job in wanted}


def has_own(cluster: str = "", timeout: float = DEFAULT_TIMEOUT) -> bool:
    """Return whether a job of one's own waits or runs."""
    argv = ["squeue", "--noheader", "--format=%i", "--me", *on_cluster(cluster)]
    return any(map(parse_task_name, query(argv, timeout).split()))


def parse(text: str, wanted: Collection[int] | None = None) -> list[QueueRow]:
    """Return the rows in what squeue printed, all of them or those of the jobs that are wanted.

    Lines that are no rows are left out.
    """
    rows: list[QueueRow] = []
    for line in text.split("\n"):
        fields = line.split("|")
        named = parse_task_name(fields[0].strip())
        if named is None or len(fields) != 5:
            continue  # such as "CLUSTER: name"
        if wanted is not None and named.tasks[0].job_id not in wanted:
            continue
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


def parse_owners(text: str) -> dict[int, int]:
    """Return the ids of users by the ids of their jobs."""
    owners: dict[int, int] = {}
    for line in text.split("\n"):
        job, user = (parse_number(word.strip()) for word in (line.partition("|")[::2]))
        if job is not None and user is not None:
            owners[job] = user
    return owners


def _query(columns: str, jobs: str, cluster: str, timeout: float) -> str:
    """Ask for some jobs, whatever their state; columns and jobs are options of squeue(1)."""
    argv = ["squeue", "--noheader", "--states=all", columns, jobs, *on_cluster(cluster)]
    return query(argv, timeout)
