"""A record in short: what a job cost, and what jobs cost together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.job_choice import Choice, chosen
from datalad_slurm.jobs.job_summary import summarise
from datalad_slurm.jobs.job_totals import totals
from datalad_slurm.jobs.record import RunRecord

PLAIN = {
    "state": "COMPLETED",
    "name": "fit",
    "submit": "2026-11-21T20:00:00+00:00",
    "start": "2026-11-21T20:01:30+00:00",
    "end": "2026-11-21T20:11:30+00:00",
    "elapsed": 600,
    "cpus": 4,
    "cpu_seconds": 1200.0,
    "nodes": "n1",
    "peak_memory": 2**30,
    "requested_memory": "4G",
}


def job(number=1, outputs=("out",), facts=(), ending="", **slurm):
    record = RunRecord("sbatch a.sh", "", number, outputs=outputs, slurm=slurm)
    return summarise(record, ending=ending, commit="c" * 40, date="2026-11-21", facts=facts)


def test_a_job_tells_what_seff_tells():
    found = job(**PLAIN)
    assert (found.waited, found.ran) == (90, 600)
    assert found.cpu_efficiency == 0.5
    assert found.memory_efficiency == 0.25
    assert found.attempts == 1


def test_memory_of_several_nodes_is_not_compared_with_the_peak_of_one_task():
    assert job(**PLAIN | {"nodes": "n[1-2]"}).memory_efficiency is None


def test_a_record_without_facts_has_the_state_of_its_subject_and_nothing_else():
    found = job(ending="Out of memory")
    assert found.state == "OUT_OF_MEMORY"
    assert (found.waited, found.ran, found.cpu_efficiency, found.memory_used) == (None,) * 4
    assert totals([found]).unknown == 1


ARRAY = PLAIN | {"tasks": [{"ids": "1_[1-2]", "state": "COMPLETED", "count": 2}]}
ROWS = [{"task": f"1_{i}", "elapsed": 100 * i, "cpus": 4} for i in (1, 2)]


def test_an_array_counts_the_time_of_each_task_as_its_facts_tell():
    found = job(facts=[{"accounting": ROWS}], **ARRAY)
    assert found.last.allocated == 1200
    assert found.cpu_efficiency == 1.0
    assert found.tasks == 2


@pytest.mark.parametrize("rows", [[], ROWS[:1], [*ROWS[:1], {"task": "1_2", "cpus": 4}]])
def test_the_efficiency_of_an_array_is_not_known_as_long_as_a_task_lacks(rows):
    assert job(facts=[{"accounting": rows}], **ARRAY).cpu_efficiency is None


def test_a_part_of_an_array_counts_its_own_tasks_only():
    part = ARRAY | {"array_tasks": "2", "tasks": [{"ids": "1_[2]", "count": 1}]}
    found = job(facts=[{"accounting": ROWS}], **part)
    assert found.last.allocated == 800
    assert found.label == "1_[2]"


ATTEMPTS = [
    {"attempt": 1, "slurm_job_id": 7, "state": "FAILED", "elapsed": 100, "cpus": 4,
     "cpu_seconds": 40},
    {"attempt": 2, "slurm_job_id": 8, "state": "COMPLETED", "elapsed": 600, "cpus": 4,
     "cpu_seconds": 1200},
]  # fmt: skip


def test_what_failed_attempts_cost_is_in_the_totals_and_not_in_the_efficiency_of_the_job():
    found = job(**PLAIN, attempts=ATTEMPTS)
    assert found.attempts == 2
    assert [run.job_id for run in found.runs] == [7, 8]
    assert found.cpu_efficiency == 0.5
    all_of_it = totals([found, job(2, **PLAIN | {"state": "FAILED"})])
    assert (all_of_it.used, all_of_it.allocated) == (2440, 5200)
    assert all_of_it.in_vain == 400 + 2400
    assert all_of_it.unknown == 0


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
keys = st.sampled_from([*PLAIN, "tasks", "attempts", "array_tasks", "exit_code", "cluster"])


@given(st.dictionaries(keys, values))
def test_whatever_a_record_holds_can_be_told(slurm):
    found = job(facts=[{"accounting": [slurm]}], **slurm)
    assert found.to_json()["slurm_job_id"] == 1
    assert totals([found]).jobs == 1


def jobs():
    return [
        job(1, name="fit-1", state="FAILED", elapsed=30, cpus=1),
        job(2, ("a/b",), name="fit-2", state="COMPLETED", elapsed=10, cpus=1),
        job(3, (".",), name="prep"),
        job(4, name="[x]", state="COMPLETED", elapsed=20, cpus=1),
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(), [1, 2, 3, 4]),
        (Choice(reverse=True), [4, 3, 2, 1]),
        (Choice(states=("FAILED",)), [1]),
        (Choice(states=("FAILED", "UNKNOWN")), [1, 3]),
        (Choice(names=("fit*",)), [1, 2]),
        (Choice(paths=("a/b/c",)), [2, 3]),
        (Choice(paths=("a",)), [2, 3]),
        (Choice(paths=("a/bc",)), [3]),
        (Choice(sort="ran"), [2, 4, 1, 3]),
        (Choice(sort="ran", reverse=True), [1, 4, 2, 3]),
        (Choice(states=("COMPLETED",), sort="job", reverse=True), [4, 2]),
    ],
)
def test_jobs_are_chosen_and_sorted_with_what_is_not_known_last(choice, expected):
    assert [each.job_id for each in chosen(jobs(), choice)] == expected
