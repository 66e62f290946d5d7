"""Check the parameters of `slurm-finish`."""

from __future__ import annotations

from typing import Any

from datalad_next.commands import EnsureCommandParameterization, ParameterConstraintContext
from datalad_next.constraints import EnsureBool, EnsureInt, EnsureRange, EnsureStr

from datalad_slurm.commands.constraints import EnsureJobIds, EnsureSeconds, dataset_with_repository

__all__ = ["FinishValidator"]


class FinishValidator(EnsureCommandParameterization):
    """Checks the parameters of `slurm-finish`, each and together."""

    def __init__(self) -> None:
        super().__init__(
            param_constraints={
                "job": EnsureJobIds(),
                "slurm_job_id": EnsureJobIds(),
                "dataset": dataset_with_repository("finish Slurm jobs"),
                "message": EnsureStr(),
                "list_open_jobs": EnsureBool(),
                "close_failed_jobs": EnsureBool(),
                "accept_failed_jobs": EnsureBool(),
                "commit_failed_jobs": EnsureBool(),
                "close_unknown_jobs": EnsureBool(),
                "partial": EnsureBool(),
                "branches": EnsureBool(),
                "octopus": EnsureBool(),
                "show_log": EnsureBool(),
                "log_lines": EnsureInt() & EnsureRange(min=1),
                "wait": EnsureBool(),
                "timeout": EnsureSeconds(),
            },
            validate_defaults=("dataset",),
            joint_constraints={
                ParameterConstraintContext(
                    ("close_failed_jobs", "accept_failed_jobs", "commit_failed_jobs"),
                    "failed jobs",
                ): self._one_fate,
                ParameterConstraintContext(
                    ("list_open_jobs", "close_failed_jobs", "accept_failed_jobs", "wait"), "list"
                ): self._only_list,
                ParameterConstraintContext(("wait", "timeout"), "timeout"): self._timeout,
                ParameterConstraintContext(("wait", "job", "slurm_job_id"), "tasks"): self._whole,
                ParameterConstraintContext(
                    ("close_unknown_jobs", "job", "slurm_job_id"), "unknown jobs"
                ): self._named,
            },
        )

    def _one_fate(self, **kwargs: Any) -> None:
        accept = kwargs["accept_failed_jobs"] or kwargs["commit_failed_jobs"]
        if kwargs["close_failed_jobs"] and accept:
            self.raise_for(
                kwargs, "failed jobs can either be accepted or closed, not both; name the jobs"
            )

    def _only_list(self, **kwargs: Any) -> None:
        if kwargs["list_open_jobs"] and (
            kwargs["close_failed_jobs"] or kwargs["accept_failed_jobs"] or kwargs["wait"]
        ):
            self.raise_for(kwargs, "--list-open-jobs only lists, and changes nothing")

    def _timeout(self, **kwargs: Any) -> None:
        if kwargs["timeout"] is not None and not kwargs["wait"]:
            self.raise_for(kwargs, "--timeout is for --wait: nothing else waits for jobs")

    def _named(self, **kwargs: Any) -> None:
        if kwargs["close_unknown_jobs"] and not (kwargs["job"] or kwargs["slurm_job_id"]):
            self.raise_for(kwargs, "--close-unknown-jobs is for jobs that are named one by one")

    def _whole(self, **kwargs: Any) -> None:
        names = [*(kwargs["job"] or ()), *(kwargs["slurm_job_id"] or ())]
        if kwargs["wait"] and any(name.indices for name in names):
            self.raise_for(kwargs, "--wait waits for whole jobs, not for tasks of them")
