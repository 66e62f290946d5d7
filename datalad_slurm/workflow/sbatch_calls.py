"""What can be told of the sbatch calls in a command before it runs."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.paths import inside
from datalad_slurm.dataset.prepare import is_annex_link
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.sbatch_options import (
    chdir,
    directives,
    log_names,
    sbatch_calls,
    split_words,
)
from datalad_slurm.workflow.context import Context

__all__ = ["calls_elsewhere", "logs_to_overwrite"]

#: Larger files are no job scripts (bytes); sbatch itself refuses them above 4 MiB.
_LARGEST_SCRIPT = 4 * 2**20


def logs_to_overwrite(repo: Repo, command: str, cwd: Path) -> Iterator[str]:
    """Yield annexed files that the job is going to use as logs.

    A log of a fixed name that an earlier job's commit holds is locked, and the
    job would fail before its first line. slurmctld tells the names of logs,
    but only when the job may have started already.
    """
    for words, _ in _with_directives(split_words(command), cwd):
        directory = cwd / (chdir(words) or ".")
        for name in log_names(words):
            # what only the node knows may be anything, but stays in its directory
            pattern = re.sub(r"%\d*[a-zA-Z]", "*", glob.escape(name).replace("%%", "%"))
            for found in glob.iglob(os.path.join(glob.escape(str(directory)), pattern)):  # noqa: PTH118, PTH207
                path = inside(repo, found)
                if path and is_annex_link(repo, path):
                    yield path


def calls_elsewhere(
    context: Context, claim: TrackedJob, command: str
) -> list[tuple[list[str], str]]:
    """Return options and script of each sbatch in a command that runs elsewhere.

    The scripts are not there yet.
    """
    root = str(context.repo.root)
    words = [word.replace(claim.alt_dir, root) for word in split_words(command)]
    return list(_with_directives(words, context.repo.root / claim.pwd))


def _with_directives(words: Sequence[str], cwd: Path) -> Iterator[tuple[list[str], str]]:
    """Yield options, with those in the script, and script of each sbatch in a command."""
    for options, script in sbatch_calls(words):
        found = directives(_script_text(cwd / script)) if script else []
        yield [*options, *found], script


def _script_text(path: Path) -> str:
    """Return what a file holds that may be a job script, or nothing when it cannot be one."""
    try:
        if path.is_file() and path.stat().st_size < _LARGEST_SCRIPT:
            return path.read_text(errors="replace")
    except (OSError, ValueError):
        pass  # a word of a command need not be a name that a file can have
    return ""
