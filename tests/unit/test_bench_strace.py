"""Calls in a log of strace that are about a directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from _bench.strace import count

ROOT = Path("/data/set")


def counted(*lines, start="/data/set"):
    return dict(count(lines, ROOT, Path(start)))


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('10 openat(AT_FDCWD</data/set>, "a", O_RDONLY) = 3</data/set/a>', "openat"),
        ('10 openat(AT_FDCWD</>, "/data/set/.git/x", O_RDONLY) = -1 ENOENT (No such)', "openat"),
        ('10 newfstatat(5</data/set/out>, "f.dat", {st_mode=S_IFREG}, 0) = 0', "newfstatat"),
        ('10 rename("/tmp/x", "/data/set/y") = 0', "rename"),
        ('10 mkdir("out/1", 0777)  = 0', "mkdir"),
        ('10 unlink("/data/other/../set/z") = 0', "unlink"),
        ('10 symlink("../../annex", "out/f") = 0', "symlink"),
        ('10 stat("/data/set", {st_mode=S_IFDIR}) = 0', "stat"),
    ],
)
def test_a_call_on_a_path_in_the_dataset_counts_whether_it_succeeds_or_not(line, name):
    assert counted(line) == {name: 1}


@pytest.mark.parametrize(
    "line",
    [
        '10 openat(AT_FDCWD</data/set>, "/usr/lib/python3/os.py", O_RDONLY) = 3',
        '10 stat("/data/settings", {st_mode=S_IFREG}) = 0',
        '10 stat("../x", {st_mode=S_IFREG}) = 0',
        '10 symlink("/data/set/target", "/tmp/link") = 0',
        '10 execve("/usr/bin/git", ["git", "/data/set/x"], 0x7f) = 0',
        '10 getcwd("/data/set", 4096) = 10',
        "10 +++ exited with 0 +++",
        "10 --- SIGCHLD {si_signo=SIGCHLD} ---",
    ],
)
def test_what_is_elsewhere_does_not_count(line):
    assert counted(line) == {}


def test_a_relative_name_is_looked_up_where_the_process_is():
    lines = ['10 chdir("/tmp") = 0', '10 stat("a", {}) = 0', '10 chdir("/data/set") = 0']
    assert counted(*lines, '10 stat("a", {}) = 0') == {"chdir": 1, "stat": 1}


def test_a_failed_chdir_changes_nothing():
    lines = ['10 chdir("/tmp") = -1 ENOENT (No such file)', '10 stat("a", {}) = 0']
    assert counted(*lines) == {"stat": 1}


def test_a_child_starts_where_its_parent_is_and_a_call_that_is_resumed_counts_once():
    lines = [
        '10 chdir("/data/set/out") = 0',
        "10 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 11",
        '10 chdir("/") = 0',
        '11 stat("f" <unfinished ...>',
        '10 stat("data", {}) = 0',
        "11 <... stat resumed>, {}) = 0",
    ]
    assert counted(*lines, start="/") == {"chdir": 1, "stat": 1}


def test_a_rename_within_the_dataset_is_one_call():
    assert counted('10 rename("a", "b") = 0') == {"rename": 1}
