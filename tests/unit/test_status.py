"""What slurmctld and the accounting say, put together: only a known ending is an ending."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.model import Answer, SlurmJob
from datalad_slurm.jobs.plan import Action, FailedJobs, decide
from datalad_slurm.jobs.states import JobState
from datalad_slurm.jobs.status import Observation, combine, resolve
from datalad_slurm.jobs.tasks import TaskId
from tests.unit.builders import SUBMITTED, accounted, array, queued

JOB = SlurmJob(12, submitted=SUBMITTED, tasks=(TaskId(12),))
DAY = 86400
BROKEN = {
    "": {},
    "squeue": {"queue_failure": "squeue is down"},
    "sacct": {"accounting_failure": "sacct is down"},
    "both": {"queue_failure": "squeue is down", "accounting_failure": "sacct is down"},
}
ENDED = ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "DEADLINE", "REVOKED"]
AGAIN = ["PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED"]
OPEN = ["PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "FROBNICATED"]


def see(in_queue=(), in_accounting=(), broken=""):
    return Observation(list(in_queue), list(in_accounting), **BROKEN[broken])


def see_one(queue_word, accounting_word, broken=""):
    return see(
        [queued(queue_word)] if queue_word else [],
        [accounted(accounting_word)] if accounting_word else [],
        broken,
    )


@pytest.mark.parametrize(
    ("queue_word", "accounting_word", "broken", "state", "answer"),
    [
        pytest.param("RUNNING", "PENDING", "", "RUNNING", "known", id="accounting-lags-at-start"),
        pytest.param("COMPLETED", "RUNNING", "", "COMPLETED", "known", id="and-at-the-end"),
        pytest.param("COMPLETED", "", "", "COMPLETED", "known", id="and-has-no-row"),
        pytest.param("FAILED", "", "sacct", "FAILED", "known", id="accounting-is-down"),
        pytest.param("RUNNING", "", "sacct", "RUNNING", "known", id="and-the-job-runs"),
        pytest.param(
            "PENDING", "PREEMPTED", "", "PENDING", "known", id="requeued-after-preemption"
        ),
        pytest.param("RUNNING", "COMPLETED", "", "RUNNING", "known", id="requeued-by-hand"),
        pytest.param("", "COMPLETED", "", "COMPLETED", "known", id="forgotten-and-completed"),
        pytest.param("", "PREEMPTED", "", "PREEMPTED", "known", id="preempted-for-good"),
        pytest.param("", "RUNNING", "", "RUNNING", "not known yet", id="forgotten-lagging"),
        pytest.param("", "REQUEUED", "", "REQUEUED", "not known yet", id="forgotten-requeued"),
        pytest.param("", "", "", "UNKNOWN", "not known yet", id="nobody-knows-it"),
        pytest.param("", "COMPLETED", "squeue", "COMPLETED", "known", id="ended-though-ctld-down"),
        pytest.param("", "RUNNING", "squeue", "RUNNING", "known", id="running-though-ctld-down"),
        pytest.param("", "", "squeue", "UNKNOWN", "the query failed", id="only-squeue-failed"),
        pytest.param("", "", "sacct", "UNKNOWN", "the query failed", id="only-sacct-failed"),
        pytest.param("", "", "both", "UNKNOWN", "the query failed", id="both-failed"),
        *(
            pytest.param("", word, "squeue", word, "the query failed", id=f"{word}-may-come-back")
            for word in AGAIN
        ),
    ],
)
def test_the_state_of_a_task(queue_word, accounting_word, broken, state, answer):
    (task,) = resolve(JOB, see_one(queue_word, accounting_word, broken)).tasks
    assert task.state is JobState(state)
    assert task.answer is Answer(answer)


@pytest.mark.parametrize("broken", ["", "sacct"])
@pytest.mark.parametrize("accounting_word", ["", "PENDING", "RUNNING", *ENDED, *AGAIN])
@pytest.mark.parametrize("word", OPEN)
def test_a_job_that_slurmctld_holds_open_has_not_ended(word, accounting_word, broken):
    if broken == "sacct":
        accounting_word = ""
    assert not resolve(JOB, see_one(word, accounting_word, broken)).has_ended


@pytest.mark.parametrize("broken", ["", "squeue"])
@pytest.mark.parametrize("word", OPEN)
def test_a_job_that_only_accounting_holds_open_has_not_ended(word, broken):
    assert not resolve(JOB, see_one("", word, broken)).has_ended


@pytest.mark.parametrize("word", [*ENDED, *AGAIN])
def test_an_ending_is_known_from_either_source(word):
    assert resolve(JOB, see_one(word, "")).has_ended
    assert resolve(JOB, see_one("", word)).has_ended
    assert resolve(JOB, see_one(word, "", "sacct")).has_ended


@pytest.mark.parametrize("broken", ["squeue", "sacct", "both"])
def test_a_failed_query_ends_no_job_and_is_told(broken):
    status = resolve(JOB, see(broken=broken))
    assert not status.has_ended
    assert not status.is_answered
    assert "is down" in status.failure
    assert decide(status, FailedJobs.CLOSE) is Action.ASK_AGAIN


@pytest.mark.parametrize("word", AGAIN)
def test_what_may_start_again_stays_open_while_slurmctld_does_not_answer(word):
    status = resolve(JOB, see_one("", word, "squeue"))
    assert not status.has_ended
    assert decide(status, FailedJobs.CLOSE) is Action.ASK_AGAIN


@pytest.mark.parametrize("broken", ["", "squeue"])
def test_rows_of_an_older_job_with_the_same_id_are_ignored(broken):
    old = SUBMITTED - 3 * DAY
    seen = see([], [accounted("COMPLETED", submitted=old)], broken)
    assert not resolve(JOB, seen).has_ended
    seen = see([queued("FAILED", submitted=old)] if not broken else [], [], broken)
    assert not resolve(JOB, seen).has_ended


def test_an_older_row_does_not_hide_the_right_one():
    rows = [accounted("RUNNING"), accounted("COMPLETED", submitted=SUBMITTED - 3 * DAY)]
    for order in (rows, rows[::-1]):
        assert not resolve(JOB, see([], order, "squeue")).has_ended


@pytest.mark.parametrize("later", [-60, 0, 60, 3 * DAY], ids=["skew", "same", "soon", "requeued"])
def test_a_requeue_or_a_clock_that_differs_is_no_other_job(later):
    assert resolve(JOB, see([], [accounted("COMPLETED", submitted=SUBMITTED + later)])).has_ended


def test_without_a_submit_time_every_row_of_the_id_counts():
    assert resolve(JOB, see([], [accounted("COMPLETED", submitted=None)])).has_ended
    assert resolve(SlurmJob(12, tasks=JOB.tasks), see_one("", "COMPLETED")).has_ended


def test_rows_of_other_jobs_do_not_count():
    other = TaskId(13)
    seen = see([queued("COMPLETED", other)], [accounted("COMPLETED", other)])
    assert [task.answer for task in resolve(JOB, seen).tasks] == [Answer.NOT_YET]


ARRAY = SlurmJob(12, submitted=SUBMITTED, tasks=tuple(TaskId(12, i) for i in range(3)))


def test_an_array_of_which_some_tasks_are_not_shown_has_not_ended():
    rows = [accounted("COMPLETED", TaskId(12, i)) for i in (0, 2)]
    status = resolve(ARRAY, see([], rows))
    assert not status.has_ended
    assert [task.has_ended for task in status.tasks] == [True, False, True]


def test_an_array_is_put_together_from_both_sources():
    status = resolve(
        ARRAY,
        see(
            [queued("COMPLETED", TaskId(12, 2))],
            [accounted("COMPLETED", TaskId(12, 0)), accounted("TIMEOUT", TaskId(12, 1))],
        ),
    )
    assert status.has_ended
    assert not status.is_ok
    assert [task.word for task in status.tasks] == ["COMPLETED", "TIMEOUT", "COMPLETED"]


HET = SlurmJob(12, submitted=SUBMITTED, tasks=tuple(TaskId(12, component=i) for i in (0, 1)))


def test_a_het_job_ends_with_its_last_component():
    first, second = HET.tasks
    assert not resolve(HET, see([], [accounted("COMPLETED", first)])).has_ended
    assert not resolve(HET, see([queued("COMPLETED", first), queued("RUNNING", second)])).has_ended
    assert resolve(HET, see([queued("COMPLETED", first), queued("COMPLETED", second)])).is_ok


def test_what_accounting_says_of_a_het_job_before_it_knows_its_parts_is_not_its_end():
    # 22.05 shows such a row, as 21|PENDING, until its components are there
    assert not resolve(HET, see([], [accounted("COMPLETED")])).has_ended


NAMELESS = SlurmJob(12, submitted=SUBMITTED)  # slurmctld could not be asked for its tasks


@pytest.mark.parametrize(
    ("seen", "has_ended"),
    [
        pytest.param(see(), False, id="nothing-seen"),
        pytest.param(see(broken="both"), False, id="nothing-answered"),
        pytest.param(see_one("", "COMPLETED"), True, id="slurmctld-has-forgotten-it"),
        pytest.param(see_one("", "COMPLETED", "squeue"), False, id="slurmctld-is-down"),
        pytest.param(see_one("COMPLETED", "COMPLETED"), False, id="slurmctld-knows-one-task"),
        pytest.param(see_one("COMPLETED", "", "sacct"), False, id="accounting-is-down"),
    ],
)
def test_a_job_whose_tasks_are_unknown_ends_only_when_slurmctld_has_forgotten_it(seen, has_ended):
    assert resolve(NAMELESS, seen).has_ended == has_ended


def test_unknown_tasks_are_taken_from_what_is_seen():
    seen = see([queued("RUNNING", TaskId(12, 4))], [accounted("COMPLETED", TaskId(12, 1))])
    assert [task.task.index for task in resolve(NAMELESS, seen).tasks] == [1, 4]


def test_facts_of_an_earlier_run_are_not_those_of_this_one():
    assert resolve(JOB, see_one("RUNNING", "PREEMPTED")).tasks[0].facts is None
    assert resolve(JOB, see_one("COMPLETED", "COMPLETED")).tasks[0].facts is not None


def test_reason_and_elapsed_time_come_from_slurmctld():
    seen = see([queued("PENDING", reason="JobHeldUser", elapsed="0:00")])
    (task,) = resolve(JOB, seen).tasks
    assert (task.reason, task.elapsed) == ("JobHeldUser", "0:00")


def test_a_command_with_several_jobs_ends_with_the_last():
    one, two = array("COMPLETED"), array("RUNNING", job_id=13)
    assert combine([one]) is one
    assert not combine([one, two]).has_ended
    assert combine([one, array("COMPLETED", job_id=13)]).is_ok
    assert combine([one, array("FAILED", job_id=13)]).word == "FAILED"
    assert not combine([one, resolve(NAMELESS, see())]).has_ended


maybe_word = st.sampled_from(["", *OPEN, *ENDED, *AGAIN])
flags = st.sampled_from(FailedJobs)


@st.composite
def observations(draw):
    """Return an observation of an array, and what each source says of its tasks."""
    said = draw(st.lists(st.tuples(maybe_word, maybe_word), min_size=1, max_size=4))
    broken = draw(st.sampled_from(sorted(BROKEN)))
    said = [
        (
            "" if broken in ("squeue", "both") else in_queue,
            "" if broken in ("sacct", "both") else in_accounting,
        )
        for in_queue, in_accounting in said
    ]
    tasks = tuple(TaskId(12, index) for index in range(len(said)))
    seen = see(
        [queued(word, task) for task, (word, _) in zip(tasks, said, strict=True) if word],
        [accounted(word, task) for task, (_, word) in zip(tasks, said, strict=True) if word],
        broken,
    )
    return SlurmJob(12, submitted=SUBMITTED, tasks=tasks), seen, said


def is_ending(word):
    return JobState.parse(word).has_ended


@given(observations(), flags)
def test_a_job_with_a_task_of_which_no_source_knows_the_end_stays_open(observation, failed_jobs):
    job, seen, said = observation
    action = decide(resolve(job, seen), failed_jobs)
    if not all(is_ending(in_queue) or is_ending(in_acct) for in_queue, in_acct in said):
        assert action in (Action.WAIT, Action.ASK_AGAIN)


@given(observations(), flags)
def test_a_job_with_a_task_that_slurmctld_holds_open_waits(observation, failed_jobs):
    job, seen, said = observation
    if any(in_queue and not is_ending(in_queue) for in_queue, _ in said):
        assert decide(resolve(job, seen), failed_jobs) is Action.WAIT


@given(observations())
def test_every_observation_has_a_word_and_a_description(observation):
    job, seen, _ = observation
    status = resolve(job, seen)
    assert status.word
    assert len(status.tasks) == len(job.tasks)
    assert all(str(task) in status.describe() for task in job.tasks)


@given(observations())
def test_a_job_whose_tasks_are_unknown_has_not_ended_while_a_seen_one_goes_on(observation):
    _, seen, said = observation
    latest = [in_queue or in_accounting for in_queue, in_accounting in said]
    if any(word and not is_ending(word) for word in latest):
        assert not resolve(NAMELESS, seen).has_ended
