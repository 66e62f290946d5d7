"""The verdict on a job that was run again."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.verify import Verdict, compare

COMMIT = "c" * 40
KEY = {"key": "MD5E-s1--d41d8cd98f00b204e9800998ecf8427e.dat"}
SAME_KEY = {"key": "MD5-s1--d41d8cd98f00b204e9800998ecf8427e"}
OTHER_KEY = {"key": "MD5E-s1--900150983cd24fb0d6963f7d28e17f72.dat"}
BLOB, OTHER_BLOB, LINK = {"blob": "a" * 40}, {"blob": "b" * 40}, {"link": "a" * 40}
IDENTITIES = st.sampled_from([KEY, SAME_KEY, OTHER_KEY, BLOB, OTHER_BLOB, LINK])
OUTPUTS = st.dictionaries(st.sampled_from("abcdef"), IDENTITIES)


@pytest.mark.parametrize(
    ("before", "now", "is_identical"),
    [
        (KEY, KEY, True),
        (KEY, SAME_KEY, True),
        (KEY, OTHER_KEY, False),
        (BLOB, BLOB, True),
        (BLOB, OTHER_BLOB, False),
        (BLOB, LINK, False),
        (KEY, BLOB, False),
    ],
)
def test_outputs_are_identical_when_their_content_is(before, now, is_identical):
    verdict = compare(COMMIT, {"a": before}, {"a": now})
    assert verdict.is_reproduced is is_identical
    assert verdict.identical == is_identical
    assert verdict.different == ({} if is_identical else {"a": (before, now)})


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"a": KEY}, {"a": KEY}, "1 output identical to commit cccccccccc"),
        ({"a": KEY, "b": BLOB}, {"a": KEY, "b": BLOB}, "2 outputs identical to commit cccccccccc"),
        (
            {"a": KEY, "b": BLOB},
            {"a": OTHER_KEY, "c": BLOB},
            "0 outputs identical to commit cccccccccc, 1 different, 1 missing, 1 new",
        ),
        (
            {},
            {},
            "the outputs cannot be compared with commit cccccccccc: it holds no output of the job, "
            "and the job wrote none",
        ),
    ],
)
def test_the_verdict_in_one_line(before, now, said):
    assert compare(COMMIT, before, now).message() == said


def test_a_record_holds_what_differs_with_its_identities():
    verdict = compare(
        COMMIT, {"a": KEY, "b": BLOB, "d": KEY}, {"a": OTHER_KEY, "c": LINK, "d": KEY}
    )
    assert json.loads(json.dumps(verdict.to_json())) == {
        "commit": COMMIT,
        "identical": 1,
        "different": [{"path": "a", "before": KEY, "now": OTHER_KEY}],
        "missing": [{"path": "b", **BLOB}],
        "new": [{"path": "c", **LINK}],
    }


def test_what_could_not_be_compared_is_not_reproduced():
    verdict = Verdict(COMMIT, failure="the commit is not here")
    assert not verdict.is_reproduced
    assert verdict.to_json() == {"commit": COMMIT, "failure": "the commit is not here"}


@given(OUTPUTS, OUTPUTS)
def test_every_output_is_in_just_one_class(before, now):
    verdict = compare(COMMIT, before, now)
    listed = [*verdict.different, *verdict.missing, *verdict.new]
    assert len(listed) == len(set(listed))
    assert verdict.identical + len(listed) == len(before.keys() | now.keys())
    assert set(verdict.missing) == before.keys() - now.keys()
    assert set(verdict.new) == now.keys() - before.keys()


@given(OUTPUTS, OUTPUTS)
def test_what_is_missing_one_way_is_new_the_other_way(before, now):
    there, back = compare(COMMIT, before, now), compare(COMMIT, now, before)
    assert there.is_reproduced is back.is_reproduced
    assert (there.identical, there.missing) == (back.identical, back.new)
    assert there.different == {path: (a, b) for path, (b, a) in back.different.items()}
