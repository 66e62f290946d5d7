"""How Slurm's query programs are started, and what their failures are called."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.errors import AccountingDisabledError, QueryFailedError
from datalad_slurm.slurm.run import in_chunks, query, query_environment


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Return a function that puts a small program on the PATH."""

    def write(body, name="squeue", mode=0o755):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(mode)
        return [name]

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return write


def test_a_query_returns_what_was_printed(program):
    argv = program("""printf '%s|' "$@"; echo noise >&2""")
    assert query([*argv, "a b", "*"]) == "a b|*|"


def test_bytes_that_are_no_text_come_through(program):
    assert os.fsencode(query(program(r"printf 'a\377\nb'"))) == b"a\xff\nb"


def test_a_query_never_waits_for_input(program):
    assert query(program("cat")) == ""


def test_a_program_that_is_missing_is_named(program, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(QueryFailedError, match="sacct is not on PATH"):
        query(["sacct"])


def test_a_program_that_cannot_be_started_is_named(tmp_path):
    path = tmp_path / "sacct"
    path.write_text("#!/no/such/interpreter\n")
    with pytest.raises(QueryFailedError, match="sacct"):
        query([str(path)])
    path.chmod(0o755)
    with pytest.raises(QueryFailedError, match="sacct"):
        query([str(path)])


def test_a_failure_says_what_the_program_said(program):
    argv = program("echo half an answer; echo 'slurm_load_jobs error: No route' >&2; exit 1")
    with pytest.raises(QueryFailedError, match=r"^slurm_load_jobs error: No route$"):
        query(argv)


def test_a_silent_failure_says_which_program_it_was(program):
    with pytest.raises(QueryFailedError, match="squeue ended with 3"):
        query(program("exit 3"))


def test_a_program_that_was_killed_has_failed(program):
    with pytest.raises(QueryFailedError, match="squeue"):
        query(program("kill -9 $$"))


def test_an_answer_that_comes_too_late_is_none(program):
    with pytest.raises(QueryFailedError, match=r"squeue gave no answer within 0\.1 s"):
        query(program("echo early; exec sleep 1"), timeout=0.1)


@pytest.mark.parametrize(
    "name",
    [
        *("SQUEUE_STATES", "SQUEUE_FORMAT", "SQUEUE_USERS", "SACCT_FORMAT", "SCONTROL_ALL"),
        "SLURM_CLUSTERS",
    ],
)
def test_what_would_change_the_output_is_dropped(monkeypatch, name):
    monkeypatch.setenv(name, "x")
    assert name not in query_environment()


@pytest.mark.parametrize(
    ("name", "value"),
    [("SLURM_TIME_FORMAT", "%s"), ("SLURM_BITSTR_LEN", "0"), ("LC_ALL", "C.UTF-8")],
)
def test_what_makes_the_output_the_same_everywhere_is_set(monkeypatch, name, value):
    monkeypatch.setenv(name, "relative")
    assert query_environment()[name] == value


@pytest.mark.parametrize("name", ["SLURM_CONF", "PATH", "HOME", "KRB5CCNAME"])
def test_the_rest_of_the_environment_stays(monkeypatch, name):
    monkeypatch.setenv(name, "/somewhere")
    assert query_environment()[name] == "/somewhere"


def test_the_callers_own_environment_is_left_alone(monkeypatch):
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    query_environment()
    assert os.environ["SQUEUE_STATES"] == "RUNNING"


@given(st.lists(st.integers(0, 10**9)))
def test_chunks_hold_every_id_once(ids):
    joined = ",".join(in_chunks(ids))
    assert [int(part) for part in joined.split(",") if part] == sorted(set(ids))


def test_many_ids_fit_the_command_line():
    chunks = list(in_chunks(range(10**9, 10**9 + 20_000)))
    assert all(len(chunk) < 100_000 for chunk in chunks)
    assert len(chunks) <= 5


def test_that_there_is_no_accounting_is_told_from_a_failure(program):
    argv = program("echo 'Slurm accounting storage is disabled' >&2; exit 1", "sacct")
    with pytest.raises(AccountingDisabledError):
        query(argv)


def test_where_git_annex_failed_in_its_own_code_is_left_out():
    from datalad_slurm.dataset.git import without_call_stack

    said = (
        "git-annex: not enough free space\nCallStack (from HasCallStack):\n"
        "  error, called at ./Annex/X.hs:1:2 in main\n  foo, called at y\nadd: 1 failed"
    )
    assert without_call_stack(said) == "git-annex: not enough free space\nadd: 1 failed"
    assert without_call_stack("nothing of the kind") == "nothing of the kind"
