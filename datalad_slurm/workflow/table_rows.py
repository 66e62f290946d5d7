"""What each row of a table asks for, and which rows have been submitted before."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from datalad_slurm.dataset.history import read_commits, resolve
from datalad_slurm.jobs.command_template import CommandTemplate
from datalad_slurm.jobs.errors import DataladSlurmError, InvalidRequestError, RecordError
from datalad_slurm.jobs.packs import Pack
from datalad_slurm.jobs.runner_options import RunnerOptions
from datalad_slurm.jobs.table import Row, Table
from datalad_slurm.jobs.templates import Names, Template
from datalad_slurm.workflow.containers import image_of, with_image
from datalad_slurm.workflow.context import Context
from datalad_slurm.workflow.history import record_of
from datalad_slurm.workflow.placeholders import substitutions
from datalad_slurm.workflow.publishing import JOB_BRANCH
from datalad_slurm.workflow.request import Request

__all__ = ["TABLE", "RowRequest", "naming_row", "requests_of", "submitted_before"]

#: Key of the row in a job's notes, and in its record.
TABLE = "table"
_TITLE = r"^\[DATALAD SLURM RUN\]"


@dataclass(frozen=True)
class RowRequest:
    """A row of a table, as the request that it makes."""

    line: int
    #: how messages name the row
    label: str
    #: what tells the row from others, also in another version of the table
    key: str
    request: Request


@contextmanager
def naming_row(label: str) -> Iterator[None]:
    """Have an error say which row it is about."""
    try:
        yield
    except DataladSlurmError as exc:
        raise type(exc)(f"{label}: {exc}") from exc


def requests_of(
    context: Context,
    table: Table,
    command: Sequence[str],
    request: Request,
    container: str = "",
) -> list[RowRequest]:
    """Return what each row asks for.

    Parameters
    ----------
    context : Context
        The dataset.
    table : Table
        The rows.
    command : sequence of str
        Its words; see `CommandTemplate`.
    request : Request
        What holds for all rows, with columns as placeholders.
    container : str
        Name of a container whose image each job needs; empty for none.

    Raises
    ------
    InvalidRequestError
        When a placeholder is unknown, or a row lacks what it needs; names the
        line.
    """
    if not table.rows:
        raise InvalidRequestError(f"{table.name} has no rows, so there is nothing to submit")
    filler = _Filler(context, table, command, request, container)
    seen: Counter[str] = Counter()
    found = []
    for row in table.rows:
        label = table.where(row.line)
        with naming_row(label):
            wanted = filler.fill(row)
        text = _identity(context, wanted)
        key = hashlib.sha256(f"{text}{seen[text] or ''}".encode())
        seen[text] += 1
        note = {"name": PurePath(table.name).name, "line": row.line, "row": key.hexdigest()}
        extra = {**wanted.extra, TABLE: note}
        found.append(RowRequest(row.line, label, key.hexdigest(), wanted._replace(extra=extra)))
    return found


def _identity(context: Context, request: Request) -> str:
    """Return what makes a row this one: what it runs, where, and what it reads and writes.

    Neither the table's name nor the row's place in it: rows can be added.
    """
    pwd = os.path.relpath(request.cwd.resolve(), context.repo.root)
    paths = [request.outputs, request.inputs, request.extra_inputs]
    packed = [request.pack.to_json()] if request.pack else []
    return json.dumps([request.cmd, pwd, *paths, *packed])


def _no_pattern(value: str) -> str:
    """Return a value in which nothing is a wildcard, nor a pattern of sbatch's."""
    return glob.escape(value).replace("%", "%%")


class _Filler:
    """Makes a request of a row."""

    def __init__(
        self,
        context: Context,
        table: Table,
        command: Sequence[str],
        request: Request,
        container: str,
    ) -> None:
        if not any(word.strip() for word in command):
            raise InvalidRequestError("there is no command to submit, such as `sbatch job.sh`")
        columns = dict.fromkeys(column for row in table.rows for column in row.values)
        configured = set(substitutions(context.dataset))
        paths = Names(columns, {"inputs", "outputs", *configured})
        others = {"inputs", "outputs", "pwd", "dspath", "tmpdir", *configured}
        self._command = CommandTemplate(
            command, Names(columns, others | ({"img"} if container else set()))
        )
        self._outputs = [Template(path, paths, "an output") for path in request.outputs]
        self._packed = [Template(path, paths, "an output") for path in request.packed]
        self._inputs = [Template(path, paths, "an input") for path in request.inputs]
        checkpoint = request.runner.checkpoint
        states = checkpoint.paths if checkpoint else ()
        self._states = [Template(path, paths, "a checkpoint") for path in states]
        self._message = Template(request.message, Names(columns), "the message")
        self._request = request
        self._container = container
        self._image = image_of(context, request, container) if container else ""
        texts = (*self._outputs, *self._packed, *self._inputs, *self._states, self._message)
        in_texts = (column for text in texts for column in text.columns)
        self._used = list(dict.fromkeys([*self._command.columns, *in_texts]))

    def fill(self, row: Row) -> Request:
        lacking = next((column for column in self._used if column not in row.values), None)
        if lacking is not None:
            raise InvalidRequestError(f"it has no '{lacking}'")
        filled = self._request._replace(
            cmd=self._command.fill(row.values),
            outputs=self._paths(self._outputs, row.values, _no_pattern),
            inputs=self._paths(self._inputs, row.values, glob.escape),
            message=self._message.fill_whole(row.values),
            runner=self._runner(row.values),
            pack=self._pack(row),
        )
        return with_image(filled, self._image, self._container) if self._container else filled

    def _runner(self, values: Mapping[str, str]) -> RunnerOptions:
        runner = self._request.runner
        if runner.checkpoint is None:
            return runner
        states = self._paths(self._states, values, _no_pattern)
        return runner._replace(checkpoint=runner.checkpoint._replace(paths=states))

    def _pack(self, row: Row) -> Pack | None:
        pack = self._request.pack
        paths = self._paths(self._packed, row.values, _no_pattern)
        return pack._replace(paths=paths) if pack else None

    def _paths(
        self,
        templates: Sequence[Template],
        values: Mapping[str, str],
        escape: Callable[[str], str],
    ) -> tuple[str, ...]:
        for template in templates:
            empty = next((column for column in template.columns if not values[column]), None)
            if empty is not None:
                raise InvalidRequestError(f"'{empty}' is empty, and is part of {template.what}")
        return tuple(template.fill(values, escape) for template in templates)


def submitted_before(
    context: Context, keys: Collection[str]
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the rows whose job is open or has been committed, with what is known of it.

    Looked for among the open jobs, in the history of what is checked out, and
    on branches that `slurm-finish` makes for jobs.

    Parameters
    ----------
    context : Context
        The dataset.
    keys : collection of str
        The rows.

    Returns
    -------
    dict
        By the rows' keys, words for a message and details for a result.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for job in context.tracker.open_jobs():
        key = str(job.extra.get(TABLE, {}).get("row", ""))
        if key in keys:
            said = f"submitted before, as job {job.job_id}, which is open"
            found[key] = said, {"slurm_job_id": job.job_id}
    if not context.repo.head():
        return found
    branches = f"{JOB_BRANCH.removeprefix('refs/heads/')}*"
    tip = resolve(context.repo, "HEAD")
    for commit in read_commits(context.repo, tip, pattern=_TITLE, branches=branches):
        try:
            record = record_of(context, commit)
        except RecordError:
            continue  # who made it known is not for us to say
        noted = record.slurm.get(TABLE) if record else None
        key = str(noted.get("row", "")) if isinstance(noted, dict) else ""
        if record and key in keys and key not in found:
            said = (
                f"submitted before, as job {record.slurm_job_id}, and committed; `datalad "
                f"slurm-reschedule {commit.id[:10]}` would run it again"
            )
            found[key] = said, {"slurm_job_id": record.slurm_job_id, "commit": commit.id}
    return found
