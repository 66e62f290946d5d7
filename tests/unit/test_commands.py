"""Further options in a command that submits a job."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.commands import array_options, parse_further_options, with_options
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.sbatch_options import read_call

MORE = ("--mem=8G", "--time=2:00:00")


@pytest.mark.parametrize(
    ("cmd", "wanted"),
    [
        ("sbatch job.sh", "sbatch {} job.sh"),
        ("sbatch", "sbatch {}"),
        ("sbatch --mem 4G job.sh --mem=1G {inputs}", "sbatch --mem 4G {} job.sh --mem=1G {inputs}"),
        ("FOO='a b' /usr/bin/sbatch -J x -- job.sh -c", None),
        ("sbatch -J 'a  b'   job.sh", "sbatch -J 'a  b' {}   job.sh"),
        ("sbatch --wrap 'echo 1; echo $X | cat'", "sbatch --wrap 'echo 1; echo $X | cat' {}"),
        ('sbatch --wrap "echo $X" -n 2', 'sbatch --wrap "echo $X" -n 2 {}'),
        ("sbatch --wrap=true", "sbatch --wrap=true {}"),
        ("sbatch job.sh $HOME '*' *", "sbatch {} job.sh $HOME '*' *"),
        ("sbatch --nodelist=n[1-3] job.sh", "sbatch --nodelist=n[1-3] {} job.sh"),
        ("sbatch --parsable job.sh  ", "sbatch --parsable {} job.sh  "),
    ],
)
def test_options_come_behind_the_others_and_before_the_script(cmd, wanted):
    if wanted is None:
        wanted = "FOO='a b' /usr/bin/sbatch -J x {} -- job.sh -c"
    assert with_options(cmd, MORE) == wanted.replace("{}", " ".join(MORE), 1)


def test_without_further_options_any_command_stays_as_it_is():
    assert with_options("cat x | ./submit $(date)", ()) == "cat x | ./submit $(date)"


@pytest.mark.parametrize(
    ("cmd", "why"),
    [
        ("cat job.sh | sbatch", "more than one plain call"),
        ("sbatch < job.sh", "more than one plain call"),
        ("cd x && sbatch job.sh", "more than one plain call"),
        ("sbatch job.sh; true", "more than one plain call"),
        ("sbatch job.sh # as before", "more than one plain call"),
        ("sbatch <<EOF\n#!/bin/sh\nEOF", "more than one plain call"),
        ("sbatch 'unclosed", "more than one plain call"),
        ("./submit job.sh", "does not begin with sbatch"),
        ("sbatch $OPTIONS job.sh", "replaces some of its words"),
        ('sbatch "$OPTION" job.sh', "replaces some of its words"),
        ("sbatch `cat options` job.sh", "more than one plain call"),
        ("sbatch --new-option job.sh", "which of its words are options"),
        ("sbatch --mem=1G : --mem=2G job.sh", "which of its words are options"),
        ("sbatch --version", "which of its words are options"),
    ],
)
def test_a_command_in_which_the_place_is_not_certain_is_refused(cmd, why):
    with pytest.raises(InvalidRequestError, match=why):
        with_options(cmd, MORE)


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
options = st.sampled_from(["--mem=4G", "-n2", "--time=5", "--hold", "--comment=a b", "-Jx"])


@given(st.lists(options, max_size=4), st.lists(words, max_size=3), words)
def test_script_and_arguments_stay_what_they_are(before, arguments, script):
    script = f"s{script}"
    cmd = shlex.join(["sbatch", *before, script, *arguments])
    call = read_call(shlex.split(with_options(cmd, MORE))[1:])
    assert call is not None
    assert (call.script, call.arguments) == (script, tuple(arguments))
    assert call.options == (*before, *MORE)


@pytest.mark.parametrize(
    "text",
    ["", "job.sh", "--mem=8G job.sh", "--wrap x", "--wrap=x", "--help", "--mem", "'", "-- ", ":"],
)
def test_what_is_no_option_of_sbatch_is_refused(text):
    with pytest.raises(InvalidRequestError, match="takes options of sbatch"):
        parse_further_options(text)


@pytest.mark.parametrize("text", ["--array=1", "-a 1-3", "-a1", "--mem=1G --array 4"])
def test_which_tasks_there_are_cannot_be_changed(text):
    with pytest.raises(InvalidRequestError, match="cannot change which tasks"):
        parse_further_options(text)


def test_options_are_split_as_by_a_shell():
    assert parse_further_options("--mem=8G -J 'a b'") == ("--mem=8G", "-J", "a b")


def test_the_tasks_of_an_array_are_named_in_short_with_their_limit():
    assert array_options([1, 2, 3, 7], 2) == ("--array=1-3,7%2",)
    assert array_options([5], None) == ("--array=5",)


def test_a_command_over_several_lines_is_one_call():
    cmd = "sbatch --mem=4G \\\n  --time=1 job\\\n.sh \\\n  --mem=1"
    assert with_options(cmd, MORE) == cmd.replace("--time=1", f"--time=1 {' '.join(MORE)}")


def test_a_blank_that_is_none_for_every_shell_is_no_blank():
    with pytest.raises(InvalidRequestError, match="replaces some of its words"):
        with_options("sbatch --mem=4G\xa0-n2 job.sh", MORE)
