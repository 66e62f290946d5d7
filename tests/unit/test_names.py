"""Names of jobs, and which job is meant by one."""

from __future__ import annotations

import pytest

from datalad_slurm.jobs.errors import InvalidRequestError, JobNotTrackedError
from datalad_slurm.jobs.model import SlurmJob, TaskStatus, TrackedJob
from datalad_slurm.jobs.names import JobName, names_of, select_jobs, select_tasks
from datalad_slurm.jobs.states import JobState
from datalad_slurm.jobs.tasks import TaskId


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("5", JobName(5)),
        ("0012", JobName(12)),
        ("5;c", JobName(5, "c")),
        ("4711;big-one.example", JobName(4711, "big-one.example")),
        ("5_0", JobName(5, indices=(0,))),
        ("5_[1-3,7];c", JobName(5, "c", (1, 2, 3, 7))),
        ("5_[8,2-4:2,2]", JobName(5, indices=(2, 4, 8))),
    ],
)
def test_a_name_is_read_as_sbatch_parsable_prints_it(text, name):
    assert JobName.parse(text) == name
    assert JobName.parse(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "-1", "5;", ";c", "5;c;d", "5;a b", "5;a,b", "x", "٣", "5" * 19),
        *("5_", "5_[]", "5_[1", "5_[1,]", "5_[1-3%2]"),
    ],
)
def test_other_texts_are_no_names(text):
    with pytest.raises(ValueError, match=r"no (id of a Slurm job|list of array indices)"):
        JobName.parse(text)


def test_tasks_that_are_named_are_chosen_and_others_refused():
    tasks = tuple(TaskId(5, index) for index in range(4))
    job, other = tracked(1, SlurmJob(5, tasks=tasks)), tracked(2, SlurmJob(6, tasks=(TaskId(6),)))
    names = [JobName(5, indices=(1,)), JobName(6), JobName(5, indices=(3,))]
    assert select_tasks([job, other], names) == {1: {TaskId(5, 1), TaskId(5, 3)}}
    assert select_tasks([job, other], [*names, JobName(5)]) == {}
    assert select_tasks([job, other], []) == {}
    with pytest.raises(JobNotTrackedError, match="no open task 5_4, 6_0 in"):
        select_tasks([job, other], [*names, JobName(5, indices=(0, 4)), JobName(6, indices=(0,))])


def test_some_tasks_of_a_job_are_named_one_by_one():
    tasks = tuple(TaskId(5, index) for index in range(4))
    job = tracked(1, SlurmJob(5, "c", tasks=tasks))
    known = [TaskStatus(task, JobState.COMPLETED, "COMPLETED") for task in tasks]
    assert [*map(str, names_of(job, known))] == ["5;c"]
    assert [*map(str, names_of(job, known[1:]))] == ["5_[1-3];c"]
    assert [*map(str, names_of(job, known[1:2]))] == ["5_1;c"]


def tracked(number, *slurm_jobs):
    return TrackedJob(
        id=number, token="", cmd="", pwd=".", dsid="", outputs=(), slurm_jobs=slurm_jobs
    )


JOBS = [
    tracked(1, SlurmJob(5)),
    tracked(2, SlurmJob(5, "away"), SlurmJob(7, "away")),
    tracked(3, SlurmJob(6, "away")),
    tracked(4, SlurmJob(8)),
]


def never():
    raise AssertionError("asked for the own cluster, though it does not matter")


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        ([JobName(6)], [3]),
        ([JobName(8), JobName(7), JobName(8)], [4, 2]),
        ([JobName(6, "away"), JobName(7, "away")], [3, 2]),
        ([], []),
    ],
)
def test_jobs_are_selected_in_the_order_of_their_names(names, ids):
    assert [job.id for job in select_jobs(JOBS, names, never)] == ids


def test_the_own_cluster_has_a_name_as_well():
    for name, number in (("home", 1), ("away", 2)):
        (job,) = select_jobs(JOBS, [JobName(5, name)], lambda: "home")
        assert job.id == number


def test_an_id_of_several_clusters_is_refused_with_the_names_to_use():
    with pytest.raises(InvalidRequestError, match="'5;home' or '5;away'"):
        select_jobs(JOBS, [JobName(8), JobName(5)], lambda: "home")


def test_all_names_of_no_job_are_told():
    with pytest.raises(JobNotTrackedError, match="no open job 9, 6;home in this dataset"):
        select_jobs(JOBS, [JobName(9), JobName(5, "away"), JobName(6, "home")], lambda: "home")
