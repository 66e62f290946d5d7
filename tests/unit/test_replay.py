"""Which jobs of a history are run again, and which of them stand in each other's way."""

from itertools import pairwise
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.claims import collide
from datalad_slurm.jobs.errors import OutputConflictError
from datalad_slurm.jobs.replay import Replay, find_readers, find_superseded


def job(commit, *outputs, cmd="sbatch job.sh", pwd=".", inputs=(), chain=()):
    return Replay(commit, cmd, pwd, outputs, tuple(inputs), tuple(chain))


def test_jobs_that_share_nothing_are_all_run():
    assert find_superseded([job("1", "a"), job("2", "b/c"), job("3", "b/d")]) == {}


def test_of_attempts_at_one_job_the_last_is_run():
    jobs = [
        job("1", "out", cmd="sbatch old.sh"),
        job("2", "out", cmd="sbatch old.sh", chain=["1"]),
        job("3", "out", cmd="sbatch old.sh", chain=["1", "2"]),
    ]
    assert find_superseded(jobs) == {"1": "3", "2": "3"}


def test_a_repetition_counts_though_the_attempt_between_is_not_in_the_range():
    assert find_superseded([job("1", "out"), job("3", "out", chain=["1", "2"])]) == {"1": "3"}


def test_the_same_command_scheduled_anew_stands_for_the_earlier_one():
    assert find_superseded([job("1", "out/a"), job("2", "out")]) == {"1": "2"}


@pytest.mark.parametrize(
    "later",
    [
        job("2", "out", cmd="sbatch other.sh"),
        job("2", "out", pwd="sub"),
        job("2", "out/a"),
        job("2", "", cmd="sbatch other.sh"),
    ],
    ids=["other-command", "other-directory", "less", "everything"],
)
def test_two_jobs_with_a_common_output_are_refused_by_name(later):
    with pytest.raises(OutputConflictError) as caught:
        find_superseded([job("1" * 40, "out", "more"), later])
    assert "1111111111 and 2 both write 'out'" in str(caught.value)


def test_globs_are_compared_as_claims():
    same = [job("1", "out/*.csv"), job("2", "out/*.csv")]
    assert find_superseded(same) == {"1": "2"}
    with pytest.raises(OutputConflictError, match=r"both write 'out/a\.\*'"):
        find_superseded([job("1", "out/a.*"), job("2", "*/*.csv", cmd="sbatch other.sh")])
    assert find_superseded([job("1", "out/a.*"), job("2", "*/b.csv", cmd="other")]) == {}
    readers = find_readers([job("1", "out/*.csv"), job("2", "x", inputs=["out/a.csv", "a.csv"])])
    assert readers == [("2", "1", "out/a.csv")]


names = st.lists(st.sampled_from("abc"), max_size=3).map("/".join)
histories = st.lists(st.tuples(st.sampled_from("xyz"), st.lists(names, min_size=1, max_size=2)))


@given(histories)
def test_what_is_left_never_shares_an_output_and_nothing_is_lost(history):
    jobs = [job(str(i), *outputs, cmd=cmd) for i, (cmd, outputs) in enumerate(history)]
    by_commit = {each.commit: each for each in jobs}
    try:
        superseded = find_superseded(jobs)
    except OutputConflictError:
        assert any(
            one.cmd != other.cmd or one.outputs != other.outputs for one, other in pairwise(jobs)
        )
        return
    left = [each for each in jobs if each.commit not in superseded]
    for i, one in enumerate(left):
        for other in left[:i]:
            assert not any(collide(a, b) for a in one.outputs for b in other.outputs)
    for earlier, later in superseded.items():
        assert later not in superseded
        for output in by_commit[earlier].outputs:
            assert any(collide(output, path) for path in by_commit[later].outputs)


def test_a_job_that_reads_what_an_earlier_one_writes_is_found():
    jobs = [
        job("1", "data/raw"),
        job("2", "figure", inputs=["data/raw/a.csv", "code"]),
        job("3", "all", inputs=["data"]),
        job("4", "x", inputs=["dat", "y"]),
        job("5", "y", inputs=["y"]),
    ]
    assert find_readers(jobs) == [("2", "1", "data/raw/a.csv"), ("3", "1", "data")]


def test_ten_thousand_jobs_take_no_time_worth_mentioning():
    jobs = [job(str(i), f"results/{i}/out", inputs=["code/job.sh"]) for i in range(10_000)]
    start = monotonic()
    assert find_superseded(jobs) == {}
    assert find_readers(jobs) == []
    assert monotonic() - start < 5
