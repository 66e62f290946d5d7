"""The disk is full at a finish: it is said, nothing is lost, and later all ends well."""

from __future__ import annotations

import pytest

from datalad_slurm.dataset import annex_settings, stage
from tests.conftest import Box
from tests.crash import Crasher, thinned
from tests.slurm.disk import assert_said, levels_until, places_to_fill
from tests.slurm.sweeps import FinishScenario, copy, noted_jobs, steps_of_adding


@pytest.mark.faults
@pytest.mark.parametrize("at_once", [False, True])
def test_a_finish_on_a_full_disk_says_so_and_can_be_repeated(
    roomy_box, slurm, disk, tmp_path, monkeypatch, count_faults, at_once
):
    if at_once:
        monkeypatch.setattr(stage, "FEWEST", 2)
        # of the roomy box; no unlocked file waits for content here
        monkeypatch.delitem(annex_settings._MUST_BE, "annex.dbdir")
    copy(roomy_box.path, disk.root / "ds")
    box = Box(disk.root / "ds")
    scenario = FinishScenario(box, slurm, tmp_path / "original")
    crasher = Crasher(tmp_path / "crash", box.path)

    def finish_with(left: int = -1, what: str = "", at: int = 0) -> bool:
        where = f"{left} {what} left" if what else f"full at step {at}"
        function = scenario.prepare()
        if what:
            disk.leave(left, what)
        ended = crasher.run(function, at, disk.fill_up)
        disk.free()
        is_done = len(noted_jobs(box)) == 1
        if not is_done:
            assert_said(ended, where)
        scenario.check(where)
        return is_done

    step = thinned(5) * (40 if at_once else 8)
    points = sum(levels_until(finish_with, what, step) for what in ("blocks", "inodes"))
    steps = crasher.run(scenario.prepare()).steps
    places = places_to_fill(steps)
    if at_once:  # the others are those of the other run
        adding = steps_of_adding(steps)
        places = [at for at in places if at in adding][::2]
    for at in places[:: thinned(5)]:
        points += 1
        finish_with(at=at)
    count_faults("full-disk points", points)
