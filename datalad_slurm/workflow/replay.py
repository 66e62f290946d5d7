"""Plan which recorded jobs are run again, and how; nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from datalad_slurm.dataset.diff import Difference, changes_of_commits, differences
from datalad_slurm.dataset.subdatasets import Hierarchy
from datalad_slurm.dataset.tree import SUBDATASET_MODE
from datalad_slurm.jobs.braces import literal
from datalad_slurm.jobs.claims import ancestors
from datalad_slurm.jobs.dependencies import DEPENDS_ON, read_relations
from datalad_slurm.jobs.errors import DataladSlurmError, InvalidRequestError, RecordError
from datalad_slurm.jobs.foresee import with_array
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.packs import recorded_pack
from datalad_slurm.jobs.record import RunRecord
from datalad_slurm.jobs.replay import (
    Replay,
    find_readers,
    find_superseded,
    first_submission,
    logs_of_fixed_name,
    typed_outputs,
)
from datalad_slurm.jobs.task_outputs import comparable
from datalad_slurm.jobs.tasks import expand_index_list, format_index_list, shortened
from datalad_slurm.workflow.as_recorded import scripts_to_submit
from datalad_slurm.workflow.checkpoints import options_again
from datalad_slurm.workflow.context import Context
from datalad_slurm.workflow.history import Recorded, Selection, read_history
from datalad_slurm.workflow.placeholders import Placeholders
from datalad_slurm.workflow.relations import claimed_inputs
from datalad_slurm.workflow.request import Request, claim_of
from datalad_slurm.workflow.verify import to_verify

__all__ = ["Options", "Run", "Skip", "naming", "plan"]


@dataclass(frozen=True)
class Options:
    """What is the same for all jobs that are run again; see `Request`."""

    #: empty for what each record's commit says
    message: str = ""
    assume_ready: str = ""
    jobs: int | str | None = None
    alt_dir: str = ""
    #: whether what they write is compared with what their commits hold
    verify: bool = False
    #: whether the scripts that ran are submitted, and not the present ones
    as_recorded: bool = False


@dataclass(frozen=True)
class Run:
    """A recorded job to run again."""

    found: Recorded
    record: RunRecord
    request: Request
    claim: TrackedJob
    placeholders: Placeholders
    #: commits whose jobs run again before it: what they make of its inputs, or "typed"
    after: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Skip:
    """A commit that is left out."""

    found: Recorded
    reason: str


def plan(context: Context, selection: Selection, options: Options) -> list[Run | Skip]:
    """Return what comes of each commit with a record, in the order of history.

    Every record is validated as `schedule` would do it.

    Raises
    ------
    RecordError
        When a record cannot be used; names its commit.
    InvalidRequestError
        When a revision names no commit, when a job cannot be run here, or when
        two jobs would write the same output.
    """
    repo = context.repo
    found = list(read_history(context, selection))
    reasons = {each.commit.id: _why_not(context, selection, each) for each in found}
    wanted = [each for each in found if not reasons[each.commit.id]]
    changes = changes_of_commits(repo, [each.commit.id for each in wanted], {})
    runs: dict[str, Run] = {}
    for parts in _joined(wanted):
        last = parts[-1].commit.id
        with naming(last, selection):
            runs[last] = _run(context, parts, [changes.pop(p.commit.id) for p in parts], options)
        reasons |= {
            part.commit.id: f"its tasks are run with those of commit {last[:10]}, of the same array"
            for part in parts[:-1]
        }
    replays = [_replay(context, run) for run in runs.values()]
    superseded = find_superseded(replays)
    final = {commit: run for commit, run in runs.items() if commit not in superseded}
    runs |= _in_their_order(final, find_readers(r for r in replays if r.commit in final))
    reasons |= {
        commit: f"its job is repeated by that of commit {later[:10]}"
        for commit, later in superseded.items()
    }
    return [
        Skip(each, reason) if (reason := reasons[each.commit.id]) else runs[each.commit.id]
        for each in found
    ]


def _in_their_order(
    runs: Mapping[str, Run], readers: Iterable[tuple[str, str, str]]
) -> dict[str, Run]:
    """Return runs with those before them, by what they read and by what their commands say."""
    after: dict[str, dict[str, list[str]]] = {commit: {} for commit in runs}
    for later, earlier, path in readers:
        after[later].setdefault(earlier, []).append(path)
    current = {old: commit for commit, run in runs.items() for old in run.request.chain}
    for commit, run in runs.items():
        for relation in read_relations(run.record.slurm.get(DEPENDS_ON)):
            before = current.get(relation.commit, commit)
            if relation.typed and before != commit:
                after[commit].setdefault(before, []).append("typed")
    return {commit: replace(run, after=after[commit]) for commit, run in runs.items()}


@contextmanager
def naming(commit: str, selection: Selection) -> Iterator[None]:
    """Have an error say which of several commits it is about."""
    try:
        yield
    except DataladSlurmError as exc:
        if not selection.is_range:
            raise
        raise type(exc)(f"commit {commit[:10]}: {exc}") from exc


def _why_not(context: Context, selection: Selection, found: Recorded) -> str:
    """Return why a job is not run again; of a single commit this is an error."""
    commit, record = found.commit.id[:10], found.record
    if record is None:
        reason = f"it is one of `datalad run`: `datalad rerun {commit}` runs it again"
        if not selection.is_range:
            raise RecordError(f"commit {commit} holds no record of a Slurm job; {reason}")
        return reason
    if record.dsid and context.dsid and record.dsid != context.dsid:
        if not selection.is_range:
            raise InvalidRequestError(
                f"the record in commit {commit} is that of another dataset ({record.dsid}); "
                "run it again there"
            )
        return f"its job was run in another dataset ({record.dsid})"
    is_failed = found.ending and found.ending.lower() != "completed"
    if selection.is_range and is_failed and not selection.with_failed_jobs:
        return f"its job did not complete ({found.ending}); see --with-failed-jobs"
    return ""


def _joined(found: Iterable[Recorded]) -> list[list[Recorded]]:
    """Return the commits, in their order, those that hold parts of one array together."""
    groups: dict[object, list[Recorded]] = {}
    for each in found:
        key: object = each.commit.id
        if each.record is not None and "array_tasks" in each.record.slurm:
            key = (*first_submission(each.record), each.record.pwd)
        groups.setdefault(key, []).append(each)
    return list(groups.values())


def _run(
    context: Context,
    parts: Sequence[Recorded],
    changes: Iterable[Iterable[Difference]],
    options: Options,
) -> Run:
    found = parts[-1]
    commits = [part.commit.id for part in parts]
    records = [part.record for part in parts if part.record is not None]
    if not records:
        raise RecordError("there is no record of a Slurm job")
    commit, record = commits[-1], records[-1]
    cwd = context.repo.root / record.pwd
    cmd = _command(records)
    extra = to_verify(commit, record) if options.verify else {}
    contents: dict[str, bytes] = {}
    if options.as_recorded:
        scripts, contents = scripts_to_submit(context, records, cmd)
        extra |= scripts
    request = Request(
        cmd=cmd,
        cwd=cwd,
        outputs=typed_outputs(record),
        inputs=tuple(map(literal, record.inputs)),
        extra_inputs=record.extra_inputs,
        message=options.message or found.words,
        chain=(*record.chain, *commits),
        overwrites=(
            *(
                path
                for part, made in zip(records, changes, strict=True)
                for path in _files_made(context.hierarchy, made, part)
            ),
            *(path for part in records for path in logs_of_fixed_name(part)),
        ),
        assume_ready=options.assume_ready,
        jobs=options.jobs,
        alt_dir=options.alt_dir,
        extra=extra,
        contents=contents,
        runner=options_again(record.slurm),
        pack=recorded_pack(record),
    )
    if not cwd.is_dir():
        raise InvalidRequestError(
            f"the job ran in the directory '{record.pwd}', which is not there any more"
        )
    claim, placeholders = claim_of(context, request)
    placeholders.check_command(request.cmd)
    return Run(found, record, request, claim, placeholders)


def _replay(context: Context, run: Run) -> Replay:
    return Replay(
        commit=run.found.commit.id,
        cmd=run.request.cmd,
        pwd=run.claim.pwd,
        outputs=comparable(run.claim),
        inputs=tuple(claimed_inputs(context, run.claim).values()),
        chain=run.record.chain,
    )


def _command(parts: Sequence[RunRecord]) -> str:
    """Return the command, for those tasks of an array whose outputs the commits hold."""
    record = parts[-1]
    tasks = [str(part.slurm["array_tasks"]) for part in parts if "array_tasks" in part.slurm]
    if not tasks:
        return record.cmd
    try:
        indices = format_index_list([*set(expand_index_list(",".join(tasks)))])
    except ValueError as exc:
        raise RecordError(f"'array_tasks' in the record: {exc}") from exc
    command = with_array(record.cmd, indices)
    if command is None:
        raise InvalidRequestError(
            f"the commit holds tasks {shortened(indices)} of an array only, and where "
            f"`{record.cmd}` gives sbatch its options is not clear; submit it with "
            "`datalad slurm-schedule` and --array for these"
        )
    return command


def _files_made(
    hierarchy: Hierarchy, changes: Iterable[Difference], record: RunRecord
) -> Iterator[str]:
    """Yield the outputs among the files that a commit added or changed: they are written again."""
    outputs = {os.path.normpath(path) for path in record.declared_outputs}
    tops = {"" if path == "." else path for path in outputs}
    for path in _paths_written(hierarchy, changes):
        if not tops.isdisjoint(ancestors(path)) and path not in record.slurm_outputs:
            yield path


def _paths_written(
    hierarchy: Hierarchy, changes: Iterable[Difference], name: str = ""
) -> Iterator[str]:
    """Yield the paths, from the root, of files that changes wrote, in subdatasets too."""
    for change in changes:
        path = f"{name}/{change.path}" if name else change.path
        mode, commit = change.new
        if mode == SUBDATASET_MODE and hierarchy.is_here(path):
            repo = hierarchy.repo(path)
            before = change.old[1]
            if all(repo.has_commit(each) for each in (before, commit) if each):
                yield from _paths_written(hierarchy, differences(repo, before, commit), path)
        elif mode:
            yield path
