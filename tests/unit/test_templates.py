"""A value of a table is inserted as it is, and no shell ever reads it."""

import json
import shlex
import string
import subprocess
import sys

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from datalad_slurm.jobs.command_template import CommandTemplate
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.templates import Names, Template
from datalad_slurm.slurm.plain import plain_words

HOSTILE = [
    "a b", "a'b", 'a"b', "$(touch pwned)", "`touch pwned`", "; touch pwned #", "| touch pwned",
    "&& touch pwned", "> pwned", "$HOME", "${HOME}", "*", "?", "[a]", "~", "\\", "a\\", "'\"'\"'",
    "\n", "a\nb", "\ttab", "!", "#", "{x}", "{{x}}", "{inputs}", "}", "{", "-n",
    "--wrap=touch pwned", "A=1", "if", "", "ü", "%j", "${IFS}", "$'\\x41'", "a' 'b", "\r",
]  # fmt: skip
values = st.sampled_from(HOSTILE) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"])
)
COLUMNS = Names(["x", "y", "my column", "a:b", "inputs.csv"], ["inputs", "outputs", "tmpdir"])
#: prints its arguments, as what a shell has made of them
SHOW = "import json, sys; print(json.dumps(sys.argv[1:]))"


def formatted(text):
    """Return what `datalad run` makes of a text in which nothing is to be filled in."""
    return string.Formatter().format(text)


def filled(command, **row):
    return CommandTemplate(command, COLUMNS).fill(row)


@pytest.mark.faults
@given(values)
def test_a_value_is_the_same_after_all_braces_are_read(value):
    template = Template("out/{x}/{{y}}", COLUMNS, "an output")
    assert formatted(template.fill({"x": value})) == f"out/{value}/{{y}}"
    assert Template("{x}{{", COLUMNS, "the message").fill_whole({"x": value}) == f"{value}{{"


def test_columns_with_odd_names_can_be_used():
    row = {"my column": "1", "a:b": "2"}
    assert Template("{my column}-{a:b}", COLUMNS, "an output").fill(row) == "1-2"


def test_placeholders_that_are_no_columns_stay():
    assert filled(["sbatch", "job.sh", "{inputs}", "{outputs[0]}", "{x}"], x="v") == (
        "sbatch job.sh '{inputs}' '{outputs[0]}' v"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{z}", r"the placeholder {z}, but the table has no such column, only {x}, {y}"),
        ("{}", "the placeholder {}"),
        ("{x!r}", "the placeholder {x!r}"),
        ("{x.__class__}", "the placeholder {x.__class__}"),
        ("{x", "a single '{'"),
        ("x}", "a single '}'"),
        ("{{x}", "a single '}'"),
        ("{inputs.csv}", "is a column of the table and a placeholder of its own"),
    ],
)
def test_placeholders_that_cannot_be_filled_in_are_refused(text, said):
    with pytest.raises(InvalidRequestError) as caught:
        Template(text, COLUMNS, "the command")
    assert said in str(caught.value)


@pytest.mark.faults
@settings(max_examples=30, deadline=None)
@given(values, values)
@example("$(touch pwned)", "'")
def test_a_value_in_a_word_is_one_argument(tmp_path_factory, one, other):
    words = [sys.executable, "-c", SHOW, "{x}", "a{x}b{y}", "'{y}'", "{{x}}"]
    directory = tmp_path_factory.mktemp("run")
    command = formatted(filled(words, x=one, y=other))
    said = subprocess.run(
        command, shell=True, cwd=directory, check=True, capture_output=True
    ).stdout
    assert json.loads(said) == [one, f"a{one}b{other}", f"'{other}'", "{x}"]
    assert list(directory.iterdir()) == []


@pytest.mark.faults
@settings(max_examples=30, deadline=None)
@given(values, st.sampled_from(["sh", "bash"]))
@example("$(touch pwned)", "sh")
@example("'; touch pwned; '", "bash")
def test_a_value_in_a_text_for_a_shell_is_one_argument(tmp_path_factory, value, shell):
    script = f"{sys.executable} -c '{SHOW}' {{x}} \"a b{{x}}c\" 'd {{x}}' e{{x}}"
    directory = tmp_path_factory.mktemp("run")
    command = plain_words(formatted(filled(["sbatch", "--wrap", script], x=value)))
    said = subprocess.run(
        [shell, "-c", command[2]], cwd=directory, check=True, capture_output=True
    ).stdout
    assert json.loads(said) == [value, f"a b{value}c", f"d {value}", f"e{value}"]
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize(
    "form",
    [["--wrap=echo {x}"], ["--wrap", "echo {x}"], ["--wra", "echo {x}"], ["--wr=echo {x}"]],
)
def test_all_spellings_of_wrap_are_texts_for_a_shell(form):
    command = formatted(filled(["sbatch", *form], x="$(a)"))
    assert shlex.split(command)[-1].endswith("echo '$(a)'")


def test_the_text_that_a_shell_is_called_with_is_one_for_a_shell():
    command = filled(["bash", "-ec", "sbatch job.sh {x}", "name", "{x}"], x="$(a)")
    assert shlex.split(command) == ["bash", "-ec", "sbatch job.sh '$(a)'", "name", "$(a)"]


@pytest.mark.parametrize(
    "text",
    [
        "echo $(echo {x})", "echo `echo {x}`", "echo ${{HOME}} {x}", "eval {x}", "bash -c {x}",
        "echo {x} | sh", "echo {x} | bash", "cat <<E\n{x}\nE", "sh <<< {x}", "echo \\{x}",
        "echo ${x}", "echo $'{x}'", "# {x}", "ssh host {x}", "let {x}", "[[ {x} -eq 1 ]]",
        "(( {x} ))", "printf -v {x} a", "a[{x}]=1", "trap {x} EXIT", "sbatch --wrap {x}",
        ". /dev/stdin <<< {x}", "/bin/sh -c {x}", "unset {x}", "cat <(echo {x})",
    ],
)  # fmt: skip
def test_texts_in_which_a_value_might_be_read_once_more_are_refused(text):
    with pytest.raises(InvalidRequestError):
        filled(["sbatch", "--wrap", text], x="v")


@pytest.mark.parametrize(
    "text",
    [
        "bash job.sh {x}",
        "./run.sh {x} > out/{x}",
        "cd $DIR && python a.py --s='{x}'; true",
        "a|b {x}",
    ],
)
def test_usual_texts_for_a_shell_are_taken(text):
    assert "'v'" in shlex.split(filled(["sbatch", "--wrap", text], x="v"))[2]


@pytest.mark.parametrize(
    "command",
    [
        ["{x}"], ["{x}", "job.sh"], ["A={x}", "sbatch", "job.sh"], ["A=1", "{x}", "a"],
        ["sbatch", "-{x}", "job.sh"], ["sbatch", "--{x}", "job.sh"], ["sbatch", "-Q{x}", "job.sh"],
        ["sbatch", "--na{x}", "job.sh"], ["ssh", "host", "sbatch", "job.sh", "{x}"],
        ["eval", "sbatch {x}"], ["sbatch job.sh {x} | tee log"], ["sbatch job.sh $A {x}"],
        ["sbatch job.sh {x}; true"], ['sbatch "$A" {x}'], ["sbatch {x} > a"], ["sbatch 'a {x}"],
        ["sbatch\njob.sh {x}"], ["sbatch job.sh \\{x}"],
    ],
)  # fmt: skip
def test_commands_in_which_a_value_would_be_more_than_an_argument_are_refused(command):
    with pytest.raises(InvalidRequestError):
        filled(command, x="v")


@pytest.mark.parametrize("value", ["--wrap=touch pwned", "-h", ":", ""])
def test_a_value_that_sbatch_would_not_take_for_a_script_is_refused(value):
    with pytest.raises(InvalidRequestError, match="for the name of a script"):
        filled(["sbatch", "-J", "{x}", "{x}"], x=value)
    assert shlex.split(filled(["sbatch", "job.sh", "{x}"], x=value)) == ["sbatch", "job.sh", value]


@given(values)
def test_a_text_of_plain_words_is_as_good_as_words(value):
    assume("{" not in value and "}" not in value)
    assert filled(["sbatch -J 'a {x}' job.sh \"{x}\" {x}"], x=value) == filled(
        ["sbatch", "-J", "a {x}", "job.sh", "{x}", "{x}"], x=value
    )


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sbatch job.sh a", ["sbatch", "job.sh", "a"]),
        ("sbatch 'a b'", ["sbatch", "a b"]),
        ("sbatch a; b", []),
        ("sbatch a > b", []),
        ("sbatch $A", []),
        ("A=1 sbatch a", []),
        ("./sbatch a", []),
        ("sbatch --comment=a b", []),
        ("sbatch --comm a b", []),
        ("sbatch 'a", []),
        ("", []),
    ],
)
def test_only_a_plain_call_of_sbatch_is_made_without_a_shell(command, words):
    assert plain_words(command) == words
