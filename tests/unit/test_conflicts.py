"""Among many claims, one that collides is found as if each had been compared."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.claims import beginning, collide, common_beginning
from datalad_slurm.jobs.conflicts import ClaimIndex

names = st.sampled_from(["a", "b", "ab", "*", "a*", "[ab]", "?b", "**"])
claims = st.lists(names, max_size=3).map("/".join)


@given(st.lists(claims, max_size=6), claims)
def test_a_claim_that_collides_is_found_if_there_is_one(held, wanted):
    found = ClaimIndex((claim, number) for number, claim in enumerate(held)).find(wanted)
    assert (found is not None) == any(collide(wanted, claim) for claim in held)
    if found is not None:
        assert held[found[1]] == found[0]
        assert collide(wanted, found[0])


@given(st.lists(claims, min_size=1, max_size=6), claims)
def test_what_collides_with_one_of_several_begins_as_they_all_do(several, other):
    common, start = common_beginning(several), beginning(other)
    assert all(beginning(claim).startswith(common) for claim in several)
    if any(collide(claim, other) for claim in several):
        assert start.startswith(common) or common.startswith(start)


def test_ten_thousand_claims_are_compared_with_as_many_at_once():
    begun = time.process_time()
    index = ClaimIndex((f"sub-{number}/out", number) for number in range(10_000))
    assert not any(index.find(f"sub-{number}/log") for number in range(10_000))
    assert index.find("sub-77") == ("sub-77/out", 77)
    assert time.process_time() - begun < 10
