"""What a command will submit, as far as that is certain; and the same with fewer tasks."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.foresee import Foreseen, foresee, with_array

SCRIPTS = {
    "job.sh": "#!/bin/bash\n\n#SBATCH --array=1-3\n# note\n#SBATCH -J named\ntrue\n#SBATCH -a 9\n",
    "plain.sh": "#!/bin/bash\ntrue\n#SBATCH --array=1-3\n",
    "odd.sh": "#SBATCH --new-option value\n",
}


def look(command, **environment):
    return foresee(command, environment, lambda call: SCRIPTS.get(call.script))


@pytest.mark.parametrize(
    ("command", "indices", "name"),
    [
        ("sbatch job.sh", (1, 2, 3), "named"),
        ("/usr/bin/sbatch --mem 4G job.sh --array=5", (1, 2, 3), "named"),
        ("sbatch -a 4,6-8:2%1 job.sh", (4, 6, 8), "named"),
        ("sbatch --arr=4 -Jx job.sh $later", (4,), "x"),
        ("sbatch -a 1 --array=2 -a 3 job.sh", (3,), "named"),
        ("sbatch -Ha5 sub/plain.sh", (5,), None),
        ("sbatch plain.sh", (), "plain.sh"),
        ("sbatch --wrap 'echo $x > y; true'", (), "wrap"),
        ("sbatch -a 1-2", (1, 2), None),
        ("sbatch \\\n  -a 1-\\\n2 \\\n  job.sh", (1, 2), "named"),
        ("sbatch -a 1\xa0job.sh", None, None),
        ("sbatch gone.sh", None, None),
        ("sbatch -J x odd.sh", None, "x"),
        ("sbatch --array=1-$N job.sh", None, None),
        ("sbatch --array=1- job.sh", None, "named"),
        ("sbatch --version", None, None),
        ("sbatch a.sh : b.sh", None, None),
        ("cat job.sh | sbatch -a 1", None, None),
        ("sbatch -a 1 job.sh; sbatch -a 2 job.sh", None, None),
        ("./wrapper -a 1", None, None),
        ("A=1 sbatch -a 1 job.sh", None, None),
        ("sbatch $(options) job.sh", None, None),
        ("sbatch 'job.sh", None, None),
    ],
)
def test_only_what_is_certain_is_told(command, indices, name):
    assert look(command) == Foreseen(indices, name)


def test_the_environment_counts_before_the_script_and_behind_the_options():
    environment = {"SBATCH_ARRAY_INX": "7", "SBATCH_JOB_NAME": "e"}
    assert look("sbatch job.sh", **environment) == Foreseen((7,), "e")
    assert look("sbatch -a 8 -J c job.sh", **environment) == Foreseen((8,), "c")
    assert look("sbatch", **environment) == Foreseen((7,), "e")


@pytest.mark.parametrize(
    ("command", "changed"),
    [
        ("sbatch job.sh -a 5", "sbatch --array=1,3 job.sh -a 5"),
        ("sbatch --array=1-9%2 --mem=4G job.sh", "sbatch --array=1,3 --mem=4G job.sh"),
        ("sbatch -p x -a 1-9 --array 7 'job a.sh'", "sbatch --array=1,3 -p x 'job a.sh'"),
        ("cd x && nice sbatch -a1-9 j \"$y\"|tee", "cd x && nice sbatch --array=1,3 j \"$y\"|tee"),
        ("cat job.sh | sbatch", "cat job.sh | sbatch --array=1,3"),
        ("sbatch --wrap 'echo $x'", "sbatch --array=1,3 --wrap 'echo $x'"),
        ("sbatch {inputs}", "sbatch --array=1,3 {inputs}"),
        ("sbatch $OPTIONS job.sh", None),
        ("sbatch --mem=$M job.sh", None),
        ("sbatch -Ha1-9 job.sh", None),
        ("sbatch --unheard-of job.sh", None),
        ("sbatch a.sh; sbatch b.sh", None),
        ("./wrapper", None),
        ("sbatch `options` job.sh", None),
    ],
)  # fmt: skip
def test_a_command_gets_other_tasks_where_its_options_are_certain(command, changed):
    assert with_array(command, "1,3") == changed


words = st.lists(
    st.sampled_from(["--mem=4G", "-n3", "-p x", "--array=1-5", "-a 7", "--array '1,2'"]), max_size=5
)


@given(words, st.text("ab '\"\\$;", min_size=1, max_size=6))
def test_a_changed_command_submits_exactly_the_tasks_wanted(options, argument):
    command = " ".join(["sbatch", *options, "plain.sh", shlex.quote(argument)])
    changed = with_array(command, "1,3")
    assert look(changed).indices == (1, 3)
    kept = [word for option in options if "a" not in option.split("=")[0].lstrip("-").replace(
        "array", "a").split()[0] for word in option.split()]  # fmt: skip
    assert shlex.split(changed) == ["sbatch", "--array=1,3", *kept, "plain.sh", argument]
