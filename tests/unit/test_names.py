"""Names of jobs, and which job is meant by one."""

from __future__ import annotations

import pytest

from datalad_slurm.jobs.errors import InvalidRequestError, JobNotTrackedError
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.names import JobName, select_jobs


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("5", JobName(5)),
        ("0012", JobName(12)),
        ("5;c", JobName(5, "c")),
        ("4711;big-one.example", JobName(4711, "big-one.example")),
    ],
)
def test_a_name_is_read_as_sbatch_parsable_prints_it(text, name):
    assert JobName.parse(text) == name
    assert JobName.parse(str(name)) == name


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "5;", ";c", "5;c;d", "5;a b", "5;a,b", "5_1", "x", "٣", "5" * 19]
)
def test_other_texts_are_no_names(text):
    with pytest.raises(ValueError, match="no id of a Slurm job"):
        JobName.parse(text)


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
