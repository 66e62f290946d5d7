"""Ask the accounting, by way of ``sacct``, about many jobs at once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from datalad_slurm.jobs.quantities import parse_duration, parse_size
from datalad_slurm.jobs.slurm_rows import AccountingRow
from datalad_slurm.jobs.states import JobState
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.slurm.notation import NamedTasks, parse_number, parse_task_name
from datalad_slurm.slurm.run import DEFAULT_TIMEOUT, in_chunks, on_cluster, query

__all__ = [
    "LONGEST_LAG",
    "Run",
    "find_token",
    "parse",
    "parse_runs",
    "parse_submission",
    "parse_submit_lines",
    "show",
    "show_all",
    "show_runs",
    "show_submission",
]

#: Until then the accounting may not have heard of a job that slurmctld has (seconds).
LONGEST_LAG = 15.0
#: Without the job's name: that may hold line breaks, and so feign rows of other jobs.
_FIELDS = (
    "JobID",
    "JobIDRaw",
    "State",
    "Submit",
    "Start",
    "End",
    "ElapsedRaw",
    "Timelimit",
    "ExitCode",
    "NodeList",
    "Partition",
    "AllocCPUS",
    "TotalCPU",
    "ReqMem",
    "MaxRSS",
    "Cluster",
)
_SEPARATOR = "\x1f"
#: Login node and slurmdbd may have different clocks (seconds).
_CLOCK_SLACK = 600


def show(
    job_ids: Iterable[int],
    cluster: str = "",
    since: int | None = None,
    *,
    with_steps: bool = False,
    before: Mapping[int, int] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> list[AccountingRow]:
    """Return what the accounting knows of jobs; unknown ones are left out.

    Parameters
    ----------
    job_ids : iterable of int
        Ids of jobs; the id of an array stands for all its tasks.
    cluster : str
        Name of the cluster, empty for the default one.
    since : int, optional
        Seconds since the epoch; jobs that ended before are not meant, though
        they may have had the same id.
    with_steps : bool
        Whether to look at the job steps as well: only they know peak memory.
    before : mapping, optional
        Seconds since the epoch, by job id; what was submitted then or later
        belongs to another job of that id. Of a requeued job the latest run counts.
    timeout : float
        Seconds to wait for each query.

    Raises
    ------
    QueryFailedError
        When the accounting does not answer, or there is none.
    """
    rows: list[AccountingRow] = []
    for ids in in_chunks(job_ids):
        argv = _argv(_FIELDS, cluster, since)
        argv += [f"--jobs={ids}"] if with_steps else ["--allocations", f"--jobs={ids}"]
        argv += ["--duplicates"] if before else []
        rows += parse(query(argv, timeout), before or {})
    return rows


def show_all(
    job_ids: Iterable[int],
    cluster: str = "",
    since: int | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> list[AccountingRow]:
    """Return what the accounting knows of every run of jobs; all else is as for `show`."""
    rows: list[AccountingRow] = []
    for ids in in_chunks(job_ids):
        argv = [*_argv(_FIELDS, cluster, since), "--allocations", "--duplicates", f"--jobs={ids}"]
        said = query(argv, timeout)
        rows += [_row(task, row) for named, row in _table(said) for task in named.tasks]
    return rows


class Run(NamedTuple):
    """One run of a job, of the several that its id may have."""

    job_id: int
    #: seconds since the epoch
    submitted: int
    #: working directory and submit line
    submission: str


def show_runs(
    job_ids: Iterable[int], cluster: str = "", timeout: float = DEFAULT_TIMEOUT
) -> list[Run]:
    """Return all runs of jobs: a requeued job has several, and so has an id given twice.

    Raises
    ------
    QueryFailedError
        When the accounting does not answer, or there is none.
    """
    argv = [*_argv(("JobID", "Submit", "WorkDir", "SubmitLine"), cluster, None), "--allocations"]
    found: list[Run] = []
    for ids in in_chunks(job_ids):
        found += parse_runs(query([*argv, "--duplicates", f"--jobs={ids}"], timeout))
    return found


def parse_runs(text: str) -> list[Run]:
    """Return the runs in what sacct printed; submit lines may hold line breaks."""
    runs: list[Run] = []
    for line in text.split("\n"):
        name, _, rest = line.partition(_SEPARATOR)
        moment, separator, submission = rest.partition(_SEPARATOR)
        named, submitted = parse_task_name(name), parse_number(moment)
        if separator and named is not None and submitted is not None:
            runs.append(Run(named.tasks[0].job_id, submitted, submission))
        elif runs and line:
            runs[-1] = runs[-1]._replace(submission=f"{runs[-1].submission}\n{line}")
    return runs


def find_token(
    token: str,
    since: int,
    queued: Iterable[int] = (),
    cluster: str = "",
    timeout: float = DEFAULT_TIMEOUT,
) -> list[int]:
    """Return the ids of own jobs that were submitted with `token` on the command line.

    Parameters
    ----------
    token : str
        Part of the submit line.
    since : int
        Seconds since the epoch; when the submission began.
    queued : iterable of int
        Ids of own jobs that slurmctld holds. sacct lists a job that never was
        eligible, such as a held or dependent one, only when it is named.
    cluster : str
        Name of the cluster, empty for the default one.
    timeout : float
        Seconds to wait for each query.
    """
    fields = ("JobID", "SubmitLine")
    queries = [_argv(fields, cluster, since)]
    queries += ([*_argv(fields, cluster, None), f"--jobs={ids}"] for ids in in_chunks(queued))
    found = (
        parse_submit_lines(query([*argv, "--allocations"], timeout), token) for argv in queries
    )
    return list(dict.fromkeys(job_id for ids in found for job_id in ids))


def show_submission(
    job_id: int, cluster: str = "", timeout: float = DEFAULT_TIMEOUT
) -> tuple[str, str] | None:
    """Return submit line and working directory of a job, or None when it is unknown.

    Raises
    ------
    QueryFailedError
        When the accounting does not answer, or there is none.
    """
    argv = [*_argv(("JobID", "WorkDir", "SubmitLine"), cluster, None), "--allocations"]
    return parse_submission(query([*argv, f"--jobs={job_id}"], timeout), job_id)


def parse_submission(text: str, job_id: int) -> tuple[str, str] | None:
    """Return submit line and working directory; either may hold line breaks."""
    name, _, rest = text.partition(_SEPARATOR)
    work_dir, _, line = rest.partition(_SEPARATOR)
    named = parse_task_name(name)
    if named is None or named.tasks[0].job_id != job_id:
        return None
    # further tasks of an array, each on a line of its own, repeat the same
    line = line.partition(f"\n{job_id}_")[0].partition(f"\n{job_id}+")[0]
    return line.removesuffix("\n"), work_dir


def _argv(fields: Iterable[str], cluster: str, since: int | None) -> list[str]:
    argv = [
        "sacct",
        "--noheader",
        "--parsable2",
        f"--delimiter={_SEPARATOR}",
        f"--format={','.join(fields)}",
        *on_cluster(cluster),
    ]
    if since is not None:
        start = time.localtime(max(0, since - _CLOCK_SLACK))
        argv.append(f"--starttime={time.strftime('%Y-%m-%dT%H:%M:%S', start)}")
    return argv


def parse(text: str, before: Mapping[int, int] | None = None) -> list[AccountingRow]:
    """Return a row for each task in what sacct printed, peak memory taken from its steps.

    Of several rows for a task, as of one that was resized, the last one counts.
    """
    before = before or {}
    rows: dict[TaskId, AccountingRow] = {}
    peaks: dict[TaskId, int] = {}
    for named, row in _table(text):
        if named.step:
            peak = parse_size(row["MaxRSS"])
            if peak is not None:
                peaks[named.tasks[0]] = max(peak, peaks.get(named.tasks[0], 0))
            continue
        for task in named.tasks:
            found = _row(task, row)
            if task.job_id not in before or (found.submitted or 0) < before[task.job_id]:
                rows[task] = found
    for task in peaks.keys() & rows.keys():
        rows[task] = rows[task]._replace(peak_memory=peaks[task])
    return list(rows.values())


def _table(text: str) -> Iterator[tuple[NamedTasks, dict[str, str]]]:
    for line in text.split("\n"):
        values = line.split(_SEPARATOR)
        named = parse_task_name(values[0])
        if named is not None and len(values) == len(_FIELDS):
            yield named, dict(zip(_FIELDS, values, strict=True))


def _row(task: TaskId, row: dict[str, str]) -> AccountingRow:
    # seen on 22.05 just after the end of a short job: ReqMem is "16?"
    is_provisional = row["ReqMem"].endswith("?")
    return AccountingRow(
        task=task,
        raw_id=parse_number(row["JobIDRaw"].partition("+")[0]),
        is_provisional=is_provisional,
        state=JobState.parse(row["State"]),
        word=row["State"].split()[0] if row["State"].split() else "",
        submitted=parse_number(row["Submit"]),
        started=parse_number(row["Start"]),
        ended=parse_number(row["End"]),
        elapsed=parse_number(row["ElapsedRaw"]),
        time_limit=row["Timelimit"],
        exit_code=row["ExitCode"],
        nodes=row["NodeList"],
        partition=row["Partition"],
        cpus=parse_number(row["AllocCPUS"]),
        cpu_seconds=parse_duration(row["TotalCPU"]),
        requested_memory="" if is_provisional else row["ReqMem"],
        cluster=row["Cluster"],
        cancelled_by=parse_number(row["State"].partition(" by ")[2]),
    )


def parse_submit_lines(text: str, token: str) -> list[int]:
    """Return the ids of jobs whose submit line holds `token`, each once."""
    found: list[int] = []
    job_id: int | None = None
    for line in text.split("\n"):
        name, separator, rest = line.partition(_SEPARATOR)
        if separator:
            named = parse_task_name(name)
            job_id = named.tasks[0].job_id if named and named.tasks else None
        else:
            rest = line  # a submit line goes on after a line break in an argument
        if job_id is not None and token in rest:
            found.append(job_id)
    return list(dict.fromkeys(found))
