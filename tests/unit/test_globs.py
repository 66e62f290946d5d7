"""Globs match what Python's `glob` matches, and it is known exactly which have paths in common."""

from __future__ import annotations

import glob
import itertools
import os
from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datalad_slurm.jobs.claims import collide, is_below, is_glob, top_of
from datalad_slurm.jobs.globs import parse_glob

#: pieces of patterns of a name, whole names with a dot among them
PIECES = [
    "a",
    "b",
    ".",
    "*",
    "?",
    "[ab]",
    "[!a]",
    "[a-b]",
    "[!.]",
    "[*]",
    "[",
    "]",
    "[]a]",
    "[z-a]",
]
name_patterns = (st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join)).filter(
    lambda text: text not in (".", "..", "**")
)
patterns = st.lists(name_patterns | st.just("**"), min_size=1, max_size=3).map("/".join)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Return a directory with files and directories of odd names, and what is in it."""
    root = tmp_path_factory.mktemp("tree")
    names = ["a", "b", "ab", ".a", "*", "[", "a]"]
    for path in itertools.product(names, names):
        (root / "/".join(path) / "b").mkdir(parents=True)
        (root / "/".join(path) / ".b").touch()
        (root / path[0] / "aa").touch()
        (root / path[0] / "...").touch()
    (root / "bb").touch()
    return root, [path.relative_to(root) for path in root.rglob("*")]


@settings(max_examples=400, deadline=None)
@given(patterns, st.booleans())
@example("**", False)
@example("**", True)
@example("**/**", False)
@example("a/**", False)
@example("bb/**", False)
@example("*/**/b", True)
def test_a_glob_matches_what_pythons_glob_finds(tree, pattern, is_slash_at_end):
    root, paths = tree
    text = pattern + "/" * is_slash_at_end
    found = {
        os.path.normpath(hit)
        for hit in glob.glob(text, root_dir=root, recursive=True)
        # before Python 3.13 `file/**` finds `file/`
        if hit and (not hit.endswith("/") or (root / hit).is_dir())
    }
    parsed = parse_glob(text)
    matched = {str(p) for p in paths if parsed.matches(str(p), is_directory=(root / p).is_dir())}
    assert matched == found


def matches_name(pattern, name):
    return fnmatchcase(name, pattern) and (pattern[0] == "." or name[0] != ".")


#: each length that two patterns of three pieces can need, of all characters that they tell apart
NAMES = [
    name
    for length in range(1, 5)
    for name in map("".join, itertools.product("ab.*][c?", repeat=length))
    if name not in (".", "..")
]


@settings(max_examples=300, deadline=None)
@given(name_patterns, name_patterns)
@example("*a", "b*")
@example(".*", "*.")
@example("[!a]*", "a*")
@example(".?", "?.")
@example(".[.]", ".*")
@example("[?[ab]", "[?]")
def test_two_patterns_of_one_name_collide_when_a_name_is_matched_by_both(one, other):
    shared = any(matches_name(one, name) and matches_name(other, name) for name in NAMES)
    assert collide(one, other) == shared


def covers(claim, path):
    """Return whether a claim stands for a path, both as tuples of names."""
    if not claim:
        return True
    if not path:
        return False
    if claim == ("**",):
        return path[0][0] != "."
    if claim[0] == "**":
        return covers(claim[1:], path) or (path[0][0] != "." and covers(claim, path[1:]))
    if not matches_name(claim[0], path[0]):
        return False
    return set(claim[1:]) == {"**"} or covers(claim[1:], path[1:])


PATHS = [
    path for depth in range(1, 7) for path in itertools.product(["a", "b", ".a"], repeat=depth)
]
claims = st.lists(
    st.sampled_from(["a", "b", ".a", "*", "?", ".*", ".?", "[!a]", "[.]a", "**", "**"]), max_size=3
).map("/".join)


@settings(max_examples=500, deadline=None)
@given(claims, claims)
@example("**", ".a")
@example("**", "a/.a")
@example("a/**", "a/.a")
@example("a/**/.a", "a/.a/b")
@example("**/.a", "*/b")
@example("**/**", "*/.a")
@example("[.]a", "")
def test_two_globs_collide_when_they_cover_a_common_path(one, other):
    split_one, split_other = (tuple(c.split("/")) if c else () for c in (one, other))
    shared = any(covers(split_one, path) and covers(split_other, path) for path in PATHS)
    assert collide(one, other) == collide(other, one) == shared


@given(
    st.lists(
        st.text(
            st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1
        ).filter(lambda n: n not in (".", "..")),
        max_size=3,
    ).map("/".join),
    claims,
)
def test_an_escaped_path_is_no_glob_and_collides_like_the_path(path, claim):
    escaped = glob.escape(path)
    assert not is_glob(escaped)
    assert top_of(escaped) == path
    assert collide(escaped, escaped)
    if not is_glob(claim):
        assert collide(escaped, claim) == (is_below(path, claim) or is_below(claim, path))
    if path and collide(escaped, claim):
        assert collide(glob.escape(os.path.dirname(path)), claim)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("out/*.csv", "out/a.csv"),
        ("out/*.csv", "out"),
        ("out/*.csv", "out/a.csv/x"),
        ("out/*.csv", ""),
        ("out/*.csv", "out/a*"),
        ("out/*.csv", "*/x.csv"),
        ("sub-*/stats/**", "sub-01/stats/a/b"),
        ("sub-*/stats/**", "sub-01/stats"),
        ("sub-*/stats/**", "sub-01"),
        ("sub-*/stats/", "sub-01/stats/x"),
        ("sub-0?/x", "sub-[0-9][5-9]/*"),
        ("**/a", "x/y/z/a/b"),
        ("a[*]", "a[*]"),
        ("a[*]", "a*"),
        ("ä\udcff*", "?\udcff[!a]"),
        ("[a", "[[]a"),
    ],
)
def test_these_collide(one, other):
    assert collide(one, other)
    assert collide(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("out/*.csv", "out/a.txt"),
        ("out/*.csv", "out/*.txt"),
        ("out/*.csv", "out/.a.csv"),
        ("out/*.csv", "out-2"),
        ("out/*.csv", "OUT/a.csv"),
        ("*.csv", "*.CSV"),
        ("sub-*/stats/**", "sub-01/other"),
        ("sub-*/stats/**", "other"),
        ("sub-0[1-4]*", "sub-0[5-9]*"),
        ("sub-0[!1-4]", "sub-0[1-4]"),
        ("**/a", "b/.c/a"),
        ("**", ".hidden"),
        ("a[*]", "ab"),
        ("*/a", "b/c"),
        ("a?c", "a/c"),
        ("[.]x", ".x"),
        ("[z-a]", "*"),
    ],
)
def test_these_do_not_collide(one, other):
    assert not collide(one, other)
    assert not collide(other, one)


@pytest.mark.parametrize(
    ("claim", "top"),
    [
        ("a/b", "a/b"),
        ("a/b*/c", "a"),
        ("*", ""),
        ("a[*]/b[[]/c?", "a*/b["),
        ("a[b/c*", "a[b"),
        ("**", ""),
        ("", ""),
    ],
)
def test_the_top_of_a_claim_is_the_path_before_its_first_wildcard(claim, top):
    assert top_of(claim) == top
