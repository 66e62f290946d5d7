"""A finish that packs directories is killed, or finds the disk full: nothing is lost."""

from __future__ import annotations

import tarfile

import pytest

from datalad_slurm.dataset import annex_settings
from tests.conftest import Box
from tests.crash import KILL, Crasher, thinned
from tests.slurm.disk import assert_said
from tests.slurm.sweeps import (
    assert_sound,
    claims,
    copy,
    finish,
    jobs_in_history,
    noted_jobs,
)
from tests.slurm.test_schedule import schedule

#: what is telling in a sweep: where archives are made, noted, and take the place of files
TELLING = r"packed|\.part|\.tar|manifest|os\.remove|os\.rmdir|checkout-index|update-ref|commit"
_WORK = "for d in {0}; do mkdir -p $d/deep; echo $d > $d/f; echo same > $d/deep/f; done"


class PackScenario:
    """Two jobs that have ended: one packs what was packed before, one leaves the files out.

    Parameters
    ----------
    box : Box
        A new dataset.
    slurm : Slurm
        Runs the jobs.
    original : Path
        Where a copy is kept.
    """

    def __init__(self, box, slurm, original):
        self.box = box
        self._original = original
        first = self._job("old", pack=["old"])
        slurm.wait(first)
        finish(box)
        self._jobs = [
            schedule(
                box,
                ["sbatch", "--wrap", f"{_WORK.format('old')}; rm -f old/f; echo new > old/g"],
                [],
                pack=["old"],
            ),
            self._job("only", pack=["only"], pack_only=True),
        ]
        slurm.wait(*self._jobs)
        self._jobs.insert(0, first)
        copy(box.path, original)
        self._expected = None
        self.check("not at all")

    def _job(self, name, **kwargs):
        return schedule(self.box, ["sbatch", "--wrap", _WORK.format(name)], [], **kwargs)

    def prepare(self):
        """Make everything as it was before the finish."""
        from datalad.api import slurm_finish

        copy(self._original, self.box.path)
        return lambda: slurm_finish(dataset=self.box.path)

    def check(self, where):
        """Finish, and assert that everything is as if nothing had happened."""
        box = self.box
        results = finish(box)
        assert {res["status"] for res in results} <= {"ok", "notneeded"}, (where, results)
        assert jobs_in_history(box) == self._jobs, where
        assert noted_jobs(box) == [], where
        assert claims(box) == [], where
        assert box.status() == "", (where, box.status())
        assert_sound(box, where)
        assert not (box.path / ".git/datalad-slurm/packed.json").exists(), where
        outcome = self._outcome()
        self._expected = self._expected or outcome
        assert outcome == self._expected, where
        for name, files in {"old": ["deep/f", "g"], "only": ["deep/f", "f"]}.items():
            with tarfile.open(box.path / f"{name}.tar") as archive:
                assert archive.getnames() == [f"{name}/{path}" for path in files], where

    def _outcome(self):
        """Return all of HEAD, what is in the annex, and what is in the working tree."""
        box = self.box
        keys = sorted(path.name for path in box.path.glob(".git/annex/objects/*/*/*"))
        there = sorted(str(p) for p in box.path.rglob("*") if ".git" not in p.parts)
        return box.git("rev-parse", "HEAD^{tree}"), keys, there


@pytest.mark.faults
def test_a_finish_that_packs_and_is_killed_commits_every_job_once(
    box, slurm, tmp_path, count_faults
):
    scenario = PackScenario(box, slurm, tmp_path / "original")
    crasher = Crasher(tmp_path / "crash", box.path)
    most = 12 if thinned(2) > 1 else 1000
    points = crasher.sweep_some(scenario.prepare, scenario.check, KILL, TELLING, most)
    assert points >= most // 2
    count_faults("crash points", points)


@pytest.mark.faults
def test_a_finish_that_packs_on_a_full_disk_says_so_and_can_be_repeated(
    roomy_box, slurm, disk, tmp_path, monkeypatch, count_faults
):
    # of the roomy box; no unlocked file waits for content here
    monkeypatch.delitem(annex_settings._MUST_BE, "annex.dbdir")
    copy(roomy_box.path, disk.root / "ds")
    box = Box(disk.root / "ds")
    scenario = PackScenario(box, slurm, tmp_path / "original")
    crasher = Crasher(tmp_path / "crash", box.path)
    steps = crasher.run(scenario.prepare()).steps
    writing = [
        at
        for at, step in enumerate(steps, 1)
        if (step.startswith("open") and any(name in step for name in (".part", "packed.json")))
        or ("checkout-index" in step and step.startswith("before"))
    ]
    assert len(writing) >= 5, steps
    for at in writing:
        ended = crasher.run(scenario.prepare(), at, disk.fill_up)
        disk.free()
        if noted_jobs(box):
            assert_said(ended, steps[at - 1])
        scenario.check(f"full at {steps[at - 1]}")
    count_faults("full-disk points", len(writing))
