"""The search for where files come from."""

from __future__ import annotations

import pytest

from datalad_slurm.jobs.origins import Search, reads_of
from datalad_slurm.jobs.record import RunRecord

BLOB = "b" * 40


def made_by(*outputs, typed=(), pwd=".", **slurm):
    return RunRecord("c", "", 1, pwd=pwd, inputs=typed, outputs=outputs, slurm=slurm)


def search(target, *commits):
    """Return what each commit makes of what is looked for; the newest comes first."""
    looking = Search(target)
    found = {}
    for name, changed, record, *subdatasets in commits:
        origin = looking.feed(name, changed, record, *(subdatasets or [[]]))
        if origin:
            found[name] = origin.makes
    return found


def noted(*paths):
    return {"inputs": [{"path": path, "blob": BLOB} for path in paths]}


def test_a_chain_is_followed_back_to_what_no_job_made():
    assert search(
        "c",
        ("3", ["c"], made_by("c", **noted("b"))),
        ("2", ["b", "other"], made_by("b", "other", **noted("a"))),
        ("1", ["a", "more"], None),
    ) == {"3": ["c"], "2": ["b"], "1": ["a"]}


def test_the_version_that_was_read_counts_not_a_later_one():
    assert search(
        "b",
        ("5", ["a"], None),
        ("4", ["b"], made_by("b", **noted("a"))),
        ("3", ["a"], made_by("a")),
        ("2", ["b"], None),
        ("1", ["a"], None),
    ) == {"4": ["b"], "3": ["a"]}


def test_a_job_that_changes_a_file_in_place_has_the_earlier_one_as_input():
    assert search(
        "a", ("2", ["a"], made_by("a", **noted("a"))), ("1", ["a"], None)
    ) == {"2": ["a"], "1": ["a"]}  # fmt: skip


def test_each_file_of_a_directory_has_its_own_origin():
    assert search(
        "d",
        ("3", ["d/x"], made_by("d/x")),
        ("2", ["d/x", "d/y", "dd"], None),
        ("1", ["d/y", "d/z"], None),
    ) == {"3": ["d/x"], "2": ["d/y"], "1": ["d/z"]}


@pytest.mark.parametrize(
    ("typed", "pwd", "path", "is_found"),
    [
        ("*.csv", ".", "a.csv", True),
        ("*.csv", ".", "a.tsv", False),
        ("../raw/*", "sub", "raw/a", True),
        ("x[1]", ".", "x1", True),
        ("x[[]1]", ".", "x[1]", True),
        ("/elsewhere/a", ".", "elsewhere/a", False),
    ],
)
def test_inputs_as_typed_are_globs_below_the_working_directory(typed, pwd, path, is_found):
    found = search(
        "out", ("2", ["out"], made_by("out", typed=(typed,), pwd=pwd)), ("1", [path], None)
    )
    assert ("1" in found) == is_found


def test_a_noted_input_is_no_glob():
    record = made_by("out", typed=("x[1]",), **noted("x[1]"))
    found = search("out", ("3", ["out"], record), ("2", ["x1"], None), ("1", ["x[1]"], None))
    assert found == {"3": ["out"], "1": ["x[1]"]}


def test_a_file_of_a_subdataset_comes_from_the_job_that_declares_it():
    record = made_by("sub/a")
    other = made_by("sub/b")
    assert search(
        "sub/a", ("3", ["sub"], other, ["sub"]), ("2", ["sub"], record, ["sub"])
    ) == {"2": ["sub/a"]}  # fmt: skip


def test_scripts_and_inputs_outside_are_among_what_a_job_has_read():
    script = {"path": "job.sh", "blob": BLOB}
    reads = reads_of(made_by(typed=("in", "/data/x"), script=script, **noted("in")))
    assert [(read.path, read.role) for read in reads] == [
        ("in", "input"),
        ("/data/x", "input"),
        ("job.sh", "script"),
    ]
