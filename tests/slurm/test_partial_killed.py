"""slurm-finish --partial is killed, wherever: no task is committed twice, and none is lost."""

from __future__ import annotations

import pytest
from datalad.api import slurm_finish

from tests.crash import KILL, Crasher
from tests.slurm.sweeps import QUIET, assert_sound, claims, copy, noted_jobs
from tests.slurm.test_schedule import schedule

SCRIPT = """mkdir sub-$SLURM_ARRAY_TASK_ID
echo $SLURM_ARRAY_TASK_ID > sub-$SLURM_ARRAY_TASK_ID/res
echo x >> all
[ $SLURM_ARRAY_TASK_ID != 3 ]"""


class PartialScenario:
    """An array of which one task has failed."""

    def __init__(self, box, slurm, original):
        self.box = box
        self._original = original
        box.script(SCRIPT)
        self._array = schedule(box, ["sbatch", "--array=1-3", "job.sh"], ["sub-%a", "all"])
        slurm.wait(self._array)
        copy(box.path, original)
        self.check("not at all")
        self._expected = self._outcome()

    def prepare(self):
        """Make everything as it was before the first finish."""
        copy(self._original, self.box.path)
        return lambda: slurm_finish(dataset=self.box.path, partial=True)

    def check(self, where):
        """Finish again, and assert that each task was committed once."""
        box = self.box
        results = slurm_finish(dataset=box.path, partial=True, **QUIET)
        (left,) = [res for res in results if res["status"] != "ok"]
        assert f"Statuses: {self._array}_3: FAILED;" in left["message"], (where, results)
        subjects = [s for s in box.git("log", "--format=%s").splitlines() if "SLURM RUN" in s]
        told = f"[DATALAD SLURM RUN] Slurm job {self._array}_[1-2]: Completed"
        assert subjects == [told], where
        assert sorted(claims(box)) == ["all", "sub-3"], where
        assert noted_jobs(box) == [self._array], where
        assert_sound(box, where)
        if hasattr(self, "_expected"):
            assert self._outcome() == self._expected, where

    def _outcome(self):
        box = self.box
        return box.git("rev-parse", "HEAD^{tree}"), box.git("ls-files", "-s"), box.status()


#: What moves the branch and the index, and each change of the database, such as the release.
_TELLING = "index.lock|update-ref|index-pack|unpack-objects|commit"


@pytest.mark.faults
def test_a_partial_finish_that_is_killed_anywhere_commits_every_task_once(
    box, slurm, tmp_path, count_faults
):
    scenario = PartialScenario(box, slurm, tmp_path / "original")
    crasher = Crasher(tmp_path / "crash", box.path)
    points = crasher.sweep_some(scenario.prepare, scenario.check, KILL, _TELLING)
    assert points >= 25
    count_faults("crash points", points)
