"""What `--node-local` asks of a submission, and what it says on the node."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalad_slurm.jobs.claims import covers
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.node_local import NodeLocal, bash_path, bash_patterns
from datalad_slurm.jobs.runner_options import (
    RunnerOptions,
    asked_of_sbatch,
    further_options,
    read_limit,
    why_not,
)
from datalad_slurm.jobs.sbatch_options import read_call
from datalad_slurm.jobs.task_outputs import marked


def asked(words, script="#!/bin/sh\n", environment=()):
    return asked_of_sbatch(read_call(words), script, dict(environment))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 600),
        ("1:30", 90),
        ("2:00:00", 7200),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("1-00:00:01", 86401),
        (" 5 ", 300),
        ("0", None),
        ("UNLIMITED", None),
        ("infinite", None),
        ("", None),
        ("-1", None),
        ("x:y", None),
    ],
)
def test_a_time_limit_is_read_as_sbatch_takes_it(text, seconds):
    assert read_limit(text) == seconds


@pytest.mark.parametrize(
    ("words", "script", "environment", "expected"),
    [
        (["-t5", "job.sh"], "", {}, {"--time": "5"}),
        (["--time=5", "job.sh", "-N2"], "", {}, {"--time": "5"}),
        (["job.sh"], "#!/bin/sh\n#SBATCH -N 2 -t 3\n", {}, {"--nodes": "2", "--time": "3"}),
        (["-N1", "job.sh"], "#!/bin/sh\n#SBATCH --nodes=2\n", {}, {"--nodes": "1"}),
        (["job.sh"], "#!/bin/sh\n\n# c\n#SBATCH -N2\n:\n#SBATCH -N3", {}, {"--nodes": "2"}),
        (["job.sh"], "#!/bin/sh\n#SBATCH -t1\n", {"SBATCH_TIMELIMIT": "2"}, {"--time": "2"}),
        (["-t3", "job.sh"], "", {"SBATCH_TIMELIMIT": "2"}, {"--time": "3"}),
        (["job.sh"], "#!/bin/sh\n#SBATCH --brand-new x\n#SBATCH -N2\n", {}, {"--nodes": "2"}),
    ],
)
def test_options_count_as_sbatch_counts_them(words, script, environment, expected):
    assert asked(words, script, environment) == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["job.sh"], ""),
        (["-N1", "job.sh"], ""),
        (["--nodes=1-1", "job.sh"], ""),
        (["-N2", "job.sh"], "--nodes=2"),
        (["--nodes", "1-2", "job.sh"], "one node"),
        (["--nodes=1,3", "job.sh"], "one node"),
        (["--signal=USR1@60", "job.sh"], ""),
        (["--signal=B:USR1@60", "job.sh"], ""),
        (["--signal=TERM@60", "job.sh"], ""),
        (["--signal=B:TERM@60", "job.sh"], "--grace"),
        (["--signal=RB:sigterm", "job.sh"], "--grace"),
        (["--signal=B:15@9", "job.sh"], "--grace"),
    ],
)
def test_what_cannot_run_in_a_directory_of_its_node_is_told(words, said):
    problem = why_not(RunnerOptions(120, NodeLocal()), asked(words))
    assert said in problem
    assert bool(said) == bool(problem)


@pytest.mark.parametrize(
    ("words", "grace", "options"),
    [
        (["job.sh"], 120, ["--nodes=1", "--signal=B:URG@120"]),
        (["-N1", "job.sh"], 5, ["--signal=B:URG@5"]),
        (["--signal=USR1@60", "job.sh"], 120, ["--nodes=1"]),
        (["job.sh"], 0, ["--nodes=1"]),
    ],
)
def test_a_warning_is_asked_for_unless_the_user_has_one(words, grace, options):
    assert further_options(RunnerOptions(grace, NodeLocal()), asked(words)) == options
    without = [option for option in options if option != "--nodes=1"]
    assert further_options(RunnerOptions(grace), asked(words)) == without


@pytest.mark.parametrize(
    ("text", "word", "names"),
    [
        ("/scratch", "/scratch", ()),
        ("/a b/$USER/${JOB}x", '\'/a b/\'"${USER}"/"${JOB}"x', ("USER", "JOB")),
        ("$TMPDIR", '"${TMPDIR}"', ("TMPDIR",)),
        ("/$(x)`y`$1", "'/$(x)`y`'\"${1}\"", ("1",)),
    ],
)
def test_a_directory_on_the_node_is_a_word_of_bash(text, word, names):
    assert bash_path(text) == (word, names)


@pytest.mark.parametrize("text", ["scratch", "./x", "~/x", "/x\0", "/a\nb", ""])
def test_a_directory_that_is_none_on_a_node_is_refused(text):
    with pytest.raises(InvalidRequestError, match="absolute"):
        bash_path(text)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"directory": "/x"}, NodeLocal("/x")),
        ({}, NodeLocal()),
        (None, None),
        ([], None),
        ({"directory": 1}, None),
    ],
)
def test_what_a_record_holds_is_used_only_if_it_is_what_was_written(value, found):
    assert NodeLocal.read(value) == found
    if found is not None:
        assert NodeLocal.read(found.to_json()) == found


@pytest.mark.parametrize(
    ("claim", "word"),
    [
        ("out", "./out"),
        ("", "./"),
        ("it's/a b", "'./it'\"'\"'s/a b'"),
        ("a[*]b", "'./a*b'"),
        ("out/*.csv", "./out/*.csv"),
        ("a[[]*/**/?x[!y]z/", "./a'['*/**/*x*z"),
        ("$(x)*", "./'$(x)'*"),
    ],
)
def test_a_claim_is_a_word_of_bash(claim, word):
    assert bash_patterns([claim]) == [word]


def test_patterns_of_sbatch_are_any_characters():
    assert bash_patterns([marked("sub-%4a/%x.txt")]) == ["./sub-*/*.txt"]


_NAMES = st.text("ab.*?[]!-$'\" \\\n`(", min_size=1, max_size=4).filter(
    lambda name: name not in (".", "..", "**")
)
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)
_CLAIMS = st.lists(
    st.one_of(st.just("**"), st.text("ab.*?[]!-", min_size=1, max_size=4)),
    min_size=1,
    max_size=3,
).map("/".join)


@settings(max_examples=60, deadline=None)
@given(_CLAIMS, st.sets(_PATHS, max_size=12))
def test_bash_finds_all_that_a_claim_covers(tmp_path_factory, claim, paths):
    root = tmp_path_factory.mktemp("tree")
    made = set()
    for path in sorted(paths):
        try:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text("")
            made.add(path)
        except OSError:
            continue  # one is a directory that another needs as a file
    (word,) = bash_patterns([claim])
    script = f'shopt -s globstar dotglob nullglob; for x in {word}; do find "$x" -print0; done'
    done = subprocess.run(["bash", "-c", script], cwd=root, capture_output=True, check=False)
    found = {os.path.normpath(os.fsdecode(name)) for name in done.stdout.split(b"\0") if name}
    assert {path for path in made if covers(claim, path)} <= found
