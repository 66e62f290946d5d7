"""Names, records and answers that are made to do harm."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule

#: what each would do if any shell read it: a file of this name appears
_PWNED = "PWNED"
_WORDS = [
    f"$(touch {_PWNED})",
    f"`touch {_PWNED}`",
    f"; touch {_PWNED};",
    f"'; touch {_PWNED}; '",
    f'" && touch {_PWNED} && "',
    f"a\ntouch {_PWNED}\n",
    f"| touch {_PWNED}",
    f"> {_PWNED}",
    f"${{IFS}}touch{_PWNED}",
    f"--help; touch {_PWNED}",
    f"-o {_PWNED}",
    "@{u}",
    ":(exclude)out",
    "\x1b[31m",
]


@pytest.fixture(autouse=True)
def nothing_was_run(box, tmp_path):
    yield
    found = [path for path in tmp_path.rglob(f"{_PWNED}*") if path.name == _PWNED]
    assert found == []
    assert not Path(_PWNED).exists()


def quoted(word):
    """Return a word for the command, in which only braces mean anything."""
    return word.replace("{", "{{").replace("}", "}}")


def test_no_name_that_a_job_leaves_reaches_a_shell(box, slurm):
    names = [word.replace("/", "_") for word in _WORDS]
    box.script('mkdir -p "out"; for name in "$@"; do printf x > "out/$name"; done')
    job = schedule(box, ["sbatch", "job.sh", *map(quoted, names)])
    slurm.wait(job)
    for _ in range(2):  # the second time all of them are unlocked first
        assert {res["status"] for res in finish(box)} == {"ok"}
        listed = box.git("ls-tree", "-z", "--name-only", "HEAD", "out/").split("\0")
        assert {name.removeprefix("out/") for name in listed if name} == set(names)
        again = box.cli("slurm-reschedule", code=None)
        assert again.returncode == 0
        slurm.wait(*box.tracked())
    assert {res["status"] for res in finish(box)} == {"ok"}


def test_no_declared_name_message_or_name_of_a_job_reaches_a_shell(box, slurm):
    outputs = [quoted(word.replace("/", "_")) for word in _WORDS]
    script = box.script('for name in "$@"; do printf x > "$name"; done', "$(touch PWNED);job.sh")
    for number, word in enumerate(_WORDS[:6]):
        (box.path / "in").mkdir(exist_ok=True)
        (box.path / "in" / outputs[number].replace("{{", "{").replace("}}", "}")).write_text("x")
        job = schedule(
            box,
            [
                "sbatch", "-J", quoted(word), f"--comment={quoted(word)}", "-o",
                f"log{number}-{quoted(word.replace('/', '_'))}", script, outputs[number],
            ],
            [outputs[number]],
            message=word,
            inputs=[f"in/{outputs[number]}"],
        )  # fmt: skip
        done = box.cli("slurm-finish", "-l")
        assert str(job) in done.stdout
        slurm.wait(job)
        results = finish(box, job, message=word)
        assert {res["status"] for res in results if res["action"] == "save"} == {"ok"}, results
        assert word.strip() in box.git("log", "-1", "--format=%B")
        slurm.wait(job)


def test_no_answer_of_slurm_reaches_a_shell(box, slurm, stand_in):
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    slurm.wait(job)
    evil = f"$(touch {_PWNED})`touch {_PWNED}`"
    stand_in("squeue", f"""$real "$@" | sed 's/|COMPLETED|/|{evil}|/'""")
    (result,) = finish(box)
    assert evil.split(maxsplit=1)[0] in result["message"]
    stand_in("squeue", "exit 0")
    stand_in("sacct", f"""$real "$@" | sed 's/\\x1fmain\\x1f/\\x1f;{evil}\\x1f/'""")
    stand_in("scontrol", f"""$real "$@" | sed 's/StdOut=.*/StdOut={evil}/'""")
    assert {res["status"] for res in finish(box)} <= {"ok", "impossible"}
    stand_in("sacct", f"echo 'error: {evil}' >&2; exit 1")
    schedule(box, ["sbatch", "--hold", "--wrap", "true"], ["b"])
    (result,) = finish(box)
    assert result["status"] == "impossible"
    slurm.run("scancel", *map(str, box.tracked()))


def commit_record(box, **change):
    record = {
        "chain": [], "cmd": f"sbatch --wrap 'touch {_PWNED}'", "dsid": "", "inputs": [],
        "extra_inputs": [], "outputs": ["out"], "pwd": ".", "slurm_job_id": 1, "slurm_outputs": [],
    } | change  # fmt: skip
    message = (
        "[DATALAD SLURM RUN] Slurm job 1: Completed\n\n=== Do not change lines below ===\n"
        f"{json.dumps(record)}\n^^^ Do not change lines above ^^^\n"
    )
    subprocess.run(
        ["git", "commit", "-q", "--allow-empty", "-F", "-"],
        cwd=box.path, input=message, text=True, check=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"slurm": {"declared_outputs": ["../../etc/x"]}},
        {"slurm": {"declared_outputs": ["/etc/x"]}},
        {"slurm": {"declared_outputs": ["way/x"]}},
        {"slurm": {"declared_outputs": ["way"]}},
        {"slurm": {"declared_outputs": [".git/hooks/post-commit"]}},
        {"slurm": {"declared_outputs": ["a\0b"]}},
        {"outputs": [".git/config"]},
        {"outputs": ["way"]},
        {"inputs": ["../../etc/passwd"]},
        {"inputs": ["/etc/passwd"]},
        {"inputs": ["way/secret"]},
        {"extra_inputs": ["../secret"]},
        {"outputs": ["log"], "slurm_outputs": ["log"]},
        {"pwd": "way"},
        {"cmd": "\0"},
        {"cmd": "sbatch --wrap {no_such_thing}"},
        {"cmd": "sbatch --wrap {inputs[9]}"},
        {"inputs": ["{no_such_thing}/../../../x"]},
    ],
    ids=repr,
)
def test_a_record_that_leads_out_of_the_dataset_is_refused(box, slurm, tmp_path, change):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("s")
    (box.path / "way").symlink_to(outside)
    box.git("add", "way")
    commit_record(box, **change)
    done = box.cli("slurm-reschedule", code=1)
    assert "slurm-reschedule(" in done.stdout
    assert box.tracked() == []
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert (outside / "secret").read_text() == "s"


@pytest.mark.parametrize("content", [True, False], ids=["present", "absent"])
def test_a_log_of_a_record_behind_a_link_is_not_touched(box, slurm, tmp_path, content):
    other = tmp_path / "other"
    subprocess.run(["cp", "-a", box.path, other], check=True)
    (other / "log").write_text("l")
    subprocess.run(["git", "annex", "add", "--quiet", "log"], cwd=other, check=True)
    if not content:
        subprocess.run(["git", "annex", "drop", "--quiet", "--force", "log"], cwd=other, check=True)
    before = (other / "log").readlink()
    (box.path / "way").symlink_to(other)
    commit_record(
        box, cmd="sbatch --hold --wrap true", outputs=["out", "way/log"], slurm_outputs=["way/log"]
    )
    box.cli("slurm-reschedule")
    assert (other / "log").readlink() == before
    slurm.run("scancel", *map(str, box.tracked()))


@pytest.mark.parametrize(
    "change",
    [
        {"slurm": {"jobs": 5}},
        {"slurm": {"jobs": [None, {}, "x"]}},
        {"slurm": {"declared_outputs": {"a": 1}}},
        {"slurm": {"declared_outputs": [1]}},
        {"slurm": {"declared_outputs": [[]]}},
        {"slurm_outputs": ["x" * 5000, "{}", "out/\n", "%j"]},
        {"chain": ["$(touch PWNED)", "-x"]},
        {"inputs": ["*", "[", "~root/x", "-x"]},
    ],
    ids=lambda change: repr(change)[:50],
)
def test_a_record_that_is_odd_is_refused_or_run_but_breaks_nothing(box, slurm, change):
    commit_record(box, cmd="sbatch --hold --wrap true", **change)
    done = box.cli("slurm-reschedule", code=None)
    assert "slurm-reschedule(" in done.stdout, done.stderr
    for job in box.tracked():
        assert record_of(box)["cmd"] == "sbatch --hold --wrap true"
        slurm.run("scancel", str(job))


@pytest.mark.parametrize("kind", ["link outside", "directory", "no archive", "no record", "link"])
def test_a_record_in_a_file_that_is_none_is_refused(box, slurm, kind):
    place = box.path / ".datalad/runinfo/evil"
    place.parent.mkdir(parents=True)
    if kind == "directory":
        place.mkdir()
    elif kind == "no archive":
        place.write_bytes(b"\xfd7zXZ\0")
    elif kind == "no record":
        import lzma

        place.write_bytes(lzma.compress(b'{"cmd": ["x"]}\n'))
    else:
        place.symlink_to("/etc/passwd" if kind == "link outside" else "evil")
    message = (
        "[DATALAD SLURM RUN] Slurm job 1: Completed\n\n=== Do not change lines below ===\n"
        '"evil"\n^^^ Do not change lines above ^^^\n'
    )
    box.git("commit", "-q", "--allow-empty", "-m", message)
    done = box.cli("slurm-reschedule", code=1)
    assert "slurm-reschedule(error)" in done.stdout or "record" in done.stdout
    assert "root:" not in done.stdout + done.stderr
    assert box.tracked() == []
