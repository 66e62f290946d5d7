"""Options that name log files, and the script behind them."""

from __future__ import annotations

import pytest

from datalad_slurm.jobs.sbatch_options import (
    chdir,
    clusters,
    directives,
    has_wrap,
    log_directories,
    log_names,
    sbatch_calls,
    script_paths,
    split_words,
)


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("sbatch -o log job.sh", ["log"]),
        ("sbatch -olog -eerr job.sh", ["log", "err"]),
        ("sbatch --output=a --error b job.sh", ["a", "b"]),
        ("sbatch --output 'a b' x", ["a b"]),
        ("sbatch -o slurm-%j.out --error=%x x", ["%x"]),
        ("sbatch --open-mode=append --export=ALL x", []),
        ("sbatch job.sh -o", []),
        ("sbatch 'unbalanced", []),
        ("", []),
    ],
)
def test_names_of_logs_without_patterns_are_found(command, names):
    assert list(log_names(split_words(command))) == names


def test_directives_are_read_from_a_script():
    script = (
        "#!/bin/sh\n#SBATCH -o log --time=1\n # SBATCH -e no\n#SBATCH\t--error='e f' # why\necho\n"
    )
    assert list(log_names(directives(script))) == ["log", "e f"]


def test_directives_behind_the_first_command_are_not_read():
    script = "#!/bin/sh\n#SBATCH\n\n  # no command\n#SBATCH -N 1\n  echo\n#SBATCH -o log\n"
    assert directives(script) == ["-N", "1"]


@pytest.mark.parametrize(
    ("command", "script", "wraps"),
    [
        ("sbatch job.sh -o x", "job.sh", False),
        ("sbatch -N 1 --hold -J name ./job.sh", "./job.sh", False),
        ("sbatch -N1 : --mem 2 job.sh : x", "job.sh", False),
        ("sbatch --wrap 'echo x'", "", True),
        ("sbatch --wrap='echo x'", "", True),
        ("sbatch job.sh --wrap x", "job.sh", False),
        ("sbatch --hold", "", False),
    ],
)
def test_the_script_of_a_call(command, script, wraps):
    (call,) = sbatch_calls(split_words(command))
    assert (call[1], has_wrap(call[0])) == (script, wraps)


@pytest.mark.parametrize(
    ("options", "name", "paths"),
    [
        ([], "job.sh", ["/c/job.sh", "/p/job.sh", "/q/job.sh"]),
        ([], "d/job.sh", ["/c/d/job.sh", "/p/d/job.sh", "/q/d/job.sh"]),
        (["-D", "d"], "job.sh", ["/c/d/job.sh", "/p/job.sh", "/q/job.sh", "/c/job.sh"]),
        (["--chdir=/d"], "job.sh", ["/d/job.sh", "/p/job.sh", "/q/job.sh", "/c/job.sh"]),
        (["-Da", "-D", "d"], "job.sh", ["/c/d/job.sh", "/p/job.sh", "/q/job.sh", "/c/job.sh"]),
        (["-D", "d"], "./job.sh", ["/c/./job.sh"]),
        (["-D", "d"], "/e/job.sh", ["/e/job.sh"]),
    ],
)
def test_where_sbatch_looks_for_a_script(options, name, paths):
    assert list(script_paths(name, chdir(options), "/c", "/p::/q")) == paths


@pytest.mark.parametrize("options", ["-M a,b", "-Ma,b", "--clusters=a,b", "--clusters a,b"])
def test_the_clusters_of_a_submission_are_found(options):
    assert list(clusters(split_words(options))) == ["a", "b"]
    assert list(clusters(["--comment=x", "job.sh"])) == []


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("sbatch -o logs/%j.out -e err/x job.sh", ["logs", "err"]),
        ("sbatch -o log job.sh -o for/script", []),
        ("sbatch --output=/abs/%A_%a x", ["/abs"]),
        ("sbatch -o %x/log x", []),
        ("sbatch -o a/b/c x", ["a/b"]),
    ],
)
def test_directories_of_logs_are_those_that_must_be_there(command, names):
    ((options, _),) = sbatch_calls(split_words(command))
    assert list(log_directories(options)) == names
