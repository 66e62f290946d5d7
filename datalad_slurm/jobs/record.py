"""The record of a job in its commit's message: built, rendered, parsed.

The keys are those that datalad-slurm 0.2 has written into many histories, so
that either tool reads the other's commits; what is new lies under ``slurm``.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from datalad_slurm.jobs.errors import RecordError
from datalad_slurm.jobs.inputs import InputState, read_states

__all__ = [
    "RunRecord",
    "Sidecar",
    "is_inside",
    "is_plain_run",
    "parse_ending",
    "parse_message",
    "parse_record",
    "parse_words",
    "recorded_job_id",
    "render_message",
]

_TITLE = "[DATALAD SLURM RUN]"
_SUBJECT = re.compile(re.escape(_TITLE) + r" Slurm job (\d{1,18})(?:_\[?[\d,.-]+\]?)?:", re.ASCII)
_ENDING = re.compile(r"\[DATALAD SLURM RUN\] Slurm job [^\n:]*:([^\n]*)")
#: paragraphs that datalad-slurm 0.2 puts between what its users said
_NOT_SAID = re.compile(
    r"Slurm job \d+: [A-Z][a-z_ ]+|Re-submission of job \d+\.|"
    r"Slurm job\(s\) for job \d+ are not complete\. ?Statuses: .*"
)
_BEGIN = "=== Do not change lines below ==="
_END = "^^^ Do not change lines above ^^^"
_LISTS = ("chain", "extra_inputs", "inputs", "outputs", "slurm_outputs")


@dataclass(frozen=True)
class RunRecord:
    """What is needed to run a job again, and how it went.

    `outputs` and `slurm_outputs` are relative to the dataset's root, `inputs`
    to `pwd`, which is relative to the root as well. `outputs` holds
    `slurm_outputs` too.
    """

    cmd: str
    dsid: str
    slurm_job_id: int
    pwd: str = "."  # noqa: S105 - a directory
    inputs: tuple[str, ...] = ()
    extra_inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    slurm_outputs: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    slurm: Mapping[str, Any] = field(default_factory=dict)

    @property
    def declared_outputs(self) -> tuple[str, ...]:
        """The outputs without the log files, relative to the dataset's root."""
        return tuple(path for path in self.outputs if path not in self.slurm_outputs)

    @property
    def noted_inputs(self) -> tuple[InputState, ...]:
        """What the inputs were at submission, where that was noted and can be read."""
        return tuple(read_states(self.slurm.get("inputs"), is_inside))

    @property
    def scripts(self) -> tuple[InputState, ...]:
        """What the job scripts were; one outside the dataset, or on stdin, has no path."""
        return tuple(read_states(self.slurm.get("script"), is_inside))

    def content(self) -> dict[str, Any]:
        """Return the record as the object that stands in a commit message."""
        return {
            "chain": list(self.chain),
            "cmd": self.cmd,
            "commit_id": None,
            "dsid": self.dsid,
            "extra_inputs": list(self.extra_inputs),
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "pwd": self.pwd,
            "slurm": dict(self.slurm),
            "slurm_job_id": self.slurm_job_id,
            "slurm_outputs": list(self.slurm_outputs),
        }

    def to_json(self) -> str:
        """Return the record as it stands in a commit message."""
        content = self.content()
        text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
        if text.isprintable() or _is_encodable(text):
            return text
        # names that are no UTF-8 arrive with surrogates, which JSON can only escape
        return json.dumps(content, indent=1, sort_keys=True)


@dataclass(frozen=True)
class Sidecar:
    """Name of the file in the record directory that holds a record instead."""

    name: str


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def render_message(label: str, state: str, messages: list[str], record: str) -> str:
    """Return the commit message of a job.

    Parameters
    ----------
    label : str
        Id of the Slurm job, with the tasks in question when these are not all.
    state : str
        Its state as Slurm writes it, such as ``OUT_OF_MEMORY``.
    messages : list of str
        What the user said, at scheduling and at finishing.
    record : str
        The JSON text of the record, or of the name of its sidecar file.
    """
    title = f"{_TITLE} Slurm job {label}: {state.replace('_', ' ').capitalize()}"
    said = [message.strip() for message in messages if message.strip()]
    return "\n\n".join([title, *said, f"{_BEGIN}\n{record}\n{_END}"]) + "\n"


def parse_message(text: str) -> RunRecord | Sidecar | None:
    """Return the record in a commit message, or None when it holds none.

    Raises
    ------
    RecordError
        When the message is that of a job, but its record cannot be read.
    """
    if not text.startswith(_TITLE):
        return None
    # A user's message may quote another record; ours is the last one.
    before, begin, rest = text.rpartition(f"{_BEGIN}\n")
    body, end, _ = rest.rpartition(f"\n{_END}")
    if not before or not begin or not end:
        raise RecordError("the commit message has lost the lines around its record")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise RecordError(f"the record is not valid JSON ({exc})") from exc
    if isinstance(content, str):
        if not content.isalnum():
            raise RecordError(f"{content!r} is no name of a record file")
        return Sidecar(content)
    return parse_record(content)


def recorded_job_id(text: str) -> int | None:
    """Return the id of the job that a commit message is about, or None.

    For messages of which it is known that nobody meant harm: the record counts
    even if somebody has put the subject into words of their own.
    """
    body = text.rpartition(f"{_BEGIN}\n")[2].rpartition(f"\n{_END}")[0]
    try:
        return _parse_job_id(json.loads(body)["slurm_job_id"])
    except (ValueError, TypeError, KeyError, RecursionError, RecordError):
        found = _SUBJECT.match(text)
        return int(found[1]) if found else None


def parse_ending(text: str) -> str:
    """Return how the job of a commit message ended, as its first line has it.

    Such as ``Out of memory``; empty when the line does not say.
    """
    found = _ENDING.match(text)
    return found[1].strip() if found else ""


def parse_words(text: str) -> str:
    """Return what the user said in the commit message of a job."""
    before = text.rpartition(f"{_BEGIN}\n")[0]
    paragraphs = before.partition("\n")[2].strip().split("\n\n")
    return "\n\n".join(part for part in paragraphs if not _NOT_SAID.fullmatch(part.strip()))


def is_plain_run(text: str) -> bool:
    """Return whether a commit message is that of `datalad run`."""
    return text.startswith("[DATALAD RUNCMD]")


def parse_record(content: object) -> RunRecord:
    """Return a record from its JSON object.

    Raises
    ------
    RecordError
        When something is missing or of a wrong kind, or when a path of the
        record leads out of the dataset.
    """
    if not isinstance(content, dict):
        raise RecordError("the record is not a JSON object")
    cmd = content.get("cmd")
    if not isinstance(cmd, str) or not cmd.strip() or "\0" in cmd:
        raise RecordError("the record holds no command")
    lists: dict[str, tuple[str, ...]] = {}
    for key in _LISTS:
        value = content.get(key) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise RecordError(f"{key!r} in the record is not a list of texts")
        if any("\0" in item for item in value):
            raise RecordError(f"{key!r} in the record holds a null character")
        lists[key] = tuple(value)
    pwd = content.get("pwd") or "."
    if not isinstance(pwd, str):
        raise RecordError("'pwd' in the record is not a text")
    if not is_inside(pwd):
        raise RecordError(f"the record names {pwd!r}, which is outside the dataset")
    if "slurm" not in content:
        lists |= _as_we_write(lists, pwd)
    for path in lists["outputs"]:
        if not is_inside(path):
            raise RecordError(f"the record names {path!r}, which is outside the dataset")
    slurm = content.get("slurm") or {}
    if not isinstance(slurm, dict):
        raise RecordError("'slurm' in the record is not a JSON object")
    dsid = content.get("dsid")
    return RunRecord(
        cmd=cmd,
        dsid=dsid if isinstance(dsid, str) else "",
        slurm_job_id=_parse_job_id(content.get("slurm_job_id")),
        pwd=pwd,
        slurm=slurm,
        **lists,
    )


def _as_we_write(lists: Mapping[str, tuple[str, ...]], pwd: str) -> dict[str, tuple[str, ...]]:
    """Return outputs and log files of a record of datalad-slurm 0.2 as we write them.

    It names log files from the working directory, but from the root where it
    lists them among the outputs, and among these also those outside.
    """
    outputs = lists["outputs"]
    logs = []
    for log in filter(None, lists["slurm_outputs"]):
        from_root = posixpath.normpath(posixpath.join(pwd, log))
        logs.append(from_root if log not in outputs and from_root in outputs else log)
    return {
        "outputs": tuple(path for path in outputs if is_inside(path) or path not in logs),
        "slurm_outputs": tuple(logs),
    }


def _parse_job_id(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RecordError("the record holds no Slurm job id")
    return value


def is_inside(path: str) -> bool:
    """Return whether a relative path stays inside, whatever its ``..`` cancel out.

    Symbolic links are for the one who has the dataset at hand to follow.
    """
    if "\0" in path or PurePosixPath(path).is_absolute():
        return False
    depth = 0
    for part in PurePosixPath(path).parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return False
    return True
