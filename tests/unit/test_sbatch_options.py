"""Options that name log files."""

from __future__ import annotations

import pytest

from datalad_slurm.jobs.sbatch_options import clusters, directives, log_names, split_words


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


@pytest.mark.parametrize("options", ["-M a,b", "-Ma,b", "--clusters=a,b", "--clusters a,b"])
def test_the_clusters_of_a_submission_are_found(options):
    assert clusters(split_words(options)) == ["a", "b"]
    assert clusters(["--comment=x", "job.sh"]) == []
