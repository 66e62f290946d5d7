"""A later job that got the id of a tracked one."""

from __future__ import annotations

import pytest

from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.jobs.model import SlurmJob
from datalad_slurm.jobs.status import Observation, resolve
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.slurm import sacct, squeue
from datalad_slurm.workflow.namesakes import without_namesakes
from tests.unit.builders import SUBMITTED, accounted, queued

_JOB = SlurmJob(12, submitted=SUBMITTED, tasks=(TaskId(12),))
_LATER = SUBMITTED + 20


@pytest.fixture
def slurm(monkeypatch):
    """Return what Slurm would say; each test fills it in."""
    said = {"restarted": set(), "runs": [], "earlier": [], "asked": []}

    def answer(name):
        def ask(*args, **kwargs):
            said["asked"].append(name)
            if isinstance(said[name], Exception):
                raise said[name]
            return said[name]

        return ask

    monkeypatch.setattr(squeue, "find_restarted", answer("restarted"))
    monkeypatch.setattr(sacct, "show_runs", answer("runs"))
    monkeypatch.setattr(sacct, "show", answer("earlier"))
    return said


def words(seen, job=_JOB):
    """Return word and answer of each task."""
    status = resolve(job, without_namesakes([job], "", seen, 1))
    return [(task.word, task.answer.value) for task in status.tasks]


def test_rows_of_one_submission_cost_no_further_query(slurm):
    seen = Observation([queued("COMPLETED")], [accounted("COMPLETED")])
    assert without_namesakes([_JOB], "", seen, 1) is seen
    assert slurm["asked"] == []


def test_a_job_that_was_started_again_is_the_same_job(slurm):
    slurm["restarted"] = {12}
    seen = Observation([queued("COMPLETED", submitted=_LATER)], [accounted("NODE_FAIL")])
    assert words(seen) == [("COMPLETED", "known")]


def test_a_job_that_was_not_started_again_is_another(slurm):
    slurm["earlier"] = [accounted("FAILED")]
    seen = Observation([queued("COMPLETED", submitted=_LATER)], [accounted("FAILED")])
    assert words(seen) == [("FAILED", "known")]


def test_further_runs_of_a_job_are_known_by_their_submission(slurm):
    slurm["runs"] = [sacct.Run(12, SUBMITTED, "same"), sacct.Run(12, _LATER, "same")]
    seen = Observation([], [accounted("COMPLETED", submitted=_LATER)])
    assert words(seen) == [("COMPLETED", "known")]


def test_another_job_in_the_accounting_is_known_by_its_submission(slurm):
    slurm["runs"] = [sacct.Run(12, SUBMITTED, "ours"), sacct.Run(12, _LATER, "another")]
    slurm["earlier"] = [accounted("CANCELLED")]
    seen = Observation([], [accounted("COMPLETED", submitted=_LATER)])
    assert words(seen) == [("CANCELLED", "known")]


@pytest.mark.parametrize("broken", ["restarted", "runs"])
def test_a_further_query_that_fails_ends_no_job(slurm, broken):
    slurm[broken] = QueryFailedError("no answer")
    row = {"submitted": _LATER}
    seen = (
        Observation([queued("COMPLETED", **row)], [])
        if broken == "restarted"
        else Observation([], [accounted("COMPLETED", **row)])
    )
    assert words(seen) == [("", "the query failed")]


def test_a_job_that_slurmctld_has_not_described_is_taken_as_it_is(slurm):
    job = SlurmJob(12, submitted=SUBMITTED)
    seen = Observation([], [accounted("COMPLETED", submitted=_LATER)])
    assert words(seen, job) == [("COMPLETED", "known")]
    assert slurm["asked"] == []
