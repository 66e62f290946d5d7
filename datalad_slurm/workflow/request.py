"""What a user wants to have run, and what that claims."""

from __future__ import annotations

import os
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from datalad_slurm.dataset.paths import normalise_output
from datalad_slurm.jobs.claims import top_of
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.packs import PACK, Pack, with_archives
from datalad_slurm.jobs.runner_options import RunnerOptions
from datalad_slurm.jobs.task_outputs import is_template, marked, typed
from datalad_slurm.workflow.context import Context
from datalad_slurm.workflow.placeholders import Placeholders

__all__ = ["DIRECTORIES", "Request", "at_head", "claim_of"]

#: Key of the outputs, in a job's notes, that were directories before its first attempt.
DIRECTORIES = "directories"
#: Of thousands of tasks, the directory with their outputs is listed; of fewer, each is looked up:
#: the directory may hold the outputs of thousands of other jobs.
_WORTH_LISTING = 32


class Request(NamedTuple):
    """What a user wants to have run.

    `outputs`, `inputs` and `extra_inputs` are as typed, relative to `cwd`.
    """

    cmd: str
    cwd: Path
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    extra_inputs: tuple[str, ...] = ()
    message: str = ""
    chain: tuple[str, ...] = ()
    #: further paths, relative to the dataset's root, that the job will overwrite
    overwrites: tuple[str, ...] = ()
    #: "inputs", "outputs", "both" or empty
    assume_ready: str = ""
    #: whether outputs that another open job claims are refused
    check_outputs: bool = True
    #: whose globs the record has replaced: "inputs", "outputs", "both" or empty
    expand: str = ""
    #: how many downloads of inputs may run at a time; None is git-annex's own default
    jobs: int | str | None = None
    #: directory to run in instead of the dataset, as typed
    alt_dir: str = ""
    #: what is to be done around the job's script
    runner: RunnerOptions = RunnerOptions()
    #: outputs besides those, directories that are packed when the job is finished
    pack: Pack | None = None
    #: whether the job may wait for open jobs that make its inputs
    auto_dependency: bool = True
    #: ids in a typed dependency, and those that stand for them now
    stand_ins: Mapping[int, Sequence[int]] = MappingProxyType({})
    extra: Mapping[str, Any] = MappingProxyType({})
    #: what is to be kept with the job, by its SHA-256
    contents: Mapping[str, bytes] = MappingProxyType({})

    @property
    def packed(self) -> tuple[str, ...]:
        """The directories that are packed, as typed."""
        return self.pack.paths if self.pack else ()


def claim_of(
    context: Context,
    request: Request,
    alt_dir: str | None = None,
    *,
    is_submitted: bool = False,
) -> tuple[TrackedJob, Placeholders]:
    """Return what a request claims, not yet in the database, and its placeholders.

    Which commit is checked out is not asked here; see `at_head`. Patterns in outputs are
    filled in as far as it is known what the command will submit; of a job that is submitted
    already they are not.

    Parameters
    ----------
    context : Context
        The dataset.
    request : Request
        What is to be run.
    alt_dir : str, optional
        What `checked_alt_dir` returned for the request, when it was asked already.
    is_submitted : bool
        Whether Slurm has taken the job already.

    Raises
    ------
    InvalidRequestError
        When its command, its outputs or its directory are not such as can be
        claimed.
    """
    _refuse_incomplete(request)
    root = context.repo.root
    cwd = request.cwd.resolve()
    if not cwd.is_relative_to(root):
        raise InvalidRequestError(f"the working directory {cwd} is outside the dataset {root}")
    if not cwd.is_dir():
        raise InvalidRequestError(f"the working directory {cwd} does not exist")
    if any("\0" in path for path in (*request.inputs, *request.extra_inputs)):
        raise InvalidRequestError("an input cannot hold a null character")
    token = f"datalad-slurm-{uuid.uuid4().hex}"
    tmpdir = context.temporary_directories / token
    if request.alt_dir and alt_dir is None:
        from datalad_slurm.workflow.alt_dir import checked_alt_dir

        alt_dir = checked_alt_dir(context, request.alt_dir)
    placeholders = Placeholders(
        context.dataset,
        cwd,
        request.inputs,
        (*request.outputs, *request.packed),
        tmpdir,
        top=Path(alt_dir) if alt_dir else None,
    )
    outputs = [normalise_output(context.repo, marked(out), cwd) for out in placeholders.outputs]
    extra = {**request.extra, **({"alt_dir": alt_dir} if alt_dir else {})}
    if request.pack:
        directories = outputs[len(request.outputs) :]
        outputs += with_archives(directories)
        pack = Pack(tuple(map(typed, directories)), request.pack.only)
        extra[PACK] = pack.to_json()
    claim = TrackedJob(
        id=0,
        token=token,
        cmd=request.cmd,
        pwd=os.path.relpath(cwd, root),
        dsid=context.dsid,
        outputs=tuple(dict.fromkeys(outputs)),
        declared_outputs=tuple(dict.fromkeys(placeholders.outputs)),
        inputs=tuple(placeholders.inputs),
        extra_inputs=request.extra_inputs,
        message=request.message,
        chain=request.chain,
        extra=extra,
        contents=request.contents,
    )
    if any(map(is_template, claim.outputs)):
        inside_git = (name == ".git" for output in outputs for name in output.split("/"))
        if any(inside_git):
            raise InvalidRequestError("an output is inside the git directory of a dataset")
        claim = replace(claim, templates=claim.outputs)
        if not is_submitted:
            from datalad_slurm.workflow.expect import with_expected_claims

            claim = with_expected_claims(context, claim, placeholders.preview(claim.cmd))
    if request.runner:
        from datalad_slurm.workflow.checkpoints import with_runner

        claim = with_runner(context, claim, request.runner, placeholders)
    there = _directories_there(Path(alt_dir or root), claim.outputs)
    if there:
        claim = replace(claim, extra={**claim.extra, DIRECTORIES: there})
    return claim, placeholders


def _refuse_incomplete(request: Request) -> None:
    if "\0" in request.cmd:
        raise InvalidRequestError("a command cannot hold a null character")
    if not request.cmd.strip():
        raise InvalidRequestError("there is no command to submit, such as `sbatch job.sh`")
    if not (request.outputs or request.packed):
        raise InvalidRequestError(
            "at least one output must be declared with -o/--output: a file or directory that "
            "the job writes"
        )
    if request.runner.node_local and request.alt_dir:
        raise InvalidRequestError(
            "--node-local and --alt-dir do not go together: with either the work runs outside the "
            "dataset"
        )


def at_head(context: Context, claim: TrackedJob) -> TrackedJob:
    """Return a claim that is about to be made, with the commit that is checked out."""
    return replace(claim, commit_at_submission=context.repo.head())


def _directories_there(root: Path, outputs: Iterable[str]) -> list[str]:
    """Return the directories that there are already for outputs, none for the root."""
    by_parent: defaultdict[str, set[str]] = defaultdict(set)
    for top in set(map(top_of, outputs)) - {""}:
        by_parent[top.rpartition("/")[0]].add(top)
    found: list[str] = []
    for parent, tops in by_parent.items():
        if len(tops) < _WORTH_LISTING:
            found += (top for top in tops if (root / top).is_dir())
            continue
        above = f"{parent}/" if parent else ""
        with suppress(OSError), os.scandir(root / parent) as entries:
            found += (
                above + each.name for each in entries if above + each.name in tops and each.is_dir()
            )
    return sorted(found)
