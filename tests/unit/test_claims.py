"""Claims collide when they share a path, whatever bytes their names have."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.claims import (
    ancestors,
    beginning,
    bounds_of_prefix,
    collide,
    covers,
    is_below,
)

#: among them bytes just below and above the slash, and names that are no UTF-8
NAMES = ["a", "b", "a-b", "a.b", "a0", "a ", "ä", "a\udce4", "\udcff", "\x01", "A"]
paths = st.lists(st.sampled_from(NAMES), max_size=4).map("/".join)
any_paths = paths | st.lists(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
).map("/".join)


def covered(claim, tree):
    """Return what a claim stands for in a tree, a set of tuples of names."""
    top = tuple(claim.split("/")) if claim else ()
    return {path for path in tree if path[: len(top)] == top}


@given(any_paths, any_paths)
def test_collision_is_symmetric(one, other):
    assert collide(one, other) == collide(other, one)


@given(st.lists(paths), paths, paths)
def test_claims_collide_when_they_cover_a_common_path(others, one, other):
    tree = {tuple(path.split("/")) if path else () for path in (*others, one, other)}
    assert collide(one, other) == bool(covered(one, tree) & covered(other, tree))


@given(paths)
def test_the_root_collides_with_everything(path):
    assert collide("", path)


def test_a_common_beginning_of_a_name_is_no_collision():
    assert not any(collide("out/a", f"out/{name}") for name in ("a-b", "a.b", "a0", "a "))


@given(any_paths, any_paths)
def test_ancestors_are_the_claims_that_cover_a_path(path, claim):
    assert (claim in set(ancestors(path))) == is_below(path, claim)


@given(any_paths)
def test_ancestors_go_from_the_path_up_to_the_root(path):
    found = list(ancestors(path))
    assert found[0] == path
    assert found[-1] == ""
    assert len(found) == len(set(found))


@given(any_paths, any_paths)
def test_claims_that_collide_are_found_by_their_beginnings(one, other):
    first, second = map(beginning, (one, other))
    if collide(one, other):
        assert first.startswith(second) or second.startswith(first)


@given(any_paths, any_paths | st.sampled_from(["", "\udcff", "a\udcff", "a\udcff\udcff"]))
def test_bounds_hold_what_begins_with_a_text_in_byte_order(path, text):
    bounds = bounds_of_prefix(text)
    begins = os.fsencode(path).startswith(os.fsencode(text))
    if bounds is None:
        assert not text.strip("\udcff")
        assert not begins or os.fsencode(path) >= os.fsencode(text)
    else:
        low, high = map(os.fsencode, bounds)
        assert (low <= os.fsencode(path) < high) == begins


@pytest.mark.parametrize(
    ("claim", "path", "is_covered"),
    [
        ("a", "a", True),
        ("a", "a/b", True),
        ("a/b", "a", False),
        ("", "a", True),
        ("a[*]", "a*", True),
        ("a[*]", "ab", False),
        ("*.csv", "x.csv", True),
        ("*.csv", "x.csv/inner", True),
        ("*.csv", "d/x.csv", False),
        ("d/*", "d", False),
        ("d/**", "d/e/f", True),
        ("*/", "a", False),
        ("*/", "a/b", True),
    ],
)
def test_a_claim_covers_what_it_matches_and_all_below(claim, path, is_covered):
    assert covers(claim, path) is is_covered
