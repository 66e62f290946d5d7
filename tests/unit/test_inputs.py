"""Identities of inputs: when two mean the same, and what is said when they do not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.inputs import (
    MISSING,
    InputReport,
    InputState,
    digest,
    is_same,
    key_size,
    same_key,
)
from datalad_slurm.jobs.record import RunRecord, parse_record

MD5, OTHER = "d41d8cd98f00b204e9800998ecf8427e", "900150983cd24fb0d6963f7d28e17f72"
BLOB, BLOB2 = "a" * 40, "b" * 40
RECORD = {"cmd": "sbatch job.sh", "slurm_job_id": 1, "outputs": ["out"]}


@pytest.mark.parametrize(
    ("key", "size"),
    [
        (f"MD5E-s12--{MD5}.nii.gz", 12),
        (f"SHA256-s0--{MD5}", 0),
        ("WORM-s7-m1700000000--a-s9--b", 7),
        ("URL--http&c%%x.org%a-s3", None),
        (f"MD5E-s12-S5-C1--{MD5}", 12),
        ("no key", None),
    ],
)
def test_the_size_in_a_key(key, size):
    assert key_size(key) == size


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (f"MD5E-s1--{MD5}.dat", f"MD5E-s1--{MD5}.dat", True),
        (f"MD5E-s1--{MD5}.dat", f"MD5E-s1--{MD5}.tar.gz", True),
        (f"MD5E-s1--{MD5}.dat", f"MD5-s1--{MD5}", True),
        (f"MD5E-s1--{MD5}.dat", f"MD5E-s1--{OTHER}.dat", False),
        (f"MD5E-s1--{MD5}.dat", f"MD5E-s2--{MD5}.dat", False),
        (f"MD5-s1--{MD5}", f"SHA1-s1--{MD5}", False),
        ("WORM-s1-m1--a.b", "WORM-s1-m1--a.c", False),
        ("URL--a.b", "URL--a.c", False),
        ("E-s1--a.b", "E-s1--a.c", False),
    ],
)
def test_keys_mean_the_same_whatever_extension_they_carry(one, other, same):
    assert same_key(one, other) is same
    assert same_key(other, one) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"key": f"MD5E-s1--{MD5}.a"}, {"key": f"MD5E-s1--{MD5}.b", "link": "x"}, True),
        ({"blob": BLOB}, {"blob": BLOB, "link": "elsewhere"}, True),
        ({"blob": BLOB}, {"blob": BLOB2}, False),
        ({"blob": BLOB}, {"key": f"MD5E-s1--{MD5}.a"}, False),
        ({"link": "a"}, {"link": "b"}, False),
        ({"size": 1, "mtime_ns": 2}, {"size": 1, "mtime_ns": 3}, False),
        (MISSING, MISSING, True),
    ],
)
def test_identities_mean_the_same_when_their_content_does(one, other, same):
    assert is_same(one, other) is same


def test_a_digest_depends_on_paths_and_content_not_on_order_or_links():
    files = {"a": {"blob": BLOB}, "b\udcff": {"key": "k"}}
    assert digest(files) == digest(dict(reversed(files.items())))
    assert digest(files) == digest(files | {"a": {"link": "x", "blob": BLOB}})
    others = [{"a": files["a"]}, files | {"a": {"blob": BLOB2}}, {"x": files["a"]}, {}]
    assert len({digest(files), *map(digest, others)}) == 5


def test_nothing_noted_says_nothing():
    report = InputReport()
    assert (report.to_json(), report.details(), report.message()) == ({}, {}, "")


def test_what_has_not_changed_is_recorded_but_not_said():
    report = InputReport(
        [InputState("a", {"blob": BLOB}), InputState("b", {"blob": BLOB}, {"key": "k"})],
        [InputState("job.sh", {"sha256": BLOB})],
    )
    assert report.to_json() == {
        "inputs": [
            {"path": "a", "blob": BLOB},
            {"path": "b", "blob": BLOB, "now": {"key": "k"}},
        ],
        "script": {"path": "job.sh", "sha256": BLOB},
    }
    assert (report.details(), report.message()) == ({}, "")


def test_a_message_names_the_first_changes_and_counts_the_rest():
    inputs = [InputState(f"f{n}", {"blob": BLOB}, {"blob": BLOB2}, "committed") for n in range(5)]
    assert InputReport(inputs).message() == (
        "5 inputs have changed since the submission: 'f0' (a new version was committed), "
        "'f1' (a new version was committed), 'f2' (a new version was committed) and 2 more"
    )


def test_a_message_can_be_printed_whatever_the_names():
    report = InputReport([InputState("\udcff", {"blob": BLOB}, MISSING, "removed")])
    assert report.message().encode()


def test_several_scripts_are_a_list_and_stdin_has_no_path():
    report = InputReport((), [InputState("", {"stdin": True}), InputState("a", {"sha256": BLOB})])
    assert report.to_json()["script"] == [{"stdin": True}, {"path": "a", "sha256": BLOB}]


def test_a_record_gives_back_what_a_report_wrote():
    inputs = (
        InputState("a", {"key": "MD5E-s1--x"}, {"key": "MD5E-s1--y"}, "modified"),
        InputState("d", {"files": 300, "digest": "c" * 64}),
    )
    scripts = (InputState("job.sh", {"sha256": "d" * 64, "blob": BLOB}),)
    text = RunRecord("sbatch x", "", 1, slurm=InputReport(inputs, scripts).to_json()).to_json()
    record = parse_record(json.loads(text))
    assert (record.noted_inputs, record.scripts) == (inputs, scripts)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "a\0", 7, None, ["a"]])
def test_a_path_that_leads_out_of_the_dataset_is_not_given_out(path):
    slurm = {"script": {"path": path, "blob": BLOB}, "inputs": [{"path": path, "blob": BLOB}]}
    record = parse_record(RECORD | {"slurm": slurm})
    assert [state.path for state in (*record.scripts, *record.noted_inputs)] == ["", ""]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["path", "key", "blob", "now", "change", "sha256", "size"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(anything, anything)
def test_whatever_a_record_holds_there_it_can_be_read(inputs, script):
    record = parse_record(RECORD | {"slurm": {"inputs": inputs, "script": script}})
    for state in (*record.noted_inputs, *record.scripts):
        assert isinstance(state.path, str)
        assert all(isinstance(value, str | int) for value in state.noted.values())
