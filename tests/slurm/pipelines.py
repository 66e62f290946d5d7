"""What the tests of jobs that wait for one another have in common."""

from __future__ import annotations

from datalad.api import slurm_schedule


def asked(box, cmd, outputs, **kwargs):
    """Schedule, and return the result, whatever it is."""
    results = slurm_schedule(
        cmd, dataset=box.path, outputs=outputs, result_renderer="disabled", on_failure="ignore",
        **kwargs,
    )  # fmt: skip
    return results[-1]


def release(slurm, *jobs):
    slurm.run("scontrol", "release", *map(str, jobs))


def dependency(slurm, job):
    (line,) = [
        line for line in slurm.run("scontrol", "show", "job", str(job)).splitlines()
        if "Dependency=" in line
    ]  # fmt: skip
    return line.partition("Dependency=")[2]
