"""Every word Slurm has for a state means what sacct(1) and squeue(1) say."""

import pytest

from datalad_slurm.jobs.states import JobState

OPEN = [
    "PENDING",
    "CONFIGURING",
    "RUNNING",
    "COMPLETING",
    "SUSPENDED",
    "STOPPED",
    "SIGNALING",
    "RESIZING",
    "STAGE_OUT",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "SPECIAL_EXIT",
    "RESV_DEL_HOLD",
    "POWER_UP_NODE",
    "UPDATE_DB",
]
ENDED = [
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "OUT_OF_MEMORY",
    "NODE_FAIL",
    "BOOT_FAIL",
    "DEADLINE",
    "LAUNCH_FAILED",
    "RECONFIG_FAIL",
    "REVOKED",
    "PREEMPTED",
]
WAITING = [
    "PENDING",
    "CONFIGURING",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "SPECIAL_EXIT",
    "RESV_DEL_HOLD",
    "POWER_UP_NODE",
]


@pytest.mark.parametrize("word", OPEN)
def test_a_state_that_goes_on_has_not_ended(word):
    state = JobState.parse(word)
    assert state.value == word
    assert not state.has_ended
    assert not state.is_ok


@pytest.mark.parametrize("word", ENDED)
def test_a_final_state_has_ended(word):
    state = JobState.parse(word)
    assert state.value == word
    assert state.has_ended
    assert not state.waits


def test_no_state_is_left_out_of_the_tables():
    assert {state.value for state in JobState} == {*OPEN, *ENDED, "UNKNOWN"}


@pytest.mark.parametrize("word", [*OPEN, *ENDED])
def test_only_completed_is_ok(word):
    assert JobState.parse(word).is_ok == (word == "COMPLETED")


@pytest.mark.parametrize("word", [*OPEN, *ENDED])
def test_a_job_waits_before_it_has_begun_to_run(word):
    assert JobState.parse(word).waits == (word in WAITING)


@pytest.mark.parametrize("word", [*OPEN, *ENDED])
def test_what_the_system_broke_off_may_start_again(word):
    again = {"PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED"}
    assert JobState.parse(word).may_start_again == (word in again)


@pytest.mark.parametrize(
    ("text", "state"),
    [
        pytest.param("CANCELLED by 1000", JobState.CANCELLED, id="with-user"),
        pytest.param("CANCELLED+", JobState.CANCELLED, id="cut-to-the-column"),
        pytest.param("CANCELED", JobState.CANCELLED, id="one-l"),
        pytest.param("OOM", JobState.OUT_OF_MEMORY, id="short-for-out-of-memory"),
        pytest.param("running", JobState.RUNNING, id="lower-case"),
        pytest.param("  COMPLETED  ", JobState.COMPLETED, id="padded"),
        pytest.param("COMPLETED,COMPLETING", JobState.COMPLETING, id="ended-but-for-a-flag"),
        pytest.param("COMPLETING,COMPLETED", JobState.COMPLETING, id="flag-first"),
        pytest.param("FAILED,CANCELLED", JobState.FAILED, id="two-endings"),
        pytest.param("COMPLETED,FROBNICATED", JobState.UNKNOWN, id="unknown-flag"),
        pytest.param("COMPLETED,", JobState.UNKNOWN, id="trailing-comma"),
    ],
)
def test_spellings_of_states(text, state):
    assert JobState.parse(text) is state


@pytest.mark.parametrize(
    "text", ["", " ", "FROBNICATED", "CANCELL+", "COMPLETE", "UNKNOWN", "None"]
)
def test_an_unknown_word_has_not_ended(text):
    assert JobState.parse(text) is JobState.UNKNOWN
    assert not JobState.UNKNOWN.has_ended
