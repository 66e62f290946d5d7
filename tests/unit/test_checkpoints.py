"""State files of jobs: what they are on the node, what they claim, what a record holds of them."""

from __future__ import annotations

import glob
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalad_slurm.jobs.checkpoints import (
    Checkpoint,
    bash_words,
    shared_path,
    state_claims,
    with_states,
)
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.node_local import NodeLocal
from datalad_slurm.jobs.runner_options import RunnerOptions
from datalad_slurm.jobs.task_outputs import marked
from datalad_slurm.node.states import drop_kept, read_kept


def on_node(template):
    """Return what bash makes of a template on the node of task 7 of a job named x y."""
    script = f"SLURM_ARRAY_TASK_ID=7 SLURM_JOB_NAME='x y'; printf '%s' {bash_words([template])[0]}"
    return subprocess.run(["bash", "-c", script], capture_output=True, check=True, text=True).stdout


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("state", "./state"),
        ("state-%a", "./state-7"),
        ("%4a/state-%x.h5", "./0007/state-x y.h5"),
        ("100%%a", "./100%a"),
        ("a[*]b[[]", "./a*b["),
        ("it's $(x) `y`", "./it's $(x) `y`"),
    ],
)
def test_a_state_file_is_found_by_bash_on_the_node(typed, path):
    assert on_node(marked(typed)) == path


@settings(max_examples=40, deadline=None)
@given(st.text("ab/*?[]!-$'\" \\`(%", min_size=1, max_size=8))
def test_any_name_is_found_as_it_is(name):
    assert on_node(marked(glob.escape(name).replace("%", "%%"))) == f"./{name}"


@pytest.mark.parametrize("typed", ["state-%A", "state-%j", "*.state", "s[ab]", "**"])
def test_what_the_next_attempt_would_not_find_is_refused(typed):
    with pytest.raises(InvalidRequestError, match=r"the checkpoint '"):
        with_states(Checkpoint((typed,)), [marked(typed)])


def test_a_pattern_claims_the_states_of_all_tasks():
    checkpoint = with_states(Checkpoint(("s-%a", "t")), [marked("s-%a"), "t"])
    assert state_claims(checkpoint) == ("s-[0-9]*", "t")
    assert shared_path(checkpoint)


@pytest.mark.parametrize(
    ("notes", "found"),
    [
        ({}, RunnerOptions()),
        ({"grace": 5}, RunnerOptions(5)),
        ({"grace": "5"}, RunnerOptions()),
        ({"grace": True}, RunnerOptions()),
        ({"grace": -1}, RunnerOptions()),
        ({"grace": None, "node_local": None, "checkpoint": None}, RunnerOptions()),
        ({"grace": 0, "node_local": {}}, RunnerOptions(0, NodeLocal())),
        ({"node_local": {"grace": 7}}, RunnerOptions(7, NodeLocal())),
        (
            {"grace": 9, "checkpoint": {"paths": ["s"], "signal": "USR2"}},
            RunnerOptions(9, None, Checkpoint(("s",), "USR2")),
        ),
        ({"checkpoint": {"paths": ["s"], "signal": "KILL"}}, RunnerOptions()),
        ({"checkpoint": {"paths": [1], "signal": "USR1"}}, RunnerOptions()),
        ({"checkpoint": {"paths": "s", "signal": "USR1"}}, RunnerOptions()),
        ({"checkpoint": ["s"]}, RunnerOptions()),
    ],
)
def test_what_a_record_holds_is_used_only_if_it_is_what_was_written(notes, found):
    assert RunnerOptions.read(notes) == found
    assert RunnerOptions.read(found.to_json()) == found


def test_a_record_holds_a_checkpoint_as_it_was_asked_for():
    options = RunnerOptions(60, None, Checkpoint(("s-%a",), "USR1", (marked("s-%a"),)))
    assert options.recorded() == {
        "grace": 60,
        "checkpoint": {"paths": ["s-%a"], "signal": "USR1"},
    }


def test_kept_checkpoints_are_read_by_their_names_and_removed_by_task(tmp_path):
    names = [
        f"state.0001.0000.00000001.{'a' * 64}.tar",
        f"state_3.0002.0000.00000001.{'b' * 64}.tar",
        f"state_3.0001.0003.00000009.{'0' * 64}.tar",
        "state_3.0002.0001.part",
    ]
    for name in (*names, "12_3.0.tar", "over", f"state_3.{'b' * 64}.tar"):
        (tmp_path / name).write_text("")
    found = [
        (kept.index, kept.attempt, kept.restart, kept.is_whole) for kept in read_kept(tmp_path)
    ]
    assert found == [(-1, 1, 0, True), (3, 1, 3, True), (3, 2, 0, True), (3, 2, 1, False)]
    drop_kept(tmp_path, {3})
    assert [kept.path.name for kept in read_kept(tmp_path)] == names[:1]
    assert read_kept(tmp_path / "nowhere") == []
