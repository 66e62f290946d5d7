"""What the tests of array tasks with outputs of their own have in common."""

from __future__ import annotations

import json

from datalad.api import slurm_finish, slurm_schedule

from tests.slurm.sweeps import QUIET, claims

#: Tasks 3 and 5 fail.
SCRIPT = """\
mkdir -p sub-$SLURM_ARRAY_TASK_ID
echo $SLURM_ARRAY_TASK_ID > sub-$SLURM_ARRAY_TASK_ID/res
echo log > log-${SLURM_ARRAY_JOB_ID}_$(printf %03d $SLURM_ARRAY_TASK_ID).txt
echo x >> all
[ $SLURM_ARRAY_TASK_ID != 3 ] && [ $SLURM_ARRAY_TASK_ID != 5 ]"""
OUTPUTS = ["sub-%a", "log-%A_%3a.txt"]


def facts(box, job):
    return json.loads((box.path / f"slurm-job-{job}.env.json").read_text())["accounting"]


def files_of(job, *tasks):
    return {
        path
        for task in tasks
        for path in (f"sub-{task}/res", f"log-{job}_{task:03}.txt", f"slurm-{job}_{task}.out")
    } | {f"slurm-job-{job}.env.json"}


def refused(box, command, outputs):
    """Return why a command is refused; nothing is submitted or claimed for it."""
    before = claims(box) if (box.path / ".git/datalad-slurm").exists() else []
    (res,) = slurm_schedule(command, dataset=box.path, outputs=outputs, **QUIET)
    assert res["status"] == "impossible"
    assert [*claims(box)] == before
    return res["message"]


def statuses(results, status):
    return [res["message"] for res in results if res["status"] == status and "message" in res]


def partly(box, job=None, **how):
    return slurm_finish(job, dataset=box.path, partial=True, **QUIET, **how)
