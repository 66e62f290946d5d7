"""Submit a small job of our own, which no user's command submits."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from datalad_slurm.jobs.errors import SubmissionError
from datalad_slurm.jobs.names import JobName
from datalad_slurm.slurm.run import DEFAULT_TIMEOUT
from datalad_slurm.slurm.sbatch import parse_printed

__all__ = ["submit_script"]

#: Variables of sbatch(1) that say where a user's jobs may run; others say what one job is.
_KEPT = frozenset({"SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS", "SBATCH_RESERVATION"})


def submit_script(
    script: str, options: Sequence[str], directory: Path, timeout: float = DEFAULT_TIMEOUT
) -> JobName:
    """Submit a script and return its job.

    Parameters
    ----------
    script : str
        Text of the script.
    options : sequence of str
        Options of sbatch.
    directory : Path
        Where it is to run.
    timeout : float
        Seconds to wait for sbatch.

    Raises
    ------
    SubmissionError
        When sbatch refuses, or does not answer.
    """
    env = {n: v for n, v in os.environ.items() if not n.startswith("SBATCH_") or n in _KEPT}
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", *options],
            input=os.fsencode(script),
            capture_output=True,
            timeout=timeout,
            env=env,
            cwd=directory,
            check=False,
        )
    except OSError as exc:
        raise SubmissionError(f"sbatch could not be started: {exc.strerror}") from exc
    except subprocess.TimeoutExpired as exc:
        raise SubmissionError(f"sbatch gave no answer within {timeout:g} s") from exc
    jobs = parse_printed(os.fsdecode(done.stdout))
    if done.returncode or not jobs:
        said = os.fsdecode(done.stderr).strip().splitlines()
        raise SubmissionError(said[0] if said else f"sbatch ended with {done.returncode}")
    return jobs[0]
