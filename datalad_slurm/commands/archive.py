"""``datalad slurm-archive``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from datalad_next.commands import (
    EnsureCommandParameterization,
    Parameter,
    ValidatedInterface,
    build_doc,
    eval_results,
)
from datalad_next.constraints import EnsureBool, EnsurePath

from datalad_slurm.commands.results import render, run_in

__all__ = ["Archive"]


@build_doc
class Archive(ValidatedInterface):
    """Keep the script and the environment of every job of a cluster.

    For administrators, on the machine where slurmctld runs, as root or as
    SlurmUser. As soon as slurmctld has written what a job was submitted with, it
    is copied to DIR/<user>/<year>/<month>/<jobid>-<jobname>.sh and .env. An array
    is kept once, a job that is requeued not again; jobs without a script, as of
    srun, are not kept. The .env file is a script for bash, which sets each
    variable to what it was at submission.

    It runs until SIGTERM, and may be killed at any time: when it starts, it takes
    all jobs that slurmctld still has and that are not archived. After SIGHUP it
    reads the groups again. What cannot be written is tried again until it can.

    Files belong to the account that runs this, and nobody changes them. By access
    control lists, the user and the groups of --groups may read them. Environments
    often hold passwords and tokens. With --dataset they are in the git history as
    well, all users' together, so the directory .git and all clones are for
    administrators only.
    """

    result_renderer = "tailored"
    on_failure = "continue"

    _validator_ = EnsureCommandParameterization(
        param_constraints={
            "spool": EnsurePath(),
            "to": EnsurePath(),
            "groups": EnsurePath(),
            "as_dataset": EnsureBool(),
            "once": EnsureBool(),
        },
    )

    _params_: ClassVar[dict[str, Parameter]] = {
        "spool": Parameter(
            args=("--spool",),
            metavar="DIR",
            required=True,
            doc="""slurmctld's StateSaveLocation, which holds directories named hash.*;
            'scontrol show config' tells where it is.""",
        ),
        "to": Parameter(
            args=("--to",),
            metavar="DIR",
            required=True,
            doc="""directory of the archive, on a file system with POSIX access control lists.
            It is made if it is not there.""",
        ),
        "groups": Parameter(
            args=("--groups",),
            metavar="FILE",
            doc="""file with names of groups, one a line, that may read the jobs of all
            users.""",
        ),
        "as_dataset": Parameter(
            args=("--dataset",),
            dest="as_dataset",
            action="store_true",
            doc="""make the archive a dataset, if it is none yet, and commit what is new every
            five minutes (configuration datalad.slurm.archive-interval, in seconds).""",
        ),
        "once": Parameter(
            args=("--once",),
            action="store_true",
            doc="""archive the jobs that are there, and end.""",
        ),
    }

    _examples_: ClassVar[list[dict[str, str]]] = [
        {
            "text": "Archive all jobs of a cluster, for its users and the group 'support'",
            "code_py": "slurm_archive(spool='/var/spool/slurmctld', to='/var/slurm/archive', "
            "groups='/etc/slurm/archive-groups')",
            "code_cmd": "datalad slurm-archive --spool /var/spool/slurmctld "
            "--to /var/slurm/archive --groups /etc/slurm/archive-groups",
        },
        {
            "text": "Take what is there now, into a dataset",
            "code_py": "slurm_archive(spool='/var/spool/slurmctld', to='/var/slurm/archive', "
            "as_dataset=True, once=True)",
            "code_cmd": "datalad slurm-archive --spool /var/spool/slurmctld "
            "--to /var/slurm/archive --dataset --once",
        },
    ]

    @staticmethod
    @eval_results
    def __call__(  # noqa: D102 - documented by the class
        spool: Path,
        to: Path,
        *,
        groups: Path | None = None,
        as_dataset: bool = False,
        once: bool = False,
    ) -> Iterator[dict[str, Any]]:
        from datalad.distribution.dataset import Dataset

        from datalad_slurm.workflow.settings import Settings
        from datalad_slurm.workflow.site_archive import ACTION, ArchiveRequest, archive

        place = Dataset(str(to.absolute()))

        def flow() -> Iterator[Any]:
            interval = Settings.read(place.config).archive_interval
            yield from archive(
                ArchiveRequest(spool.absolute(), to.absolute(), groups, as_dataset, once, interval)
            )

        yield from run_in(ACTION, place, flow)

    @staticmethod
    def custom_result_renderer(res: dict[str, Any], **kwargs: Any) -> None:
        """Print a result."""
        render(res)
