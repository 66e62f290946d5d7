"""How a job went: what is known, in plain units, and nothing about persons."""

import json

from datalad_slurm.jobs.facts import job_facts, task_rows
from datalad_slurm.jobs.model import JobStatus, SlurmJob, TrackedJob
from datalad_slurm.jobs.tasks import TaskId
from tests.unit.builders import SUBMITTED, array, known

FACTS = {
    "raw_id": 12,
    "submitted": SUBMITTED,
    "started": SUBMITTED + 10,
    "ended": SUBMITTED + 70,
    "elapsed": 60,
    "time_limit": "00:10:00",
    "exit_code": "0:0",
    "nodes": "n1",
    "partition": "main",
    "cpus": 4,
    "cpu_seconds": 1.5,
    "requested_memory": "200M",
    "peak_memory": 2**20,
    "cluster": "testbed",
}


def job(*slurm_jobs, **more):
    return TrackedJob(1, "t0k", "sbatch x", ".", "", (), slurm_jobs=slurm_jobs, **more)


PLAIN = job(
    SlurmJob(12, submitted=SUBMITTED, name="train"),
    declared_outputs=("out",),
    commit_at_submission="c0ffee",
)


def test_all_that_is_known_of_a_plain_job():
    assert job_facts(PLAIN, JobStatus((known("COMPLETED", **FACTS),))) == {
        "cluster": "testbed",
        "commit": "c0ffee",
        "cpu_seconds": 1.5,
        "cpus": 4,
        "declared_outputs": ["out"],
        "elapsed": 60,
        "end": "2023-11-14T22:14:30+00:00",
        "exit_code": "0:0",
        "name": "train",
        "nodes": "n1",
        "partition": "main",
        "peak_memory": 2**20,
        "requested_memory": "200M",
        "start": "2023-11-14T22:13:30+00:00",
        "state": "COMPLETED",
        "submit": "2023-11-14T22:13:20+00:00",
        "time_limit": "00:10:00",
    }


def test_what_is_not_known_is_left_out():
    assert job_facts(job(SlurmJob(12)), array("COMPLETED")) == {"state": "COMPLETED"}


def test_nothing_used_is_known_and_stays():
    facts = job_facts(PLAIN, JobStatus((known("FAILED", elapsed=0, cpu_seconds=0.0),)))
    assert facts["elapsed"] == 0
    assert facts["cpu_seconds"] == 0


def test_an_array_is_summed_up_and_grouped_by_ending():
    rows = [
        known("COMPLETED", TaskId(12, 0), **FACTS),
        known("COMPLETED", TaskId(12, 1), **FACTS | {"ended": SUBMITTED + 90, "elapsed": 80}),
        known("FAILED", TaskId(12, 2), **FACTS | {"exit_code": "4:0", "nodes": "n2"}),
        known("COMPLETED", TaskId(12, 5), **FACTS | {"peak_memory": None}),
    ]
    facts = job_facts(PLAIN, JobStatus(tuple(rows)))
    assert facts["tasks"] == [
        {"ids": "12_[0-1,5]", "state": "COMPLETED", "count": 3, "exit_code": "0:0"},
        {"ids": "12_[2]", "state": "FAILED", "count": 1, "exit_code": "4:0"},
    ]
    assert facts["elapsed"] == 80
    assert facts["end"] == "2023-11-14T22:14:50+00:00"
    assert facts["exit_code"] == "0:0,4:0"
    assert facts["nodes"] == "n1,n2"
    assert facts["peak_memory"] == 2**20
    assert facts["state"] == "FAILED"


def test_components_are_named_one_by_one():
    status = JobStatus(tuple(known("COMPLETED", TaskId(12, component=i)) for i in (0, 1)))
    assert job_facts(PLAIN, status)["tasks"] == [
        {"ids": "12+0,12+1", "state": "COMPLETED", "count": 2}
    ]


def test_several_jobs_of_one_command_are_listed():
    both = job(SlurmJob(12, submitted=SUBMITTED + 5), SlurmJob(15, submitted=SUBMITTED, attempt=2))
    status = JobStatus((known("COMPLETED", TaskId(12)), known("COMPLETED", TaskId(15))))
    facts = job_facts(both, status)
    assert facts["jobs"] == [12, 15]
    assert facts["submit"] == "2023-11-14T22:13:20+00:00"
    assert [group["ids"] for group in facts["tasks"]] == ["12", "15"]


def test_the_rows_of_tasks_are_those_of_the_job():
    status = JobStatus((known("COMPLETED", TaskId(12, 3), **FACTS), known("FAILED", TaskId(15))))
    (row,) = task_rows(status, 12)
    assert row == {
        "task": "12_3",
        "state": "COMPLETED",
        "job_id": 12,
        "submit": "2023-11-14T22:13:20+00:00",
        "start": "2023-11-14T22:13:30+00:00",
        "end": "2023-11-14T22:14:30+00:00",
        "elapsed": 60,
        "time_limit": "00:10:00",
        "exit_code": "0:0",
        "nodes": "n1",
        "partition": "main",
        "cpus": 4,
        "cpu_seconds": 1.5,
        "requested_memory": "200M",
        "peak_memory": 2**20,
    }
    assert task_rows(status, 15) == [{"task": "15", "state": "FAILED"}]


def test_facts_can_be_written_as_json():
    facts = job_facts(PLAIN, JobStatus((known("CANCELLED", **FACTS),)))
    assert json.loads(json.dumps(facts)) == facts
