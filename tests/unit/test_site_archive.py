"""What an archive keeps of a job, its names, and who may read it."""

from __future__ import annotations

import struct
import subprocess
import time
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalad_slurm.jobs.acl import directory_acl, user_ids
from datalad_slurm.jobs.site_archive import (
    Submitted,
    archived_directory,
    archived_name,
    is_archived_path,
    parse_environment,
    parse_script,
    render_environment,
    safe_user,
)
from datalad_slurm.slurm.squeue import parse_owners

VALUES = st.binary(max_size=30).map(lambda value: value.replace(b"\0", b"."))


def raw_environment(*strings):
    return struct.pack("=I", len(strings)) + b"".join(each + b"\0" for each in strings)


@given(st.lists(VALUES, max_size=5))
def test_an_environment_is_read_when_and_only_when_it_is_all_there(strings):
    raw = raw_environment(*strings)
    assert parse_environment(raw) == tuple(strings)
    for length in range(len(raw)):
        assert parse_environment(raw[:length]) is None


def test_a_script_is_read_when_its_last_byte_is_there():
    raw = b"#!/bin/sh\ntrue\n\0"
    assert parse_script(raw) == raw[:-1]
    for length in range(len(raw)):
        assert parse_script(raw[:length]) is None


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).map(lambda name: f"V{name}")


@settings(max_examples=15)
@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=12))
def test_bash_gets_from_an_archived_environment_just_what_was_submitted(variables):
    rendered = render_environment([f"{n}=".encode() + value for n, value in variables.items()])
    assert rendered.decode().count("\n") == len(variables)
    shell = ["bash", "--norc", "-c", 'source /dev/stdin; exec env -0 "$@"', "bash"]
    done = subprocess.run(shell, input=rendered, capture_output=True, env={}, check=True)
    assert not done.stderr
    got = dict(entry.split(b"=", 1) for entry in done.stdout.split(b"\0") if entry)
    assert {n.encode(): value for n, value in variables.items()}.items() <= got.items()


@pytest.mark.parametrize(
    ("string", "line"),
    [
        (b"A=1", b"export A=1\n"),
        (b"A=", b"export A=''\n"),
        (b"A=b=c d", b"export A='b=c d'\n"),
        (b"A=it's", b"""export A='it'"'"'s'\n"""),
        (b"A=$(rm -r /); `x`", b"export A='$(rm -r /); `x`'\n"),
        (b"A=a\nexport B=2", b"export A=$'a\\012export B=2'\n"),
        (b"A='\\\t1", b"export A=$'\\047\\134\\0111'\n"),
        ("A=Tübingen".encode(), "export A='Tübingen'\n".encode()),
        (b"A=\xff", b"export A=$'\\377'\n"),
        (b"BASH_FUNC_ml%%=() {  x\n}", b"# $'BASH_FUNC_ml%%=() {  x\\012}'\n"),
        (b"A;rm x=1", b"# 'A;rm x=1'\n"),
        (b"no equals sign\nrm", b"# $'no equals sign\\012rm'\n"),
    ],
)
def test_what_a_variable_holds_stays_on_its_line_and_is_no_command(string, line):
    assert render_environment([string]) == line


def job(*environment, job_id=4711, at=1_750_000_000.0):
    return Submitted(job_id, at, b"#!/bin/sh\n", tuple(environment))


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ([b"SLURM_JOB_NAME=myjob"], "4711-myjob"),
        # from standard input
        ([], "4711-sbatch"),
        ([b"SLURM_JOB_NAME="], "4711-sbatch"),
        ([b"SLURM_JOB_NAME=../../etc/passwd"], "4711-.._.._etc_passwd"),
        ([b"SLURM_JOB_NAME=a b\nc\td"], "4711-a_b_c_d"),
        ([b"SLURM_JOB_NAME=$(x);'\"|*?\x1b[31m"], "4711-__x_________31m"),
        ([b"SLURM_JOB_NAME=\xff\xfe"], "4711-__"),
        (["SLURM_JOB_NAME=Gehäuse".encode()], "4711-Gehäuse"),
        ([b"SLURM_JOB_NAME=" + b"x" * 400], f"4711-{'x' * 180}"),
        ([b"SLURM_JOB_NAME=" + "é".encode() * 200], f"4711-{'é' * 90}"),
        ([b"XSLURM_JOB_NAME=no", b"SLURM_JOB_NAME=yes"], "4711-yes"),
    ],
)
def test_a_job_is_filed_under_a_name_that_leads_nowhere_else(environment, name):
    assert archived_name(job(*environment)) == name


@given(st.binary(max_size=300).map(lambda name: name.replace(b"\0", b"")), st.integers(1, 3))
def test_any_name_of_a_job_is_a_single_file_name_that_fits(name, number):
    made = archived_name(job(b"SLURM_JOB_NAME=" + name), number)
    assert len(PurePosixPath(made).parts) == 1
    assert len(f"{made}.env".encode()) < 255
    assert is_archived_path(f"joe/2025/06/{made}.sh")


def test_a_further_job_of_the_same_id_and_name_gets_a_number():
    assert archived_name(job(b"SLURM_JOB_NAME=a"), 2) == "4711-a.2"


def test_the_month_is_that_of_the_submission_where_the_site_is(monkeypatch):
    turn_of_the_year = 1_577_836_800.0 - 1800  # 2019-12-31 23:30 UTC
    for zone, month in (("UTC", "2019/12"), ("Europe/Berlin", "2020/01")):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert archived_directory("joe", job(at=turn_of_the_year)) == f"joe/{month}"
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("environment", "user"),
    [
        ([b"USER=joe"], "joe"),
        ([b"LOGNAME=jim"], "jim"),
        ([b"LOGNAME=jim", b"USER=joe"], "joe"),
        ([b"HOME=/home/joe"], ""),
    ],
)
def test_the_environment_says_who_has_submitted(environment, user):
    assert job(*environment).claimed_user == user


@pytest.mark.parametrize(
    ("name", "directory"),
    [
        ("joe", "joe"),
        ("joe@example.org", "joe@example.org"),
        ("DOM\\joe", "DOM_joe"),
        ("../joe", "_._joe"),
        (".git", "_git"),
        ("-rf", "_rf"),
        ("@unknown", "_unknown"),
    ],
)
def test_no_users_name_leads_out_of_the_archive_or_hides_in_it(name, directory):
    assert safe_user(name) == directory


@pytest.mark.parametrize(
    ("path", "is_archived"),
    [
        ("joe/2025/06/1-a.sh", True),
        ("joe/2025/06/1-a.env", True),
        ("joe/2025/06/.part", False),
        ("joe/2025/06/1-a.sh~", False),
        (".datalad/config", False),
        ("joe/1-a.sh", False),
    ],
)
def test_only_jobs_files_count_as_archived(path, is_archived):
    assert is_archived_path(path) is is_archived


def test_a_list_is_as_linux_keeps_it():
    # getfattr -e hex -n system.posix_acl_default, after
    # setfacl -d -m u::rwx,u:1000:rx,u:7:rx,g::-,g:4:rx,m::rx,o::-
    ext4 = (
        "02000000" "01000700ffffffff" "0200050007000000" "02000500e8030000" "04000000ffffffff"
        "0800050004000000" "10000500ffffffff" "20000000ffffffff"
    )  # fmt: skip
    assert directory_acl([1000, 7, 1000], [4]).hex() == ext4


@given(st.sets(st.integers(0, 2**32 - 2)), st.sets(st.integers(0, 2**32 - 2)))
def test_the_users_of_a_list_are_read_again(users, groups):
    assert user_ids(directory_acl(users, groups)) == users


@pytest.mark.parametrize("raw", [b"", b"\x01\x00\x00\x00", b"\x02\x00"])
def test_a_list_of_another_kind_names_nobody(raw):
    assert user_ids(raw) == set()


def test_owners_are_read_by_job_and_by_the_base_of_an_array():
    said = "12|1000\n13|0\n13|0\nCLUSTER: c\n14|\n\n"
    assert parse_owners(said) == {12: 1000, 13: 0}
