"""What our sbatch submits instead of the user's script."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from datalad_slurm.node.wrap import place

SCRIPT = "#!/bin/sh\necho\n"


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Return a function that asks for the words as the shim does."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "here" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    place(tmp_path / "notes", tmp_path / "endings")

    def call(*words, stdin=""):
        done = subprocess.run(
            ["sh", tmp_path / "notes" / "wrap", tmp_path / "notes" / "1.d", *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=True,
            # what a user's command may set for a Python of its own
            env={"PATH": f"{tmp_path}/here/sub:/usr/bin:/bin", "PYTHONHOME": "/nowhere"},
        )
        prefix, *found = shlex.split(done.stdout) or ["set", "--"]
        assert prefix == "set"
        return found[1:], done.stderr

    return call


def write(text, *names):
    for name in names:
        with open(name, "w") as script:
            script.write(text)


@pytest.mark.parametrize(
    ("words", "options", "name", "arguments"),
    [
        (["job.sh"], [], "job.sh", []),
        (["-n1", "--mem", "5", "job.sh", "-a", ":"], ["-n1", "--mem", "5"], "job.sh", ["-a", ":"]),
        (["-HkJ", "a b", "job.sh", "new\nline\n"], ["-HkJ", "a b"], "job.sh", ["new\nline\n"]),
        (["--", "./job.sh"], ["--"], "job.sh", []),
        (["--job-n", "x", "job.sh"], ["--job-n", "x"], "job.sh", []),
        (["--brand-new=1", "job.sh"], ["--brand-new=1"], "job.sh", []),
        (["--nice", "job.sh", "5"], ["--nice"], "job.sh", ["5"]),
        (["--chd", "sub", "there.sh"], ["--chd", "sub"], "there.sh", []),
        (["there.sh"], [], "there.sh", []),
        (["-D", "sub", "./job.sh"], ["-D", "sub"], "job.sh", []),
        (["-D", "sub", "job.sh"], ["-D", "sub"], "job.sh", []),
        (["-D", "nowhere", "job.sh"], ["-D", "nowhere"], "job.sh", []),
        (["--wrap", "echo", "-t1"], ["-t1"], "wrap", []),
        (["--wra=echo 'x'", "-t", "1"], ["-t", "1"], "wrap", []),
        (["-t1"], ["-t1"], "sbatch", []),
    ],
)
def test_the_runner_takes_the_place_of_the_script(call, words, options, name, arguments):
    write(SCRIPT, "job.sh", "sub/there.sh")
    found, said = call(*words, stdin=SCRIPT)
    assert said == ""
    length = len(options)
    assert found[:length] == options
    assert found[length].endswith(f"/1.d/{name}")
    assert found[length + 1 :] == arguments
    with open(found[length]) as runner:
        text = runner.read()
    assert "dls_run" in text
    assert "\necho" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.sh"], ""),
        (["--version"], ""),
        (["-Vv"], ""),
        (["--usage", "job.sh"], ""),
        (["--brand-new", "job.sh"], "for certain"),
        (["-%", "job.sh"], "for certain"),
        (["--gpus", "1", "--n", "2", "job.sh"], "for certain"),
        (["-n1", ":", "-n1", "job.sh"], "for certain"),
        (["--wrap=x", "job.sh"], "for certain"),
        (["--wrap="], "for certain"),
        (["--wrap"], "for certain"),
        (["--container=/x", "job.sh"], "container"),
        (["bad.sh"], "#!"),
    ],
)
def test_what_is_not_certain_is_left_as_it_is(call, words, said):
    write(SCRIPT, "job.sh")
    write("echo\n", "bad.sh")
    found, stderr = call(*words)
    assert found == []
    assert said in stderr
    assert bool(said) == bool(stderr)


def test_a_script_from_a_pipe_is_handed_on_even_if_it_cannot_be_wrapped(call):
    found, stderr = call("-t1", stdin="echo no interpreter\n")
    assert "#!" in stderr
    with open(found[-1]) as script:
        assert script.read() == "echo no interpreter\n"
