"""Which tasks of a job are finished before the others, and what belongs to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.notes import RELEASED
from datalad_slurm.jobs.parts import (
    outputs_only_of,
    parts_staying,
    parts_to_commit,
    split,
    tasks_to_close,
)
from datalad_slurm.jobs.plan import Action, FailedJobs
from datalad_slurm.jobs.task_outputs import marked, with_claims
from datalad_slurm.jobs.tasks import TaskId
from tests.unit.builders import array

OUTPUTS = ("sub-%a", "log-%A_%a", "all", "of-%A")


def tracked(*indices, outputs=OUTPUTS, jobs=None, extra=()):
    slurm_job = SlurmJob(12, name="n", tasks=tuple(TaskId(12, index) for index in indices))
    job = TrackedJob(
        1, "t", "sbatch", ".", "", (), outputs, tuple(map(marked, outputs)),
        slurm_jobs=tuple(jobs or [slurm_job]), extra=dict(extra),
    )  # fmt: skip
    return with_claims(job)


def found(status, job=None, chosen=None, failed=FailedJobs.KEEP_OPEN, **how):
    job = job or tracked(*range(len(status.tasks)))
    tasks = None if chosen is None else [TaskId(12, index) for index in chosen]
    return split(job, status, tasks, failed, **how)


def indices(tasks):
    return [task.index for task in tasks]


MIXED = array("COMPLETED", "FAILED", "RUNNING", "COMPLETED", "")


def test_each_task_is_looked_at_when_a_job_is_finished_in_parts():
    result = found(MIXED, partial=True)
    assert {action: indices(t.task for t in group.tasks)
            for action, group in result.groups.items()} == {
        Action.COMMIT: [0, 3], Action.REFUSE: [1], Action.WAIT: [2], Action.ASK_AGAIN: [4],
    }  # fmt: skip
    assert result.refusal == ""


def test_all_or_nothing_of_the_tasks_that_are_named():
    assert [*found(MIXED, chosen=[0, 3]).groups] == [Action.COMMIT]
    assert [*found(MIXED, chosen=[0, 1]).groups] == [Action.REFUSE]
    assert [*found(MIXED, chosen=[0, 2]).groups] == [Action.WAIT]
    assert [*found(MIXED).groups] == [Action.WAIT]
    assert [*found(MIXED, chosen=[1], failed=FailedJobs.ACCEPT).groups] == [Action.COMMIT]
    assert [*found(MIXED, chosen=[1], failed=FailedJobs.CLOSE).groups] == [Action.CLOSE]


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (tracked(0, 1, 2, 3, 4, outputs=("all", "of-%A")), "which of its outputs"),
        (
            TrackedJob(1, "t", "s", ".", "", ("a",), slurm_jobs=tracked(0, 1, 2, 3, 4).slurm_jobs),
            "which of its outputs",
        ),
        (tracked(jobs=[SlurmJob(12)]), "not known which tasks"),
    ],
    ids=["shared", "no-patterns", "unknown"],
)
def test_a_job_that_cannot_be_taken_apart_is_left_alone(job, said):
    for how in ({"partial": True}, {"chosen": [0]}):
        result = found(MIXED, job, **how)
        assert said in result.refusal
        assert parts_to_commit([job], {1: result}) == []
        assert tasks_to_close({1: result}) == {}
        assert not result.is_closed


def test_a_part_has_its_own_outputs_and_the_rest_all_others():
    job, status = tracked(*range(5)), MIXED
    plan = {1: found(status, job, partial=True)}
    ((part, part_status),) = parts_to_commit([job], plan)
    assert part.outputs == ("sub-0", "sub-3", "log-12_0", "log-12_3")
    assert indices(part.leaving) == indices(t.task for t in part_status.tasks) == [0, 3]
    assert part.label == "12_[0,3]"
    ((rest, _),) = parts_staying([job], plan, {1: status})
    assert indices(rest.tasks) == [1, 2, 4]


def test_a_job_that_has_completed_is_not_taken_apart():
    job, status = tracked(0, 1), array("COMPLETED", "COMPLETED")
    for how in ({}, {"partial": True}, {"chosen": [0, 1]}):
        plan = {1: found(status, job, **how)}
        assert parts_to_commit([job], plan) == [(job, status)]
        assert parts_staying([job], plan, {1: status}) == []


def test_closed_tasks_leave_with_those_that_are_committed():
    job, status = tracked(0, 1), array("COMPLETED", "FAILED")
    plan = {1: found(status, job, failed=FailedJobs.CLOSE, partial=True)}
    ((part, _),) = parts_to_commit([job], plan)
    assert part.outputs == ("sub-0", "log-12_0", "all", "of-12")
    assert indices(part.leaving) == [0, 1]
    assert part.label == "12_0"


def test_what_two_jobs_of_a_command_share_goes_with_the_last():
    jobs = [SlurmJob(n, name="n", tasks=(TaskId(n, 1), TaskId(n, 2))) for n in (12, 13)]
    job = tracked(jobs=jobs)
    status = array("COMPLETED", "COMPLETED", "COMPLETED", "RUNNING")
    names = [task for each in jobs for task in each.tasks]
    status = type(status)(
        tuple(type(t)(name, t.state, t.word) for name, t in zip(names, status.tasks, strict=True))
    )
    ((part, _),) = parts_to_commit([job], {1: found(status, job, partial=True)})
    assert part.outputs == ("sub-1", "log-12_1", "log-12_2", "of-12", "log-13_1")
    assert part.job_id == 12


@given(st.lists(st.integers(0, 3), min_size=2, max_size=8))
def test_finished_part_by_part_each_output_is_committed_once(turns):
    """Each task ends in a turn of its own choice; after each turn the job is partly finished."""
    job = tracked(*range(len(turns)))
    left = [*range(len(turns))]
    committed = []
    for turn in range(4):
        words = {i: "COMPLETED" if turns[i] <= turn else "RUNNING" for i in left}
        status = array(*(words.get(i, "") for i in range(len(turns)))).of(set(job.tasks))
        for part, _ in parts_to_commit([job], {1: found(status, job, partial=True)}):
            committed += part.outputs
            gone = part.leaving or job.tasks
            left = [i for i in left if TaskId(12, i) not in gone]
            job = tracked(*left, extra={"released_tasks": len(turns) - len(left)})
        if not left:
            break
    assert sorted(committed) == sorted(tracked(*range(len(turns))).outputs)


@pytest.mark.parametrize(
    ("tasks", "released", "outputs"),
    [
        ([1, 2], 0, {"sub-1", "sub-2", "log-12_1", "log-12_2", "all", "of-12"}),
        ([1], 0, {"sub-1", "log-12_1"}),
        ([1], 3, {"sub-1", "log-12_1"}),
        ([1, 2], 3, {"sub-1", "sub-2", "log-12_1", "log-12_2"}),
    ],
)
def test_what_all_share_is_not_only_of_some_tasks_even_if_the_others_are_finished(
    tasks, released, outputs
):
    job = tracked(1, 2, extra={RELEASED: released})
    assert {*outputs_only_of(job, {TaskId(12, index) for index in tasks})} == outputs
