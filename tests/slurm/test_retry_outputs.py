"""What an array's tasks have left is cleared away for a new attempt, and nothing else."""

from __future__ import annotations

from tests.slurm.array_tasks import partly
from tests.slurm.test_retry import retried
from tests.slurm.test_schedule import finish, schedule

#: Fails as long as there is no file `good`, but for the first task.
FAILS = """\
n=$SLURM_ARRAY_TASK_ID
mkdir -p sub-$n common
echo half > sub-$n/half-$SLURM_ARRAY_JOB_ID
echo $n > common/$n
[ $n = 1 ] || [ -e good ]"""


def failed(box, slurm, *outputs, indices="1-3"):
    """Schedule an array of which all tasks but the first fail, and wait for its end."""
    box.script(FAILS)
    job = schedule(box, f"sbatch --array={indices} job.sh", outputs)
    slurm.wait(job)
    (box.path / "good").touch()
    return job


def names(box, directory):
    return sorted(path.name for path in (box.path / directory).iterdir())


def test_what_finished_tasks_have_left_in_common_outputs_stays(box, slurm):
    job = failed(box, slurm, "sub-%a", "common")
    partly(box)
    again = retried(box, job)
    assert names(box, "common") == ["1", "2", "3"]
    slurm.wait(again)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert {f"common/{n}" for n in (1, 2, 3)} <= box.files_in_last_commit()


def test_what_a_task_left_is_cleared_away_though_another_has_run_again_since(box, slurm):
    job = failed(box, slurm, "sub-%a")
    second = retried(box, f"{job}_2")
    slurm.wait(second)
    third = retried(box, f"{job}_3")
    slurm.wait(third)
    assert names(box, "sub-2") == [f"half-{second}"]
    assert names(box, "sub-3") == [f"half-{third}"]
