"""Find what a job has left: declared outputs, log files; and write down how it went."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.paths import inside, subdataset_above, walk
from datalad_slurm.jobs.facts import job_facts, task_rows
from datalad_slurm.jobs.logs import candidates, names_for
from datalad_slurm.jobs.model import JobStatus, TrackedJob
from datalad_slurm.jobs.record import RunRecord
from datalad_slurm.workflow.context import Context

__all__ = ["Findings", "await_outputs", "collect", "write_facts"]


@dataclass(frozen=True)
class Findings:
    """What there is of one job to commit. All paths are relative to the root."""

    job: TrackedJob
    status: JobStatus
    #: files and links at and below the declared outputs
    files: tuple[str, ...]
    #: log files and the file of facts
    slurm_files: tuple[str, ...]
    #: declared outputs at which there is nothing
    missing: tuple[str, ...]
    #: nested repositories, named pipes and the like, below declared outputs
    not_committable: tuple[str, ...]
    #: absolute paths of logs outside the dataset
    logs_elsewhere: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """Everything to commit, each path once."""
        return tuple(dict.fromkeys((*self.files, *self.slurm_files)))

    def record(self) -> RunRecord:
        """Return the record of the job."""
        job = self.job
        slurm = job_facts(job, self.status)
        if self.logs_elsewhere:
            slurm["logs_elsewhere"] = list(self.logs_elsewhere)
        return RunRecord(
            cmd=job.cmd,
            dsid=job.dsid,
            slurm_job_id=job.job_id,
            pwd=job.pwd,
            inputs=job.inputs,
            extra_inputs=job.extra_inputs,
            outputs=tuple(
                dict.fromkeys([*(path or "." for path in job.outputs), *self.slurm_files])
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
        context.repo.root / output
        for job, status in jobs
        if any(not task.facts or (task.facts.ended or 0) > recently for task in status.tasks)
        for output in job.outputs
    ]
    deadline = time.monotonic() + patience
    while any(not os.path.lexists(path) for path in waited_for) and time.monotonic() < deadline:
        time.sleep(0.25)


def collect(context: Context, job: TrackedJob, status: JobStatus) -> Findings:
    """Return what there is of a job to commit."""
    repo = context.repo
    files: dict[str, None] = {}
    odd: dict[str, None] = {}
    missing: list[str] = []
    for output in job.outputs:
        found = list(walk(repo, output))
        if not found:
            missing.append(output)
        for path, is_committable in found:
            (files if is_committable else odd)[path] = None
    logs, elsewhere = _find_logs(repo, job, status)
    return Findings(
        job, status, tuple(files), tuple(logs), tuple(missing), tuple(odd), tuple(elsewhere)
    )


def _find_logs(repo: Repo, job: TrackedJob, status: JobStatus) -> tuple[list[str], list[str]]:
    """Return logs in the dataset, relative to its root, and logs elsewhere, absolute."""
    facts = {task.task: task.facts for task in status.tasks}
    within: dict[str, None] = {}
    elsewhere: dict[str, None] = {}
    for slurm_job in job.slurm_jobs:
        tasks = [task.task for task in status.tasks if task.task.job_id == slurm_job.job_id]
        for task in tasks:
            known = facts[task]
            raw_id, node = (known.raw_id, _first_node(known.nodes)) if known else (None, "")
            for name in names_for(slurm_job.logs, task):
                paths = candidates(name, task, raw_id, node)
                path = next((path for path in paths if os.path.lexists(path)), None)
                if path is None or not Path(path).is_file():
                    continue
                relative = inside(repo, path)
                if (
                    relative
                    and not relative.startswith(".git/")
                    and not subdataset_above(repo, relative)
                ):
                    within[relative] = None
                else:
                    elsewhere[path] = None
    return list(within), list(elsewhere)


def _first_node(nodes: str) -> str:
    """Return the first name of a node list such as ``n[1-3],m2``."""
    head, bracket, rest = nodes.partition("[")
    if not bracket:
        return nodes.partition(",")[0]
    if "," in head:
        return head.partition(",")[0]
    return head + rest.replace("]", ",").replace("-", ",").partition(",")[0]


def write_facts(context: Context, findings: Findings) -> Findings:
    """Write what Slurm said of a job beside its log, to be committed with it."""
    repo = context.repo
    written: list[str] = []
    for slurm_job in findings.job.slurm_jobs:
        name = f"slurm-job-{slurm_job.job_id}.env.json"
        beside = next(iter(findings.slurm_files), None)
        directory = str(Path(beside).parent) if beside else findings.job.pwd
        path = os.path.normpath(Path(directory) / name)
        content: dict[str, Any] = dict(slurm_job.facts)
        content["accounting"] = task_rows(findings.status, slurm_job.job_id)
        _write_atomically(repo.root / path, json.dumps(content, indent=1, sort_keys=True) + "\n")
        written.append(path)
    return replace(findings, slurm_files=(*findings.slurm_files, *written))


def _write_atomically(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)
