"""The disk is full at a submission: it is said, no job is lost, and later all ends well."""

from __future__ import annotations

import pytest
from datalad.api import slurm_reschedule, slurm_schedule

from tests.crash import Crasher, thinned
from tests.slurm.disk import assert_said, levels_until, places_to_fill
from tests.slurm.sweeps import SubmissionScenario
from tests.slurm.test_schedule import finish, schedule


@pytest.mark.faults
@pytest.mark.parametrize("command", ["schedule", "reschedule"])
def test_a_submission_on_a_full_disk_says_so_and_can_be_repeated(
    roomy_box, slurm, disk, tmp_path, command, count_faults
):
    box = roomy_box
    if command == "schedule":
        (box.path / "out").write_text("old\n")
        box.cli("save", "-m", "an output that is unlocked first")

        def submit(box, **how):
            submitting = "sbatch --hold --wrap 'echo new > out'"
            return slurm_schedule(submitting, dataset=box.path, outputs=["out"], **how)
    else:
        job = schedule(box, ["sbatch", "--hold", "--wrap", "echo new > out"])
        slurm.run("scontrol", "release", str(job))
        slurm.wait(job)
        finish(box)

        def submit(box, **how):
            return slurm_reschedule(dataset=box.path, **how)

    # held: a job that starts while the disk is full fails, and rightly so
    scenario = SubmissionScenario(box, slurm, submit, disk.root, are_held=True)
    crasher = Crasher(tmp_path / "crash", disk.root)

    def submit_with(left: int = -1, what: str = "", at: int = 0) -> bool:
        where = f"{left} {what} left" if what else f"full at step {at}"
        function = scenario.prepare()
        if what:
            disk.leave(left, what)
        ended = crasher.run(function, at, disk.fill_up)
        disk.free()
        if ended.code or "(error)" in ended.output:
            assert_said(ended, where)
        scenario.run_again(where)
        return ended.code == 0

    points = sum(levels_until(submit_with, what, 4 * thinned(4)) for what in ("blocks", "inodes"))
    steps = crasher.run(scenario.prepare()).steps
    scenario.run_again("not full")
    for at in places_to_fill(steps)[:: thinned(5)]:
        points += 1
        submit_with(at=at)
    scenario.finish_all()
    count_faults("full-disk points", points)


def test_a_file_that_cannot_be_made_is_named_and_nothing_stays_claimed(box, slurm):
    submissions = box.path / ".git/datalad-slurm/submissions"
    submissions.parent.mkdir()
    submissions.touch()
    command = ["slurm-schedule", "-o", "out", "sbatch", "--hold", "--wrap", "true"]
    done = box.cli(*command, code=1)
    assert f"slurm-schedule(error): [Not a directory: {submissions}/" in done.stdout
    submissions.unlink()
    box.cli(*command)
