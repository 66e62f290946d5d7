"""The benchmark's goals: met and missed, at their size and at others."""

from __future__ import annotations

import pytest
from _bench.goals import GOALS, judged
from _bench.measure import BARE, HERE, PEER, Row, Series, alternated

SMALL = {"jobs": 1000, "outputs": 4, "git_percent": 50, "files": 0}


def series(*values, wall=1.0, memory=1024):
    runs = [{"wall": wall, "cpu": 0.0, "memory_kb": memory, "others": 0.0} for _ in values]
    return Series(list(values), runs)


def row(scenario, size, *, part="", unit="s", **known):
    made = Row(scenario, f"{scenario} {part} {size}", size, part, unit)
    made.series.update(known)
    return made


def verdict(rows, number, files=None):
    found = [v for v in judged(rows) if v.number == number]
    if files is not None:
        found = [v for v in found if f"{files:,} files" in v.work]
    return found[0]


def test_every_goal_of_the_seven_is_there_and_none_is_reached_unmeasured():
    assert {goal.number for goal in GOALS} == set(range(1, 8))
    assert {v.reached for v in judged([])} == {"not measured"}
    assert not any(v.is_reached for v in judged([]))


@pytest.mark.parametrize(("here", "peer", "reached"), [(1.0, 1.0, "yes"), (1.1, 1.0, "no")])
def test_a_call_may_take_as_long_as_the_peers(here, peer, reached):
    measured = row("schedule", {"files": 0}, here=series(here), peer=series(peer))
    assert verdict([measured], 1).reached == reached


def test_without_the_peer_a_goal_about_it_is_missed():
    measured = row("schedule", {"files": 0}, here=series(1.0))
    assert verdict([measured], 1).reached == "no"


@pytest.mark.parametrize(
    ("here", "memory", "reached"),
    [(20.9, 100, "yes"), (21.1, 100, "no"), (20.9, 201, "no")],
)
def test_a_table_is_judged_by_the_loop_and_by_memory(here, memory, reached):
    known = {HERE: series(here, memory=memory * 1024), BARE: series(10.0)}
    assert verdict([row("table", SMALL, **known)], 2).reached == reached


def test_pairs_are_compared_before_the_median_is_taken():
    measured = row("list", SMALL, here=series(3.0, 30.0, 5.0), bare=series(1.0, 20.0, 2.0))
    assert measured.excess_over(2) == 1.0


@pytest.mark.parametrize(("files", "wanted"), [(0, 50), (100_000, 100), (250_000, 100)])
def test_a_finish_is_judged_by_the_peer(files, wanted):
    number = 5 if files else 4
    for ratio, reached in ((wanted * 1.01, "yes"), (wanted * 0.99, "no")):
        rows = [row("finish", SMALL, here=series(0.01), peer=series(1.0))]
        size = {**SMALL, "files": files}
        measured = row("finish", size, here=series(0.01), peer=series(ratio * 0.01))
        rows = [*rows, measured] if files else [measured]
        assert verdict(rows, number, files or None).reached == reached


@pytest.mark.parametrize(("cost", "reached"), [(0.0119, "yes"), (0.0121, "no")])
def test_a_job_may_cost_little_more_in_a_large_dataset(cost, reached):
    small = row("finish", SMALL, here=series(0.01), peer=series(5.0))
    # in what was scheduled for it, nothing is looked up
    other = row("finish", SMALL, part="schedule", here=series(9.0), peer=series(5.0))
    large = row("finish", {**SMALL, "files": 250_000}, here=series(cost), peer=series(5.0))
    assert verdict([other, small, large], 5, 250_000).reached == reached


def test_a_large_dataset_without_the_small_one_beside_it_is_no_success():
    large = row("finish", {**SMALL, "files": 250_000}, here=series(0.01), peer=series(5.0))
    assert verdict([large], 5, 250_000).reached == "no"


@pytest.mark.parametrize(
    ("wall", "memory", "last", "reached"),
    [
        (899, 399, 0.012, "yes"),
        (901, 399, 0.012, "no"),
        (899, 401, 0.012, "no"),
        (899, 399, 0.0121, "no"),
    ],
)
def test_ten_thousand_jobs_are_judged_by_time_memory_and_the_last_thousand(
    wall, memory, last, reached
):
    size = {"jobs": 10_000, "outputs": 12, "files": 0}
    known = series(0.01, wall=wall, memory=memory * 1024)
    rows = [
        row("scale", size, part="first", here=series(0.01)),
        row("scale", size, part="all", here=known),
        row("scale", size, part="last", here=series(last)),
    ]
    assert verdict(rows, 6).reached == reached


@pytest.mark.parametrize(("last", "reached"), [(0.012, "yes"), (0.0121, "no")])
def test_the_last_thousand_of_spread_jobs_is_judged_by_the_first_of_these(last, reached):
    size = {"jobs": 10_000, "outputs": 12, "files": 0}
    rows = [
        row("scale", size, part="first", here=series(1.0)),
        row("scale", size, part="first, spread", here=series(0.01)),
        row("scale", size, part="all, spread", here=series(0.01)),
        row("scale", size, part="last", here=series(1.0)),
        row("scale", size, part="last, spread", here=series(last)),
    ]
    assert [v.reached for v in judged(rows) if v.number == 6] == ["not measured", reached]


def test_calls_are_judged_for_a_table_and_for_single_calls():
    many = {HERE: Series([90.0]), PEER: Series([1800.0])}
    single = {HERE: Series([91.0]), PEER: Series([1800.0])}
    rows = [
        row("syscalls", SMALL, part="both", unit="calls", **single),
        row("syscalls", SMALL, part="bulk", unit="calls", **many),
    ]
    assert [v.reached for v in judged(rows) if v.number == 7] == ["yes", "no"]


def test_what_was_measured_at_another_size_says_so_and_does_not_count():
    size = {**SMALL, "jobs": 100}
    found = verdict([row("finish", size, here=series(0.01), peer=series(1.0))], 4)
    assert found.reached == "yes, at 100 jobs"
    assert not found.is_reached


def test_a_row_survives_its_json():
    known = row("list", SMALL, part="x", here=series(1.0, 2.0), peer=series(4.0, 6.0))
    known.notes.append("a note")
    again = Row.from_dict(known.as_dict())
    assert again == known
    assert again.ratio == pytest.approx(5.0 / 1.5)
    assert again.ratios == [4.0, 3.0]


def test_turns_go_the_other_way_round_each_time():
    assert list(alternated("ab", 3)) == [["a", "b"], ["b", "a"], ["a", "b"]]
