"""What is done with a job, by its status and what the user wants done with failed ones."""

import pytest

from datalad_slurm.jobs.model import Answer, JobStatus
from datalad_slurm.jobs.plan import Action, FailedJobs, decide
from tests.unit.builders import array, known, unknown

KEEP, ACCEPT, CLOSE = FailedJobs.KEEP_OPEN, FailedJobs.ACCEPT, FailedJobs.CLOSE


def always(action):
    return dict.fromkeys(FailedJobs, action)


FAILED = {KEEP: Action.REFUSE, ACCEPT: Action.COMMIT, CLOSE: Action.CLOSE}


@pytest.mark.parametrize("failed_jobs", FailedJobs)
@pytest.mark.parametrize(
    ("status", "actions"),
    [
        pytest.param(array("COMPLETED"), always(Action.COMMIT), id="completed"),
        pytest.param(array("COMPLETED", "COMPLETED"), always(Action.COMMIT), id="all-completed"),
        pytest.param(array("FAILED"), FAILED, id="failed"),
        pytest.param(array("CANCELLED"), FAILED, id="cancelled"),
        pytest.param(array("COMPLETED", "TIMEOUT"), FAILED, id="one-failed"),
        pytest.param(array("RUNNING"), always(Action.WAIT), id="running"),
        pytest.param(array("SUSPENDED"), always(Action.WAIT), id="suspended"),
        pytest.param(array("FAILED", "PENDING"), always(Action.WAIT), id="one-waits"),
        pytest.param(array("COMPLETED", "RUNNING", ""), always(Action.WAIT), id="one-runs"),
        pytest.param(array("FROBNICATED"), always(Action.WAIT), id="unknown-word"),
        pytest.param(array("COMPLETED", ""), always(Action.ASK_AGAIN), id="one-unknown"),
        pytest.param(
            JobStatus((unknown(answer=Answer.QUERY_FAILED),)),
            always(Action.ASK_AGAIN),
            id="query-failed",
        ),
        pytest.param(
            JobStatus((unknown(answer=Answer.QUERY_FAILED, word="PREEMPTED"),)),
            always(Action.ASK_AGAIN),
            id="preempted-perhaps-to-come-back",
        ),
        pytest.param(JobStatus(()), always(Action.ASK_AGAIN), id="no-task"),
        pytest.param(
            JobStatus((known("COMPLETED"),), is_complete=False),
            always(Action.WAIT),
            id="tasks-not-all-known",
        ),
    ],
)
def test_what_is_done_with_a_job(status, actions, failed_jobs):
    assert decide(status, failed_jobs) is actions[failed_jobs]
