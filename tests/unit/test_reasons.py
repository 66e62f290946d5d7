"""Why jobs have failed, in words."""

import pytest

from datalad_slurm.jobs.model import JobStatus, SlurmJob, TrackedJob
from datalad_slurm.jobs.quantities import format_duration, format_size, parse_duration
from datalad_slurm.jobs.reasons import helpful_options, reasons
from datalad_slurm.jobs.tasks import TaskId
from tests.unit.builders import known


def job(**facts):
    return TrackedJob(1, "t", "sbatch x", ".", "", (), slurm_jobs=(SlurmJob(12, facts=facts),))


def why(word, slurm_facts=None, **facts):
    status = JobStatus((known(word, **facts),))
    (reason,) = reasons(job(**slurm_facts or {}), status, lambda uid: f"user {uid}")
    return reason.text


@pytest.mark.parametrize(
    ("word", "facts", "text"),
    [
        ("FAILED", {"exit_code": "3:0"}, "exit code 3"),
        ("FAILED", {"exit_code": "0:9"}, "signal 9 (SIGKILL)"),
        ("FAILED", {"exit_code": "0:53"}, "signal 53"),
        ("FAILED", {"exit_code": "0:0"}, "it could not be started"),
        ("FAILED", {}, "how is not known"),
        ("TIMEOUT", {"time_limit": "01:00:00"}, "it reached its time limit of 01:00:00"),
        ("TIMEOUT", {}, "it reached its time limit"),
        ("NODE_FAIL", {"nodes": "n3"}, "a node failed on n3"),
        ("CANCELLED", {"cancelled_by": 7}, "cancelled by user 7"),
        ("CANCELLED", {"nodes": "None assigned"}, "cancelled"),
        ("PREEMPTED", {"nodes": "n1"}, "preempted for another job on n1"),
        ("DEADLINE", {}, "it could not be done before its deadline"),
        ("REVOKED", {}, "REVOKED"),
        (
            "OUT_OF_MEMORY",
            {"peak_memory": 4080218931, "requested_memory": "4G"},
            "out of memory (used 3.8 GiB of 4.0 GiB asked for)",
        ),
        ("OUT_OF_MEMORY", {"requested_memory": "4G"}, "out of memory (had 4.0 GiB)"),
        ("OUT_OF_MEMORY", {"peak_memory": 1024}, "out of memory (used 1.0 KiB)"),
        ("OUT_OF_MEMORY", {}, "out of memory"),
    ],
)
def test_each_ending_has_words(word, facts, text):
    assert why(word, **facts) == text


def test_tasks_that_failed_alike_are_told_together_and_good_ones_not_at_all():
    codes = ["0:0", "1:0", "2:0", "1:0"]
    tasks = tuple(
        known("COMPLETED" if code == "0:0" else "FAILED", TaskId(12, i), exit_code=code)
        for i, code in enumerate(codes)
    )
    found = reasons(job(), JobStatus(tasks), str)
    assert [(r.ids, r.text) for r in found] == [
        ("12_[1,3]", "exit code 1"),
        ("12_2", "exit code 2"),
    ]


@pytest.mark.parametrize(
    ("word", "slurm_facts", "facts", "options"),
    [
        ("FAILED", {"MinMemoryNode": "4G"}, {"exit_code": "1:0"}, []),
        ("OUT_OF_MEMORY", {"MinMemoryNode": "4G"}, {}, ["--mem=8G"]),
        ("OUT_OF_MEMORY", {"MinMemoryCPU": "500M"}, {}, ["--mem-per-cpu=1000M"]),
        ("OUT_OF_MEMORY", {"MinMemoryNode": "0"}, {"requested_memory": "100M"}, ["--mem=200M"]),
        ("OUT_OF_MEMORY", {}, {"requested_memory": "2Gc"}, ["--mem-per-cpu=4G"]),
        ("OUT_OF_MEMORY", {}, {}, []),
        ("TIMEOUT", {}, {"time_limit": "12:00:00"}, ["--time=1-00:00:00"]),
        ("TIMEOUT", {}, {"time_limit": "UNLIMITED"}, []),
    ],
)
def test_twice_of_what_a_job_lacked_is_proposed(word, slurm_facts, facts, options):
    tracked = job(**slurm_facts)
    found = reasons(tracked, JobStatus((known(word, **facts or {"nodes": "n"}),)), str)
    assert helpful_options(tracked, found) == options


def test_a_job_that_waits_for_a_failed_one_never_starts():
    waiting = known("PENDING")
    assert not JobStatus((waiting,)).never_starts
    never = waiting._replace(reason="DependencyNeverSatisfied")
    assert JobStatus((never,)).never_starts


@pytest.mark.parametrize("seconds", [0, 59, 3600, 86399, 86400, 10**6])
def test_a_duration_that_is_written_is_read_back(seconds):
    assert parse_duration(format_duration(seconds)) == seconds


def test_sizes_are_written_for_a_person():
    assert [format_size(size) for size in (0, 1023, 2**20, 3 * 2**39)] == [
        "0 bytes", "1023 bytes", "1.0 MiB", "1.5 TiB"
    ]  # fmt: skip
