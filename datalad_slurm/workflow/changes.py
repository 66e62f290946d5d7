"""Tell, when a job is finished, which of its inputs and scripts have changed since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from datalad_slurm.dataset.identity import identify, identify_raw, is_still
from datalad_slurm.dataset.inputs import MOST_WALKED, DeclaredInput, expand
from datalad_slurm.dataset.snapshots import Snapshots
from datalad_slurm.dataset.tree import TreeReader
from datalad_slurm.jobs.archive import SCRIPTS
from datalad_slurm.jobs.claims import covers
from datalad_slurm.jobs.dependencies import DEPENDS_ON, read_relations
from datalad_slurm.jobs.errors import DatasetError
from datalad_slurm.jobs.inputs import (
    MISSING,
    Identity,
    InputReport,
    InputState,
    digest,
    is_same,
)
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.workflow.collect import Findings
from datalad_slurm.workflow.context import Context
from datalad_slurm.workflow.inherited import INHERITED
from datalad_slurm.workflow.inputs import LISTED, is_own, others_files, tree_of
from datalad_slurm.workflow.scripts import identify_script

__all__ = ["InputCheck"]


class InputCheck:
    """Looks at the inputs and scripts of all jobs of a finish, at each once.

    Parameters
    ----------
    context : Context
        The dataset.
    jobs : sequence of TrackedJob
        The jobs that are going to be committed.

    Raises
    ------
    DatasetError
        When git or git-annex fails.
    """

    def __init__(self, context: Context, jobs: Sequence[TrackedJob]) -> None:
        self._context = context
        self._declared: dict[tuple[str, str], DeclaredInput] = {}
        self._scripts: dict[str, Identity] = {}
        self._digests: dict[tuple[str, ...], str] = {}
        self._still: dict[tuple[str, str], bool | None] = {}
        self._ways: dict[tuple[str, str], str] = {}
        self._elsewhere: dict[str, bool] = {}
        paths: dict[str, None] = {}
        for job in jobs:
            paths |= dict.fromkeys(path for path, noted in _noted(job) if not _is_group(noted))
            list(self._expanded(job))
        for each in self._declared.values():
            paths |= dict.fromkeys(each.files)
        self._now = identify(context.repo, paths)

    def of(self, findings: Findings) -> Findings:
        """Return the findings of a job with what there is to say of its inputs and scripts."""
        report = self.report(findings.job, frozenset(findings.slurm_files))
        return replace(findings, inputs=report)

    def report(self, job: TrackedJob, logs: frozenset[str]) -> InputReport:
        """Return how the inputs and scripts of a job are now; logs among them do not count."""
        noted = dict(_noted(job))
        states = {
            path: self._file(job, path, identity)
            for path, identity in noted.items()
            if not _is_group(identity)
        }
        for declared in self._expanded(job):
            each = replace(declared, files=others_files(job, declared, logs))
            group = noted.get(each.path, {})
            if _is_group(group):
                states[each.path] = self._group(job, each, group)
            elif each.is_open and not is_own(job, each.path):
                states |= {state.path: state for state in self._new_files(job, each, noted)}
        for entry in job.identities.get(INHERITED, ()):
            states[entry["path"]] = InputState(entry["path"], {"tree": entry["tree"]})
        scripts = [self._script(job, entry) for entry in job.identities.get(SCRIPTS, ())]
        return InputReport(tuple(states.values()), tuple(scripts))

    def _expanded(self, job: TrackedJob) -> Iterator[DeclaredInput]:
        if "inputs" not in job.identities:
            return
        for name in dict.fromkeys((*job.inputs, *job.extra_inputs)):
            key = (job.pwd, name)
            if key not in self._declared:
                repo = self._context.repo
                self._declared[key] = expand(repo, repo.root / job.pwd, name)
            yield self._declared[key]

    def _file(self, job: TrackedJob, path: str, noted: Identity) -> InputState:
        now = self._now[path]
        if is_same(noted, now) or is_own(job, path) or self._is_by_finish(job, path, now):
            return InputState(path, noted)
        if "unreadable" in noted or "unreadable" in now:
            return InputState(path, noted, now)
        if now == MISSING:
            return InputState(path, noted, now, "removed")
        if noted == MISSING:
            return InputState(path, noted, now, "new")
        key = (path, repr(noted))
        if key not in self._still:
            self._still[key] = is_still(self._context.repo, path, noted)
        still = self._still[key]
        if still:
            return InputState(path, noted)
        return InputState(path, noted, now, "" if still is None else self._how(job, path))

    def _group(self, job: TrackedJob, each: DeclaredInput, noted: Identity) -> InputState:
        now: Identity
        if "more_than" in noted:
            now = tree_of(self._context, self._head(), each.too_many_in or each.path)
        elif each.too_many_in is not None:
            now = {"more_than": MOST_WALKED}
        else:
            now = {"files": len(each.files), "digest": self._digest(each.files)}
        if now == noted or self._is_group_still(job, each, noted):
            return InputState(each.path, noted)
        return InputState(each.path, noted, now, self._how(job, each.path, each.files))

    def _digest(self, files: tuple[str, ...]) -> str:
        if files not in self._digests:
            self._digests[files] = digest({path: self._now[path] for path in files})
        return self._digests[files]

    def _is_group_still(self, job: TrackedJob, each: DeclaredInput, noted: Identity) -> bool:
        """Return whether files were only annexed since: then they were noted by their blobs."""
        if noted.get("files") != len(each.files):
            return False
        repo = self._context.repo
        then = {path: self._now[path] for path in each.files}
        try:
            with TreeReader(repo, job.commit_at_submission) as tree:
                annexed = [p for p in each.files if "key" in then[p] and tree.lookup(p) is None]
        except DatasetError:
            return False  # that commit is gone
        then |= {path: identify_raw(repo, path) for path in annexed}
        return bool(annexed) and digest(then) == noted["digest"]

    def _new_files(
        self, job: TrackedJob, each: DeclaredInput, noted: Mapping[str, Identity]
    ) -> Iterator[InputState]:
        """Yield the files that a directory or pattern did not have at submission."""
        new = [path for path in each.files if path not in noted]
        if each.too_many_in is None and len(new) <= LISTED:
            yield from (InputState(path, MISSING, self._now[path], "new") for path in new)
            return
        before = {"files": sum(path in noted for path in each.files)}
        now = {"files": len(each.files)} if each.files else {"more_than": MOST_WALKED}
        yield InputState(each.path, before, now, self._how(job, each.path, new))

    def _script(self, job: TrackedJob, entry: Mapping[str, Any]) -> InputState:
        path = entry.get("path", "")
        noted = {key: value for key, value in entry.items() if key != "path"}
        if not path or "sha256" not in noted or "as_recorded" in noted or is_own(job, path):
            return InputState(path, noted)
        if path not in self._scripts:
            self._scripts[path] = identify_script(self._context.repo, path)
        now = self._scripts[path]
        # scripts elsewhere are often temporary
        if now.get("sha256") == noted["sha256"] or (now == MISSING and path.startswith("/")):
            return InputState(path, noted)
        how = "removed" if now == MISSING else self._how(job, path)
        return InputState(path, noted, now, how)

    def _how(self, job: TrackedJob, path: str, files: Sequence[str] = ()) -> str:
        """Return how something has changed, in a word of `InputState.change`."""
        before = _commit_before(job, path)
        key = (before, path)
        if key not in self._ways:
            self._ways[key] = self._look_how(before, (path, *files))
        return self._ways[key]

    def _is_elsewhere(self, commit: str) -> bool:
        """Return whether a commit is on another branch, as ``slurm-finish --branches`` makes it."""
        if commit not in self._elsewhere:
            repo = self._context.repo
            is_here = bool(commit) and repo.has_commit(commit)
            self._elsewhere[commit] = is_here and repo.ask("merge-base", commit, "HEAD") != commit
        return self._elsewhere[commit]

    def _is_by_finish(self, job: TrackedJob, path: str, now: Identity) -> bool:
        """Return whether a job's input is not as it was because one before it was committed.

        It is on another branch then, and not here; or is a subdataset in which that was done.
        """
        if "commit" in now:
            return self._is_of_predecessor(job, path, now["commit"])
        if not self._is_elsewhere(_commit_before(job, path)):
            return False
        with TreeReader(self._context.repo, self._head()) as tree:
            entry = tree.lookup(path)
            return is_same(tree.identity(*entry) if entry else MISSING, now)

    def _is_of_predecessor(self, job: TrackedJob, path: str, commit: str) -> bool:
        """Return whether a subdataset has the commit that it got with one of the jobs before."""
        relations = read_relations(job.extra.get(DEPENDS_ON))
        before = [each.commit for each in relations if each.outputs and each.commit]
        hierarchy = self._context.hierarchy
        above = hierarchy.holder(path)
        with Snapshots(hierarchy) as snapshots:
            trees = (snapshots.tree(each, above) for each in before)
            entries = [tree.lookup(hierarchy.within(above, path)) for tree in trees if tree]
        return any(entry and entry[1] == commit for entry in entries)

    def _head(self) -> str:
        return self._context.repo.ask("rev-parse", "-q", "--verify", "HEAD") or ""

    def _look_how(self, before: str, paths: Sequence[str]) -> str:
        """Tell whether a new version was committed, or only the working tree differs."""
        repo, head = self._context.repo, self._head()
        if self._is_elsewhere(before):
            return "modified"
        try:
            with TreeReader(repo, before) as old, TreeReader(repo, head) as new:
                is_committed = any(old.lookup(path) != new.lookup(path) for path in paths)
        except DatasetError:
            return "changed"  # the commit at submission is gone
        return "committed" if is_committed else "modified"


def _commit_before(job: TrackedJob, path: str) -> str:
    """Return the commit that holds what a job was to read at a path."""
    for relation in read_relations(job.extra.get(DEPENDS_ON)):
        if relation.commit and any(covers(output, path) for output in relation.outputs):
            return relation.commit
    return job.commit_at_submission


def _noted(job: TrackedJob) -> Iterator[tuple[str, Identity]]:
    """Yield the paths of a job's inputs and what was noted of each."""
    for entry in job.identities.get("inputs", ()):
        yield entry["path"], {key: value for key, value in entry.items() if key != "path"}


def _is_group(noted: Identity) -> bool:
    return "digest" in noted or "more_than" in noted
