"""Ids of jobs as parameters: from the command line, from Python, and what came of either."""

from __future__ import annotations

import pytest
from datalad_next.constraints.exceptions import ConstraintError

from datalad_slurm.commands.constraints import EnsureJobIds
from datalad_slurm.jobs.names import JobName


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (4711, (JobName(4711),)),
        (" 4711 ", (JobName(4711),)),
        ("4711;two", (JobName(4711, "two"),)),
        ("4711_3", (JobName(4711, "", (3,)),)),
        ([12, "13"], (JobName(12), JobName(13))),
        (JobName(4711, "two", (3,)), (JobName(4711, "two", (3,)),)),
        ((JobName(12), JobName(13)), (JobName(12), JobName(13))),
    ],
)
def test_ids_are_taken_in_every_form(given, names):
    assert EnsureJobIds()(given) == names


@pytest.mark.parametrize("given", ["x", "", "12,13", [12, None]])
def test_what_is_no_id_is_refused(given):
    with pytest.raises(ConstraintError, match="is no id of a Slurm job"):
        EnsureJobIds()(given)
