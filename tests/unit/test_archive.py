"""What a record says of archived scripts, and which of them takes the place of which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.archive import (
    RecordedScript,
    archive_path,
    archived_files,
    digest_of,
    recorded_scripts,
)
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.sbatch_options import wrapped_script
from datalad_slurm.slurm.as_recorded import Substitute, substituted

SUM, BLOB = "a" * 64, "b" * 40


def test_a_content_has_one_place_whoever_ran_it():
    digest = digest_of(b"#!/bin/sh\n")
    assert archive_path(digest, ".sh") == f".datalad/slurm/archive/{digest[:2]}/{digest}.sh"


def test_a_job_names_the_files_of_all_its_attempts():
    script = {"path": "job.sh", "sha256": SUM, "archived": "a.sh"}
    earlier = {"stdin": True, "sha256": "c" * 64, "archived": "c.sh"}
    job = TrackedJob(
        0, "t", "sbatch", ".", "", (),
        identities={
            "scripts": [script, {"wrap": True, "sha256": SUM, "text": "x"}, {"stdin": True}],
            "environment": {"sha256": "e" * 64, "archived": "e.env", "kept": "full"},
        },
        extra={"attempts": [{"scripts": [earlier]}, {}]},
    )  # fmt: skip
    assert archived_files(job) == {"a.sh": SUM, "c.sh": "c" * 64, "e.env": "e" * 64}


@pytest.mark.parametrize(
    ("noted", "expected"),
    [
        (None, ()),
        ([], ()),
        ({"wrap": True}, ()),  # of an earlier version
        ({"path": "job.sh"}, ()),
        (
            {"path": "job.sh", "sha256": SUM, "blob": BLOB},
            (RecordedScript("job.sh", SUM, BLOB),),
        ),
        (
            [{"path": "/x/job.sh", "sha256": SUM, "blob": BLOB}, "odd", 3],
            (RecordedScript("/x/job.sh", SUM, BLOB),),
        ),
        ({"wrap": True, "sha256": SUM, "text": "t"}, (RecordedScript("", SUM, text="t"),)),
        ({"path": "a", "sha256": SUM, "blob": "--help"}, ()),
        ({"path": "a", "sha256": "short", "blob": BLOB}, ()),
        ({"path": "a\0b", "sha256": SUM, "blob": BLOB}, ()),
        ({"path": 5, "sha256": SUM, "blob": BLOB}, ()),
    ],
)
def test_what_is_well_formed_of_recorded_scripts_is_read(noted, expected):
    assert recorded_scripts({"script": noted}) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(SUM),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["path", "sha256", "blob", "text", "x"]), inner)
    ),
    max_leaves=8,
)


@given(JSON)
def test_nothing_in_a_record_is_taken_for_a_script_that_is_none(content):
    for script in recorded_scripts({"script": content}):
        assert script.sha256 == SUM
        entry = script.entry()
        assert recorded_scripts({"script": entry}) == (script,)


A, B = Substitute("a.sh", False, b"A"), Substitute("sub/b.sh", False, b"B")
WRAP, STDIN = Substitute("", True, b"W"), Substitute("", False, b"S")
AWAY = Substitute("/tmp/x.123/job.sh", False, b"T")


@pytest.mark.parametrize(
    ("words", "scripts", "expected"),
    [
        (["-n1", "a.sh", "x y"], [A], (["-n1"], "a.sh", "A", ["x y"])),
        (["./a.sh"], [B, A], ([], "a.sh", "A", [])),
        (["-D", "sub", "b.sh"], [A, B], (["-D", "sub"], "b.sh", "B", [])),
        (["-t1", "--wrap", "echo"], [WRAP], (["-t1"], "wrap", "W", [])),
        ([], [STDIN], ([], "sbatch", "S", [])),
        (["/tmp/x.999/job.sh"], [AWAY], ([], "job.sh", "T", [])),
        (["/tmp/x.999/job.sh"], [STDIN], ([], "job.sh", "S", [])),
    ],
)
def test_a_recorded_script_takes_the_place_of_the_present_one(
    tmp_path, monkeypatch, words, scripts, expected
):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.sh").touch()
    monkeypatch.chdir(tmp_path)
    options, name, content, arguments = expected
    target = tmp_path / "beside" / name
    found = substituted(words, tmp_path, scripts, tmp_path / "beside")
    assert found == [*options, str(target), *arguments]
    assert target.read_bytes() == content.encode()


@pytest.mark.parametrize(
    ("words", "scripts"),
    [
        (["b.sh"], [A]),
        (["--unknown", "x", "a.sh", ":", "b.sh"], [A]),
        (["a.sh", ":"], [WRAP]),
        (["--wrap", "echo"], [A]),
        (["--wrap", "echo"], [WRAP, A]),
        ([], [STDIN, AWAY]),
        (["-n1", ":", "-n2", "a.sh"], [A]),
    ],
)
def test_where_it_is_not_certain_nothing_is_submitted(tmp_path, monkeypatch, words, scripts):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequestError, match="nothing is submitted"):
        substituted(words, tmp_path, scripts, tmp_path / "beside")


def test_what_submits_nothing_stays_as_it_is(tmp_path):
    assert substituted(["--version"], tmp_path, [A], tmp_path / "beside") == ["--version"]


def test_the_script_of_a_wrapped_command():
    assert wrapped_script("a\nb").endswith("by sbatch --wrap.\n\na\nb\n")
