"""Outputs with sbatch's patterns: what they are of a task, and what they claim beforehand."""

from __future__ import annotations

import glob

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.claims import collide
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.logs import LogName, candidates
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.task_outputs import (
    claimed_ever,
    claims_expected,
    claims_of,
    has_patterns,
    is_template,
    literally,
    marked,
    names_own_id,
    names_task,
    places_expected,
    shown,
    task_of,
    with_claims,
)
from datalad_slurm.jobs.tasks import TaskId

TOKEN = "datalad-slurm-000000000000000000000000deadbeef"


def array(*indices, job_id=12, name="job.sh"):
    return SlurmJob(job_id, name=name, tasks=tuple(TaskId(job_id, index) for index in indices))


PLAIN = SlurmJob(12, name="job.sh", tasks=(TaskId(12),))


@pytest.mark.parametrize(
    ("output", "claim"),
    [
        ("sub-%a", "sub-7"),
        ("sub-%4a", "sub-0007"),
        ("sub-%04a", "sub-0007"),
        ("sub-%0a", "sub-7"),
        ("sub-%99a", "sub-0000000007"),
        ("log-%A_%a.txt", "log-12_7.txt"),
        ("%6A/%a/x", "000012/7/x"),
        ("%x", "job.sh"),
        ("%9x", "job.sh"),
        ("%%a", "%a"),
        ("%%%a", "%7"),
        ("100%", "100%"),
        ("50%-%q", "50%-%q"),
        ("%5%%a", "%5%a"),
        ("sub-%a/*.csv", "sub-7/*.csv"),
        ("sub-%a/", "sub-7"),
        ("sub-%a/*/", "sub-7/*/"),
        ("%a-%j", "7-[0-9]*"),
    ],
)
def test_a_pattern_stands_for_what_sbatch_writes(output, claim):
    assert claims_of([marked(output)], [array(7)]) == (claim,)


def test_of_a_job_that_is_no_array_sbatch_writes_the_largest_number():
    assert claims_of([marked("%a-%A-%6j")], [PLAIN]) == ("4294967294-12-000012",)


@pytest.mark.parametrize("letter", "JNbnstu")
def test_what_nobody_knows_beforehand_is_refused(letter):
    with pytest.raises(InvalidRequestError, match=f"pattern '%3{letter}'.*is typed %%"):
        marked(f"out-%3{letter}")


@pytest.mark.parametrize(
    "output",
    [
        "sub-%a*",
        "*%a",
        "*%a.txt",
        "a/%a*/x",
        "%a[0-9]*",
        "*2%a",
        "*[!x]%a",
        "%a*/%a*",
        "?*%a",
        "%3a*",
    ],
)
def test_what_would_stand_for_outputs_of_other_tasks_is_refused(output):
    with pytest.raises(InvalidRequestError, match="does not tell tasks from one another"):
        marked(output)


@pytest.mark.parametrize(
    "output",
    [
        *("sub-%a", "sub-%a/*", "*_%a.txt", "sub-%a_*", "%a[!0-9]*", "%a?", "%a/%a*", "*/%a.txt"),
        *("**/run-%a", "%A%a", "%A_%a-*", "%x%a", "*", "*%A", "%a/*%a", "x*-%a-*"),
    ],
)
def test_what_tells_tasks_from_one_another_can_hold_wildcards(output):
    assert marked(output)


@pytest.mark.parametrize(
    ("output", "task", "own_id", "any_pattern"),
    [
        ("a", False, False, False),
        ("a%", False, False, False),
        ("%%a%%j", False, False, True),
        ("%3a", True, False, True),
        ("%a%j", True, True, True),
        ("%A%x", False, False, True),
        ("%q%-", False, False, False),
    ],
)
def test_what_is_in_an_output(output, task, own_id, any_pattern):
    assert names_task(output) is task
    assert names_own_id(output) is own_id
    assert has_patterns(output) is any_pattern


@pytest.mark.parametrize("name", ["a/b", "..", "", "../../x"])
def test_a_name_that_leads_elsewhere_is_not_filled_in(name):
    assert claims_of([marked("o-%x")], [array(1, name=name)]) == ("o-*",)


def test_a_name_with_wildcards_stands_for_itself():
    assert claims_of([marked("%x")], [array(1, name="a*[b]")]) == ("a[*][[]b]",)


def test_each_task_and_each_job_has_its_claims():
    templates = [marked(output) for output in ("sub-%a", "all", "%A")]
    jobs = [array(1, 2), array(3, job_id=20)]
    assert claims_of(templates, jobs) == ("sub-1", "sub-2", "all", "12", "sub-3", "20")
    assert claims_of(templates, [array(), array(3, job_id=20)]) == ("sub-3", "all", "20")


def tracked(*outputs, jobs=()):
    templates = tuple(map(marked, outputs))
    expected = claims_expected(templates, None, None, TOKEN)
    return TrackedJob(
        1, TOKEN, "sbatch", ".", "", expected, outputs, templates, slurm_jobs=tuple(jobs)
    )


def test_claims_are_exact_once_all_tasks_are_known():
    unknown = SlurmJob(20)
    outputs = tracked("sub-%a").outputs
    assert outputs == ("sub-[0-9]*",)
    assert with_claims(tracked("sub-%a", jobs=[array(1), unknown])).outputs == outputs
    assert with_claims(tracked("sub-%a", jobs=[array(1, 5)])).outputs == ("sub-1", "sub-5")


def test_the_task_of_a_claim_is_found():
    job = with_claims(tracked("sub-%a", "all", jobs=[array(1, 5), array(9, job_id=20)]))
    assert task_of(job, "sub-5") == TaskId(12, 5)
    assert task_of(job, "sub-9") == TaskId(20, 9)
    assert task_of(job, "all") is None


def test_outputs_are_shown_as_typed():
    assert shown(tracked("sub-%3a/", "5%%-%A")) == ("sub-%3a/", "5%%-%A")


def test_ids_made_up_for_a_claim_name_no_place():
    job = tracked("sub-%a", "%A/x")
    assert len(job.outputs) == 2
    assert places_expected(job) == ("sub-[0-9]*", "sub-[0-9]*", "[0-9]*/x")
    assert places_expected(tracked("%x")) == ("*",)


def test_two_that_wait_for_their_ids_do_not_collide_and_meet_what_claims_any():
    templates = [marked("out-%j")]
    (one,) = claims_expected(templates, (), "n", TOKEN)
    (two,) = claims_expected(templates, (), "n", TOKEN[:-1] + "e")
    assert not collide(one, two)
    assert not collide(one, *claims_of(templates, [PLAIN]))
    for other in ("out-*", "out-[0-9]*", "out-" + one.removeprefix("out-")):
        assert collide(one, other)


# --- properties

pieces = st.sampled_from(
    ["a", "/b", "-", "%a", "%3a", "%A", "%12A", "%x", "%%", "%", "%q", ".", "7", "%j"]
)
typed = st.lists(pieces, min_size=1, max_size=8).map("".join).map(lambda text: f"o{text}")
indices = st.sets(st.integers(0, 30), max_size=6).map(sorted)


@given(typed, st.integers(0, 10**7))
def test_an_output_of_a_task_is_named_like_a_log(output, index):
    """The pattern of a log and that of an output stand for the same file."""
    if names_own_id(output) or "x" in output:
        return
    (claim,) = claims_of([marked(output)], [array(index)])
    assert glob.escape(candidates(LogName(output, index), TaskId(12, index), None, "")[0]) == claim


@given(st.text("ab%aAjx4/*[", max_size=12))
def test_a_literal_output_has_no_patterns(output):
    assert marked(literally(output)) == output
    assert not is_template(marked(literally(output)))


@given(typed, indices)
def test_what_is_claimed_beforehand_covers_what_tasks_write(output, tasks):
    job = tracked(output, jobs=[array(*tasks)])
    known = claims_expected(job.templates, tasks, None, TOKEN)
    for claim in claims_of(job.templates, [array(*tasks)]):
        assert any(collide(claim, ever) for ever in claimed_ever(job))
        if "A" not in output and "j" not in output:
            assert any(collide(claim, before) for before in known)
            assert any(collide(claim, before) for before in job.outputs)


@given(indices, indices)
def test_arrays_of_one_pattern_collide_if_they_share_a_task(ones, others):
    templates = [marked("sub-%3a/x")]
    theirs = claims_expected(templates, others, None, TOKEN) if others else ()
    mine = claims_of(templates, [array(*ones)])
    collision = any(collide(one, other) for one in mine for other in theirs)
    assert collision == bool({*ones} & {*others})
