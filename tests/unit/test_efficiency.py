"""Efficiency as seff and reportseff tell it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.efficiency import (
    asked_memory,
    count_nodes,
    format_memory,
    format_share,
    share,
)

M, G = 2**20, 2**30


@pytest.mark.parametrize(
    ("used", "given", "expected"),
    [(3, 4, 0.75), (0, 4, 0.0), (None, 4, None), (3, None, None), (3, 0, None)],
)
def test_a_share_is_known_only_where_both_are_and_something_was_given(used, given, expected):
    assert share(used, given) == expected


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("", 0),
        ("n1", 1),
        ("n1,m2", 2),
        ("n[1-3]", 3),
        ("n[1-3,7],m2", 5),
        ("n[001-010]", 10),
        ("rack[1-2]node[1-4]", 8),
        ("n[", 1),
        ("n[x-y]", 1),
    ],
)
def test_nodes_of_a_list_are_counted(nodes, expected):
    assert count_nodes(nodes) == expected


@given(st.text(alphabet="n[]-,0123456789x", max_size=30))
def test_any_text_has_a_number_of_nodes(nodes):
    assert count_nodes(nodes) >= 0


@pytest.mark.parametrize(
    ("text", "cpus", "nodes", "expected"),
    [
        ("150M", 3, 1, 150 * M),  # Slurm 22.05, --mem-per-cpu=50 -c 3
        ("120M", 2, 2, 120 * M),  # Slurm 22.05, --mem=60 -N 2
        ("4Gc", 2, 1, 8 * G),
        ("4Gc", None, 1, None),
        ("4Gn", 2, 3, 12 * G),
        ("4Gn", 2, 0, 4 * G),
        ("0", 2, 1, None),
        ("0n", 2, 1, None),
        ("", 2, 1, None),
        ("much", 2, 1, None),
    ],
)
def test_memory_asked_for_is_that_of_the_whole_job(text, cpus, nodes, expected):
    assert asked_memory(text, cpus, nodes) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [(None, "-"), (0, "0B"), (1023, "1023B"), (812 * 1024, "812K"), (int(3.9 * G), "3.9G"),
     (16 * G, "16G"), (2 * 2**40, "2.0T")],
)  # fmt: skip
def test_memory_is_written_in_few_characters(size, expected):
    assert format_memory(size) == expected


@pytest.mark.parametrize(("value", "expected"), [(None, "-"), (0.0, "0%"), (0.874, "87%")])
def test_a_share_is_written_in_percent(value, expected):
    assert format_share(value) == expected
