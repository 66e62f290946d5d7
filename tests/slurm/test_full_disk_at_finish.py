"""The disk is full at a finish: it is said, nothing is lost, and later all ends well."""

from __future__ import annotations

import pytest

from tests.conftest import Box
from tests.crash import Crasher
from tests.slurm.disk import assert_said, levels_until, places_to_fill
from tests.slurm.sweeps import FinishScenario, copy, noted_jobs


@pytest.mark.faults
def test_a_finish_on_a_full_disk_says_so_and_can_be_repeated(
    roomy_box, slurm, disk, tmp_path, count_faults
):
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

    points = sum(levels_until(finish_with, what, 8) for what in ("blocks", "inodes"))
    for at in places_to_fill(crasher.run(scenario.prepare()).steps):
        points += 1
        finish_with(at=at)
    count_faults("full-disk points", points)
