"""Compare what a job that was run again has written with the commit that it repeats."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datalad_slurm.dataset.snapshots import Snapshots
from datalad_slurm.dataset.stage import Staging
from datalad_slurm.jobs.claims import top_of
from datalad_slurm.jobs.errors import DatasetError
from datalad_slurm.jobs.inputs import Identity
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.notes import VERIFY
from datalad_slurm.jobs.record import RunRecord
from datalad_slurm.jobs.verify import Verdict, compare
from datalad_slurm.workflow.collect import Findings
from datalad_slurm.workflow.context import Context, Outcome

__all__ = ["judged", "note_time", "note_untouched", "to_verify", "verified"]

#: Key of the outputs that were there before the job and that it has not touched, in its notes.
_UNTOUCHED = "untouched_outputs"
_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")

#: mode and object id
_Entry = tuple[str, str]


def to_verify(commit: str, record: RunRecord) -> dict[str, Any]:
    """Return what to note with a job whose outputs are to be compared with a commit."""
    return {VERIFY: {"commit": commit, "logs": list(record.slurm_outputs)}}


def note_time(context: Context, claim: TrackedJob, notes: Path) -> None:
    """Note when a job is submitted, by the clock of the dataset's file system.

    What was not changed later, the job has not written. Of a job that is not
    to be verified nothing is noted.

    Parameters
    ----------
    context : Context
        The dataset.
    claim : TrackedJob
        The job, in the tracking database, with room made for its outputs.
    notes : Path
        Directory of the submission's notes, on that file system.
    """
    noted = claim.extra.get(VERIFY)
    if noted:
        moment = notes / "time"
        moment.touch()
        since = {"since": moment.stat().st_ctime_ns}
        context.tracker.note_extra(claim.id, {VERIFY: {**noted, **since}})


def note_untouched(context: Context, findings: Findings) -> Findings:
    """Note which outputs a job has left as they were; to be done before they are staged.

    After a finish that was interrupted nobody could tell any more, as files
    that git-annex takes are changed by that.

    Raises
    ------
    OSError
        When a file cannot be looked at.
    """
    job = findings.job
    if VERIFY not in job.extra or _UNTOUCHED in job.extra:
        return findings
    since, root = job.extra[VERIFY]["since"], context.repo.root
    streamed = {file.path for each in findings.packed for file in each.files if not file.found}
    there = (path for path in findings.files if path not in streamed)
    untouched = [path for path in there if (root / path).lstat().st_ctime_ns <= since]
    context.tracker.note_extra(job.id, {_UNTOUCHED: untouched})
    return replace(findings, job=replace(job, extra={**job.extra, _UNTOUCHED: untouched}))


def judged(context: Context, found: Sequence[Findings], staging: Staging) -> list[Findings]:
    """Return findings, with a verdict on each job that is to be verified.

    There is none where a file could not be staged: such a job stays open.

    Raises
    ------
    DatasetError
        When git fails.
    """
    if not any(VERIFY in findings.job.extra for findings in found):
        return list(found)
    with Snapshots(context.hierarchy) as snapshots:
        judge = _Judge(context, staging, snapshots)
        return [
            replace(findings, verdict=judge.verdict(findings))
            if VERIFY in findings.job.extra and staging.failures.keys().isdisjoint(findings.paths)
            else findings
            for findings in found
        ]


class _Judge:
    """Looks into commits for the verdicts on all jobs of a finish."""

    def __init__(self, context: Context, staging: Staging, snapshots: Snapshots) -> None:
        self._hierarchy = context.hierarchy
        self._staging = staging
        self._snapshots = snapshots

    def verdict(self, findings: Findings) -> Verdict:
        job = findings.job
        commit, logs = job.extra[VERIFY]["commit"], job.extra[VERIFY]["logs"]
        around = (self._hierarchy.around(top_of(output)) for output in job.outputs)
        names = list(dict.fromkeys(name for group in around for name in group))
        lacking = [name for name in names if self._snapshots.tree(commit, name) is None]
        if lacking:
            where = f" of the subdataset '{lacking[0]}'" if lacking[0] else ""
            return Verdict(commit, failure=f"the commit{where} is not here, as in a shallow clone")
        others = {*logs, *findings.slurm_files}
        left_out = others.union(job.extra[_UNTOUCHED])
        now = {path: self._staged(path) for path in findings.files if path not in left_out}
        before = {
            path: entry
            for path, entry in self._held(job, names)
            if path not in others and (path in now or self._was_written(job, path))
        }
        return compare(commit, self._identified(before, now), self._identified(now, before))

    def _staged(self, path: str) -> _Entry:
        """Return what the commit of the job is going to hold at a path."""
        change = self._staging.changes.get(path)
        if change is not None:
            return change.mode, change.blob
        name = self._hierarchy.holder(path)  # nothing was staged, so it is as committed
        entry = self._snapshots.head(name).lookup(self._hierarchy.within(name, path))
        if entry is None:
            raise DatasetError(f"'{path}' was committed or removed meanwhile; finish again")
        return entry

    def _held(self, job: TrackedJob, names: Iterable[str]) -> Iterator[tuple[str, _Entry]]:
        """Yield what the commit that is repeated holds at the outputs of a job."""
        for name in names:
            tree = self._snapshots.tree(job.extra[VERIFY]["commit"], name)
            if tree is None:
                continue
            for path in (p for output in job.outputs for p in tree.files_claimed(output, name)):
                entry = tree.lookup(path)
                if entry is not None:
                    yield f"{name}/{path}" if name else path, entry

    def _was_written(self, job: TrackedJob, path: str) -> bool:
        """Return whether one of the commits that a job repeats has changed a file."""
        name = self._hierarchy.holder(path)
        inner = self._hierarchy.within(name, path)
        for commit in filter(_COMMIT.fullmatch, job.chain):
            tree = self._snapshots.tree(commit, name)
            parent = self._snapshots.tree(f"{commit}^1", name)
            entry = tree.lookup(inner) if tree else None
            if entry and not (parent and parent.lookup(inner) == entry):
                return True
        return False

    def _identified(
        self, entries: Mapping[str, _Entry], others: Mapping[str, _Entry]
    ) -> dict[str, Identity]:
        """Return identities; of what is the same in both nothing is read."""
        return {
            path: {"blob": entry[1]}
            if others.get(path) == entry
            else self._snapshots.head(self._hierarchy.holder(path)).identity(*entry)
            for path, entry in entries.items()
        }


def verified(findings: Findings, details: Mapping[str, Any]) -> Iterator[Outcome]:
    """Yield an outcome for each output that was not made again, and the verdict."""
    verdict = findings.verdict
    if verdict is None:
        return
    commit = verdict.commit[:10]
    for path, (before, now) in verdict.different.items():
        said = f"not as in commit {commit}: it was {_named(before)} and is {_named(now)}"
        pair = {"before": dict(before), "now": dict(now)}
        yield Outcome("verify", "error", said, path, "file", {**details, **pair})
    for path, before in verdict.missing.items():
        said = f"commit {commit} has {_named(before)} here, which the job has not written"
        yield Outcome("verify", "error", said, path, "file", {**details, "before": dict(before)})
    for path, now in verdict.new.items():
        said = f"commit {commit} has nothing here, the job has written {_named(now)}"
        yield Outcome("verify", "error", said, path, "file", {**details, "now": dict(now)})
    status = "ok" if verdict.is_reproduced else "impossible" if verdict.failure else "error"
    told = {**details, "verified": verdict.to_json()}
    yield Outcome("verify", status, verdict.message(), type="dataset", details=told)


def _named(identity: Identity) -> str:
    return " ".join(f"{kind} {value}" for kind, value in identity.items())
