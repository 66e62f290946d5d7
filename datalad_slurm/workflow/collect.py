"""Find what a job has left: declared outputs, log files; and write down how it went."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.paths import inside, matches, walk
from datalad_slurm.jobs.archive import ENVIRONMENT
from datalad_slurm.jobs.attempts import recorded_attempts
from datalad_slurm.jobs.claims import is_below, is_glob, top_of
from datalad_slurm.jobs.facts import job_facts, task_rows
from datalad_slurm.jobs.inputs import InputReport
from datalad_slurm.jobs.model import JobStatus, TrackedJob
from datalad_slurm.jobs.notes import RELEASED, needs_runner
from datalad_slurm.jobs.packs import PACK, made_at_finish
from datalad_slurm.jobs.record import RunRecord
from datalad_slurm.jobs.verify import Verdict
from datalad_slurm.workflow.context import Context, lgr
from datalad_slurm.workflow.logs import earlier_logs, find_logs
from datalad_slurm.workflow.packed_directories import PackedDirectory

__all__ = [
    "Findings",
    "await_outputs",
    "collect",
    "leads_elsewhere",
    "write_facts",
]


@dataclass(frozen=True)
class Findings:
    """What there is of one job to commit. All paths are relative to the root."""

    job: TrackedJob
    status: JobStatus
    #: declared outputs, with globs expanded
    outputs: tuple[str, ...]
    #: files and links at and below the declared outputs
    files: tuple[str, ...]
    #: log files and the file of facts
    slurm_files: tuple[str, ...]
    #: declared outputs at which there is nothing, and globs that match nothing
    missing: tuple[str, ...]
    #: nested repositories, named pipes and the like, below declared outputs
    not_committable: tuple[str, ...]
    #: absolute paths of logs outside the dataset
    logs_elsewhere: tuple[str, ...]
    #: logs of other jobs that are still open, by path, with the id of that job
    logs_of_others: Mapping[str, int]
    #: those logs, there or elsewhere, that the latest attempt has written
    latest_logs: tuple[str, ...] = ()
    #: what is known of its inputs and scripts
    inputs: InputReport = field(default_factory=InputReport)
    #: how its outputs compare with those of the commit it repeats, where that was asked for
    verdict: Verdict | None = None
    #: directories that are committed as archives
    packed: tuple[PackedDirectory, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Everything to commit, each path once."""
        return tuple(dict.fromkeys((*self.files, *self.slurm_files)))

    @property
    def archives(self) -> tuple[str, ...]:
        """The archives of directories."""
        return tuple(each.archive for each in self.packed)

    @property
    def stored_here(self) -> tuple[str, ...]:
        """Of everything to commit what is not stored in archives only."""
        stored = {file.path for each in self.packed for file in each.registered}
        return tuple(path for path in self.paths if path not in stored)

    def with_packed(self, packed: tuple[PackedDirectory, ...]) -> Findings:
        """Return findings in which archives stand for the directories that were packed."""
        tops = [each.path for each in packed]
        apart = (path for path in self.files if not any(is_below(path, top) for top in tops))
        files = (*apart, *(path for each in packed for path in each.in_tree))
        expected = {*map(top_of, made_at_finish(self.job)), *tops}
        return replace(
            self,
            files=tuple(dict.fromkeys(files)),
            missing=tuple(path for path in self.missing if path not in expected),
            packed=packed,
        )

    def record(self) -> RunRecord:
        """Return the record of the job."""
        job = self.job
        slurm = job_facts(job, self.status)
        if self.logs_elsewhere:
            slurm["logs_elsewhere"] = list(self.logs_elsewhere)
        slurm |= self.inputs.to_json()
        attempts = recorded_attempts(job, self.status, self.latest_logs)
        if attempts:
            slurm["attempts"] = attempts
        if ENVIRONMENT in job.identities:
            slurm[ENVIRONMENT] = job.identities[ENVIRONMENT]
        if needs_runner(job):
            from datalad_slurm.jobs.runner_options import RunnerOptions

            slurm |= RunnerOptions.read(job.extra).recorded()
        if PACK in job.extra:
            slurm[PACK] = job.extra[PACK]
        if "table" in job.extra:
            slurm["table"] = job.extra["table"]
        if self.verdict is not None:
            slurm["verified"] = self.verdict.to_json()
        return RunRecord(
            cmd=job.cmd,
            dsid=job.dsid,
            slurm_job_id=job.job_id,
            pwd=job.pwd,
            inputs=tuple(job.extra.get("expanded_inputs", job.inputs)),
            extra_inputs=tuple(job.extra.get("expanded_extra_inputs", job.extra_inputs)),
            outputs=tuple(
                dict.fromkeys([*(path or "." for path in self.outputs), *self.slurm_files])
            ),
            slurm_outputs=self.slurm_files,
            chain=job.chain,
            slurm=slurm,
        )


def await_outputs(context: Context, jobs: Sequence[tuple[TrackedJob, JobStatus]]) -> None:
    """Wait a little for outputs that this node's view of the file system lacks.

    A file that a compute node has just written can be invisible here for
    seconds; after ``datalad.slurm.latency-wait`` it counts as missing. Only
    outputs of jobs that ended just now are waited for.
    """
    patience = context.settings.latency_wait
    recently = time.time() - 60
    waited_for = [
        (context.place_of(job), output)
        for job, status in jobs
        if not job.is_node_local  # they are in an archive
        and any(not task.facts or (task.facts.ended or 0) > recently for task in status.tasks)
        for output in job.outputs
        if output not in made_at_finish(job)
    ]
    deadline = time.monotonic() + patience
    while waited_for := [each for each in waited_for if not _is_there(context, *each)]:
        if time.monotonic() >= deadline:
            break
        time.sleep(0.25)


def _is_there(context: Context, place: Repo, output: str) -> bool:
    try:
        return any(True for _ in matches(place, output, context.hierarchy.is_subdataset))
    except OSError:
        return True  # whatever there is, it is looked at when it is collected


def collect(
    context: Context, job: TrackedJob, status: JobStatus, others: Mapping[str, int]
) -> Findings:
    """Return what there is of a job to commit.

    Parameters
    ----------
    context : Context
        The dataset.
    job : TrackedJob
        The job.
    status : JobStatus
        How it ended.
    others : mapping
        Logs of other open jobs, by path: those may still be written.
    """
    repo = context.repo
    outputs: dict[str, None] = {}
    files: dict[str, None] = {}
    odd: dict[str, None] = {}
    missing: list[str] = []
    for output in job.outputs:
        top = top_of(output)
        if not is_glob(output):
            outputs[top] = None
        if leads_elsewhere(repo, output):
            odd[top] = None
            continue
        tops = sorted(matches(repo, output, context.hierarchy.is_subdataset))
        found = {path: list(walk(repo, path, context.hierarchy.is_subdataset)) for path in tops}
        outputs.update(dict.fromkeys(path for path in found if path not in others))
        below = [entry for entries in found.values() for entry in entries]
        if not below:
            missing.append(output if is_glob(output) else top)
        for path, is_committable in below:
            (files if is_committable else odd)[path] = None
    logs, elsewhere = find_logs(context, job, status)
    earlier, earlier_elsewhere = earlier_logs(context, job)
    latest = (*logs, *elsewhere)
    logs = list(dict.fromkeys([*earlier, *logs]))
    elsewhere = list(dict.fromkeys([*earlier_elsewhere, *elsewhere]))
    foreign = {path: others[path] for path in (*files, *logs) if path in others}
    return Findings(
        job,
        status,
        outputs=tuple(outputs),
        files=tuple(path for path in files if path not in foreign),
        slurm_files=tuple(path for path in logs if path not in foreign),
        missing=tuple(missing),
        not_committable=tuple(odd),
        logs_elsewhere=tuple(elsewhere),
        logs_of_others=foreign,
        latest_logs=latest,
    )


def leads_elsewhere(repo: Repo, output: str) -> bool:
    """Return whether a directory above what was declared has become a link."""
    top = top_of(output)
    where = repo.root / top
    if is_glob(output):  # what can match is below it
        return os.path.realpath(where) != str(where)
    return inside(repo, str(where)) != top


def write_facts(context: Context, findings: Findings) -> Findings:
    """Write what Slurm said of a job beside its log, to be committed with it."""
    repo = context.repo
    written: list[str] = []
    for slurm_job in findings.job.slurm_jobs:
        name = f"slurm-job-{slurm_job.job_id}.env.json"
        beside = next(iter(findings.slurm_files), None)
        directory = str(Path(beside).parent) if beside else findings.job.pwd
        while not (repo.root / directory).is_dir():
            directory = os.path.dirname(directory)  # noqa: PTH120 - ends at the root, ""
        path = os.path.normpath(Path(directory) / name)
        rows = task_rows(findings.status, slurm_job.job_id)
        if not rows:
            continue  # its tasks are not among those that are committed now
        if findings.job.extra.get(RELEASED) and os.path.lexists(repo.root / path):
            rows = _with_earlier(repo.root / path, rows)
        content: dict[str, Any] = dict(slurm_job.facts)
        content["accounting"] = rows
        _write_anew(repo.root / path, json.dumps(content, indent=1, sort_keys=True) + "\n")
        written.append(path)
    return replace(findings, slurm_files=(*findings.slurm_files, *written))


def _with_earlier(path: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows together with those of tasks that were committed before, as the file has them."""
    try:
        earlier = json.loads(path.read_text())["accounting"]
        by_task = {row["task"]: row for row in (*earlier, *rows)}
    except (OSError, ValueError, TypeError, KeyError):
        lgr.warning(
            "what the accounting said of tasks that were committed before is not here, in %s; the "
            "commits before this one have it",
            path,
        )
        return rows
    return sorted(by_task.values(), key=lambda row: _by_index(row["task"]))


def _by_index(task: str) -> tuple[int, str]:
    index = task.rpartition("_")[2]
    return int(index) if index.isdigit() else 0, task


def _write_anew(path: Path, text: str) -> None:
    """Write a file; what was there may be a link into the annex, or a hard link to it."""
    try:
        file = path.open("x")
    except FileExistsError:
        path.unlink()
        file = path.open("x")
    with file:
        file.write(text)  # cut short, it is written again when the job is finished
