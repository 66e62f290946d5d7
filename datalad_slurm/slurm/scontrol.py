"""Ask slurmctld, by way of ``scontrol``, all it knows of one job."""

from __future__ import annotations

import os
import re
from functools import cache

from datalad_slurm.jobs.logs import LogName
from datalad_slurm.jobs.model import SlurmJob
from datalad_slurm.jobs.tasks import TaskId, expand_index_list
from datalad_slurm.slurm.notation import parse_number
from datalad_slurm.slurm.run import DEFAULT_TIMEOUT, on_cluster, query

__all__ = [
    "batch_script",
    "configuration",
    "describe",
    "owner_id",
    "parse_job",
    "parse_records",
    "show_submission",
]

#: Keys whose value fills the rest of the line, spaces and all.
_WHOLE_LINE = (
    "JobName",
    "Command",
    "WorkDir",
    "Comment",
    "StdErr",
    "StdIn",
    "StdOut",
    "SubmitLine",
)
_KEY = re.compile(r"[A-Za-z][\w/:.-]*")
#: Datasets get published: who ran a job, and for whom, stays out of them.
_PRIVATE = frozenset(
    {
        "UserId",
        "GroupId",
        "Account",
        "MCS_label",
        "AllocNode:Sid",
        "MailUser",
        "Comment",
        "QOS",
        "Command",
        "WorkDir",
        "StdOut",
        "StdErr",
        "StdIn",
        "SubmitLine",
    }
)
#: True at submission only; how the job ended is asked later.
_TRUE_FOR_A_MOMENT = frozenset(
    {
        "AccrueTime",
        "EligibleTime",
        "EndTime",
        "ExitCode",
        "JobState",
        "LastSchedEval",
        "PreemptTime",
        "Priority",
        "Reason",
        "Restarts",
        "RunTime",
        "SecsPreSuspend",
        "StartTime",
        "SuspendTime",
    }
)
_NO_VALUE = ("", "(null)", "N/A", "Unknown", "None")


def describe(job_id: int, cluster: str = "", timeout: float = DEFAULT_TIMEOUT) -> SlurmJob:
    """Return a job as slurmctld holds it, with all its tasks and the names of its logs.

    Raises
    ------
    QueryFailedError
        When slurmctld does not answer, or does not know the job (any more).
    """
    return parse_job(_show(job_id, cluster, timeout), job_id, cluster)


def owner_id(job_id: int, timeout: float = DEFAULT_TIMEOUT) -> int | None:
    """Return the numeric user id of a job's owner, or None when it is not told.

    Raises
    ------
    QueryFailedError
        When slurmctld does not answer, or does not know the job (any more).
    """
    records = parse_records(_show(job_id, "", timeout))
    match = re.search(r"\((\d+)\)$", records[0].get("UserId", "")) if records else None
    return int(match[1]) if match else None


def batch_script(job_id: int, cluster: str = "", timeout: float = DEFAULT_TIMEOUT) -> bytes:
    """Return the script of a job, byte by byte as slurmctld has it.

    Raises
    ------
    QueryFailedError
        When slurmctld does not answer, or does not have it (any more).
    """
    argv = ["scontrol", *on_cluster(cluster), "write", "batch_script", str(job_id), "-"]
    return os.fsencode(query(argv, timeout))


def show_submission(
    job_id: int, cluster: str = "", timeout: float = DEFAULT_TIMEOUT
) -> tuple[str, str]:
    """Return what slurmctld keeps of a job's submission: the command and the directory.

    Newer versions keep the submit line; before, it is the path of the script
    and its arguments, or nothing, and options are lost.

    Raises
    ------
    QueryFailedError
        When slurmctld does not answer, or does not know the job (any more).
    """
    records = parse_records(_show(job_id, cluster, timeout))
    first = records[0] if records else {}
    line, command = (first.get(key, "") for key in ("SubmitLine", "Command"))
    if line in _NO_VALUE:
        line = "" if command in _NO_VALUE else f"sbatch {command}"
    return line, first.get("WorkDir", "")


def _show(job_id: int, cluster: str, timeout: float) -> str:
    return query(["scontrol", *on_cluster(cluster), "show", "job", str(job_id)], timeout)


def configuration(timeout: float = DEFAULT_TIMEOUT) -> dict[str, str]:
    """Return slurmctld's configuration; it is asked once in a process.

    Raises
    ------
    QueryFailedError
        When slurmctld does not answer.
    """
    return _configuration(os.environ.get("SLURM_CONF", ""), timeout)


@cache
def _configuration(_of: str, timeout: float) -> dict[str, str]:
    lines = query(["scontrol", "show", "config"], timeout).split("\n")
    pairs = (line.partition("=") for line in lines)
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def parse_records(text: str) -> list[dict[str, str]]:
    """Return the records in what ``scontrol show job`` printed, one for each job id.

    Of a key that comes twice in a record the later value counts: a line break
    in a job's name may feign lines, but the log files come after it.
    """
    records: list[dict[str, str]] = []
    is_new = True
    for line in text.split("\n"):
        if line.startswith("JobId=") and is_new:
            records.append({})
        is_new = not line.strip()
        if not records or not line.strip():
            continue
        record = records[-1]
        rest = line.strip(" ") if not line.lstrip().startswith(_WHOLE_LINE) else line.lstrip()
        while rest:
            key, equals, value = rest.partition("=")
            if not equals or not _KEY.fullmatch(key):
                break
            if key in _WHOLE_LINE:
                record[key] = value
                break
            word, _, rest = value.partition(" ")
            if key != "JobId" or key not in record:
                record[key] = word
            rest = rest.lstrip()
    return records


def parse_job(text: str, job_id: int, cluster: str = "") -> SlurmJob:
    """Return the job in what ``scontrol show job`` printed of it."""
    records = [record for record in parse_records(text) if _belongs(record, job_id)]
    first = records[0] if records else {}
    tasks: set[TaskId] = set()
    is_cut = False
    logs: dict[LogName, None] = {}
    for record in records:
        indices = _indices(record)
        component = parse_number(record.get("HetJobOffset", ""))
        if indices:
            tasks.update(TaskId(job_id, index) for index in indices)
        elif record.get("ArrayTaskId"):
            is_cut = True
        elif component is not None:
            tasks.add(TaskId(job_id, component=component))
        else:
            tasks.add(TaskId(job_id))
        # only a task that has left the array's common record has log names of its own
        index = indices[0] if len(indices) == 1 and "-" not in record["ArrayTaskId"] else -1
        for key in ("StdOut", "StdErr"):
            path = record.get(key, "")
            if path not in _NO_VALUE and path != "/dev/null":
                logs[LogName(path, index)] = None
    submitted = [parse_number(record.get("SubmitTime", "")) for record in records]
    facts = {
        key: value
        for key, value in first.items()
        if key not in _PRIVATE | _TRUE_FOR_A_MOMENT and value not in _NO_VALUE
    }
    return SlurmJob(
        job_id=job_id,
        cluster=cluster,
        submitted=min((moment for moment in submitted if moment is not None), default=None),
        name=first.get("JobName", ""),
        work_dir=first.get("WorkDir", ""),
        logs=tuple(logs),
        tasks=tuple(sorted(tasks)) if tasks and not is_cut else None,
        facts=facts,
    )


def _belongs(record: dict[str, str], job_id: int) -> bool:
    owners = (record.get("ArrayJobId"), record.get("HetJobId"), record.get("JobId"))
    return str(job_id) in owners


def _indices(record: dict[str, str]) -> list[int]:
    text = record.get("ArrayTaskId", "")
    try:
        return list(expand_index_list(text)) if text else []
    except ValueError:
        return []
