"""`slurm-schedule --table`: one job a row, all rows or none, and the rest at the second call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from datalad.api import create, slurm_schedule

from datalad_slurm.workflow import table_submit
from tests.conftest import DATALAD, TESTBED, Box, Slurm, wait_until
from tests.crash import Crasher
from tests.slurm.sweeps import claims, noted_jobs
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import ODD_NAMES, finish

JOB = ["sbatch", "job.sh", "{name}", "{dose}"]
HELD = ["sbatch", "--hold", "--wrap", "true"]


def table(box, *rows, name="t.csv", header="name,dose"):
    path = box.path / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def submit(box, rows, cmd=JOB, outputs=("out/{name}",), **kwargs):
    """Submit through the Python API and return the results about rows, and of failures."""
    quiet = {"result_renderer": "disabled", "on_failure": "ignore"}
    results = slurm_schedule(
        list(cmd), dataset=box.path, outputs=list(outputs), table=rows, **quiet | kwargs
    )
    about = [res for res in results if res["action"].startswith("slurm-schedule")]
    return [res for res in about if "submitted" not in res]


def told(results):
    """Return line, status and job of each result."""
    return [(res.get("line"), res["status"], res.get("slurm_job_id")) for res in results]


@pytest.fixture
def study(box):
    """Return a dataset with a job script that writes its second argument below its first."""
    box.script('mkdir -p "out/$1"; printf %s "$2" > "out/$1/dose"')
    return box


def test_each_row_is_a_job_with_a_commit_of_its_own(study, slurm):
    path = table(study, "s01,1.50", "s02,2")
    done = study.cli(
        "-f", "json", "slurm-schedule", "--table", "t.csv", "-o", "out/{name}", "-m",
        "subject {name} {{a}}", "sbatch", "job.sh", "{name}", "{dose}",
    )  # fmt: skip
    *results, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert (last["status"], last["message"]) == ("ok", "t.csv: 2 submitted")
    assert [(res["line"], res["status"], res["outputs"]) for res in results] == [
        (2, "ok", ["out/s01"]),
        (3, "ok", ["out/s02"]),
    ]
    jobs = [res["slurm_job_id"] for res in results]
    assert results[1]["message"] == f"line 3 of t.csv: submitted Slurm job {jobs[1]}"
    assert study.tracked() == jobs
    slurm.wait(*jobs)
    finish(study)
    assert (study.path / "out/s01/dose").read_text() == "1.50"
    assert f"slurm-{jobs[1]}.out" in study.files_in_last_commit()
    assert "out/s02/dose" in study.files_in_last_commit()
    assert "subject s02 {a}" in study.git("log", "-1", "--format=%b")
    record = record_of(study)
    assert record["cmd"] == "sbatch job.sh s02 2"
    assert record["slurm"]["table"]["line"] == 3
    assert record["slurm"]["table"]["name"] == "t.csv"
    assert record["slurm"]["script"]["path"] == "job.sh"
    path.unlink()
    assert study.status() == ""
    assert list((study.path / ".git/datalad-slurm/submissions").iterdir()) == []


def test_what_a_table_holds_is_never_more_than_an_argument(study, slurm):
    rows = [{"name": f"{n}", "dose": odd} for n, odd in enumerate(ODD_NAMES)]
    results = submit(study, rows)
    assert [res["status"] for res in results] == ["ok"] * len(rows)
    wrapped = [
        "sbatch",
        "--wrap",
        "mkdir -p w; printf %s {dose} > w/{name}; echo \"{dose}\" '{dose}'",
    ]
    results += submit(study, rows, wrapped, ["w/{name}"])
    slurm.wait(*(res["slurm_job_id"] for res in results))
    assert {res["status"] for res in finish(study)} == {"ok"}
    for row in rows:
        assert (study.path / "out" / row["name"] / "dose").read_text() == row["dose"]
        assert (study.path / "w" / row["name"]).read_text() == row["dose"]
    assert not list(study.path.rglob("pwned"))


def test_values_are_names_of_files_whatever_they_hold(study, slurm):
    odd = [name for name in [*ODD_NAMES, "*", "s[1]", "?"] if "/" not in name]
    study.script('printf %s "$1" > "$1"')
    rows = [{"name": name, "dose": ""} for name in odd]
    results = submit(study, rows, outputs=["{name}"])
    slurm.wait(*(res["slurm_job_id"] for res in results))
    assert {res["status"] for res in finish(study)} == {"ok"}
    for name in odd:
        assert (study.path / name).read_text() == name
    before = submit(study, rows, outputs=["{name}"])
    assert {res["status"] for res in before} == {"notneeded"}


def test_inputs_of_a_row_are_fetched_and_recorded(box, slurm, tmp_path):
    for name in ("a", "b", "c"):
        (box.path / f"in_{name}").write_text(name)
    box.cli("save", "-m", "inputs")
    box.git("clone", "-q", str(box.path), str(tmp_path / "clone"))
    clone = Box(tmp_path / "clone")
    clone.git("annex", "init", "-q")
    results = submit(
        clone, [{"name": "a"}, {"name": "b"}], ["sbatch", "--wrap", "cat {inputs} > {outputs}"],
        outputs=["o_{name}"], inputs=["in_{name}"],
    )  # fmt: skip
    assert told(results)[0][:2] == (1, "ok")
    assert not (clone.path / "in_c").exists()
    slurm.wait(*(res["slurm_job_id"] for res in results))
    finish(clone)
    record = record_of(clone)
    assert record["inputs"] == ["in_b"]
    assert [each["path"] for each in record["slurm"]["inputs"]] == ["in_b"]
    assert (clone.path / "o_a").read_text() == "a"


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        (["a,1", "b"], {}, "line 3 of {t}: it has 1 cell"),
        (["a,1", "b,2"], {"cmd": [*JOB, "{size}"]}, "placeholder {size}"),
        (["a,1", "b,2"], {"outputs": ["out/{size}"]}, "placeholder {size}"),
        (["a,1", "b,2"], {"inputs": ["in/{size}"]}, "placeholder {size}"),
        (["a,1", "b,2"], {"message": "{size}"}, "placeholder {size}"),
        (["a,1", "b,2"], {"message": "{inputs}"}, "placeholder {inputs}"),
        (["a,1", "b,2", "a,3"], {}, "line 4 of {t}: output 'out/a' conflicts with 'out/a' of l"),
        (["a,1", "a/b,2"], {}, "line 3 of {t}: output 'out/a/b' conflicts with 'out/a' of line"),
        (["a,1", "../../b,2"], {}, "line 3 of {t}: output 'out/../../b' is outside"),
        (["a,1", ",2"], {}, "line 3 of {t}: 'name' is empty, and is part of an output"),
        (["a,1", "busy,2"], {}, "line 3 of {t}: output 'out/busy' conflicts with job"),
        (["a,1", "b,2"], {"inputs": ["in_{name}"]}, "line 3 of {t}: cannot get the content"),
        (["a,1", "b,2"], {"outputs": []}, "line 2 of {t}: at least one output"),
        (["a,1", "b,2"], {"cmd": []}, "there is no command"),
        (["a,1", "b,2"], {"cmd": ["sbatch job.sh {name} | tee log"]}, "is a program and its"),
        ([], {}, "{t} has no rows"),
    ],
)  # fmt: skip
def test_a_row_that_is_wrong_stops_all_before_the_first_submission(
    study, slurm, rows, options, said
):
    (study.path / "in_a").write_text("a")
    busy = submit(study, [{"name": "busy"}], HELD)[0]["slurm_job_id"]
    path = table(study, *rows)
    with_all = {"result_renderer": "disabled", "on_failure": "ignore", "outputs": ["out/{name}"]}
    options = dict(options)
    cmd = options.pop("cmd", JOB)
    try:
        results = slurm_schedule(cmd, dataset=study.path, table=path, **with_all | options)
        message = results[-1]["message"]
        assert results[-1]["status"] in ("error", "impossible")
    except ValueError as exc:  # a parameter that was refused
        message = str(exc)
    assert said.replace("{t}", str(path)) in message
    assert noted_jobs(study) == [busy]
    assert claims(study) == ["out/busy"]
    slurm.run("scancel", str(busy))


def test_a_column_that_is_a_placeholder_already_can_only_be_left_alone(study, slurm):
    rows = [{"name": "a", "outputs": "x"}]
    (refused,) = submit(study, rows, [*HELD[:2], "job.sh", "{outputs}"])
    assert "give the column another name" in refused["message"]
    (done,) = submit(study, rows, [*HELD[:2], "job.sh", "{name}"])
    assert done["status"] == "ok"
    slurm.run("scancel", str(done["slurm_job_id"]))


def test_after_a_failure_the_same_call_submits_the_rest(study, slurm, stand_in, tmp_path):
    calls = tmp_path / "calls"
    stand_in(
        "sbatch",
        f'echo >> {calls}; [ "$(wc -l < {calls})" = 3 ] && {{ echo no >&2; exit 1; }}; '
        'exec "$real" "$@"',
    )
    path = table(study, "a,1", "b,2", "c,3", "d,4")
    first = submit(study, path)
    assert [(res.get("line"), res["status"]) for res in first] == [
        (2, "ok"), (3, "ok"), (None, "error"),
    ]  # fmt: skip
    said = first[-1]["message"]
    assert f"line 4 of {path}: the command submitted no job (exit status 1): no" in said
    assert "of 4 rows, 2 are submitted (lines 2-3 of" in said
    assert claims(study) == ["out/a", "out/b"]
    jobs = [res["slurm_job_id"] for res in first[:2]]
    slurm.wait(*jobs)
    finish(study, jobs[0])
    second = submit(study, path)
    assert told(second)[:2] == [(2, "notneeded", jobs[0]), (3, "notneeded", jobs[1])]
    assert [res["status"] for res in second[2:]] == ["ok", "ok"]
    assert "and committed" in second[0]["message"]
    assert "which is open" in second[1]["message"]
    slurm.wait(*jobs, *(res["slurm_job_id"] for res in second[2:]))
    finish(study)
    assert {res["status"] for res in submit(study, path)} == {"notneeded"}
    again = study.cli(
        "slurm-schedule", "--table", "t.csv", "-o", "out/{name}", "sbatch", "job.sh", "{name}",
        "{dose}",
    )  # fmt: skip
    last = "slurm-schedule(notneeded): [t.csv: 0 submitted, 4 submitted before]"
    assert last in again.stdout.splitlines()
    assert [(study.path / "out" / name / "dose").read_text() for name in "abcd"] == list("1234")


def test_rows_are_known_again_in_another_order_and_beside_new_ones(study, slurm):
    first = submit(study, table(study, "a,1", "b,2"), HELD)
    path = table(study, "c\t3", "b\t2", "a\t1", name="other.tsv", header="name\tdose")
    second = submit(study, path, HELD)
    assert sorted(told(second))[1:] == [
        (3, "notneeded", first[1]["slurm_job_id"]),
        (4, "notneeded", first[0]["slurm_job_id"]),
    ]
    assert sorted(claims(study)) == ["out/a", "out/b", "out/c"]
    slurm.run("scancel", *map(str, noted_jobs(study)))


def test_a_row_whose_job_was_closed_is_submitted_again(study, slurm):
    rows = [{"name": "a"}, {"name": "b"}]
    command = ["sbatch", "--wrap", "mkdir -p out; [ {name} = a ] && touch out/{name}"]
    first = submit(study, rows, command)
    slurm.wait(*(res["slurm_job_id"] for res in first))
    finish(study, close_failed_jobs=True)
    second = submit(study, rows, command)
    assert [(line, status) for line, status, _ in told(second)] == [(1, "notneeded"), (2, "ok")]
    slurm.wait(second[1]["slurm_job_id"])


def test_a_row_that_is_committed_on_a_branch_of_its_own_is_known(study, slurm):
    first = submit(study, [{"name": "a", "dose": "1"}])
    slurm.wait(first[0]["slurm_job_id"])
    finish(study, branches=True)
    (second,) = submit(study, [{"name": "a", "dose": "1"}])
    assert (second["status"], second["slurm_job_id"]) == ("notneeded", first[0]["slurm_job_id"])


def test_rows_that_are_equal_are_different_jobs_where_outputs_are_not_checked(study, slurm):
    rows = [{"name": "a"}, {"name": "a"}]
    first = submit(study, rows, HELD, check_outputs=False)
    assert [res["status"] for res in first] == ["ok", "ok"]
    second = submit(study, [*rows, rows[0]], HELD, check_outputs=False)
    assert [status for _, status, _ in told(second)] == ["notneeded", "notneeded", "ok"]
    slurm.run("scancel", *map(str, noted_jobs(study)))


def test_a_table_comes_from_standard_input_as_well(study, slurm):
    done = subprocess.run(
        [DATALAD, "slurm-schedule", "--table", "-", "-o", "{name}", *HELD],
        cwd=study.path, input="name\n1\n2\n", text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert "line 3 of standard input: submitted" in done.stdout
    slurm.run("scancel", *map(str, noted_jobs(study)))


def test_a_dry_run_shows_each_row_and_changes_nothing(study, slurm):
    path = table(study, "a,1", "b c,2")
    results = submit(study, path, dry_run="basic", message="{name}")
    assert [(res["line"], res["dry_run_info"]["cmd_expanded"]) for res in results] == [
        (2, "sbatch job.sh a 1"),
        (3, "sbatch job.sh 'b c' 2"),
    ]
    assert results[1]["dry_run_info"]["outputs"] == ["out/b c"]
    shown = study.cli(
        "slurm-schedule", "--dry-run", "command", "--table", path, "-o", "{name}", *JOB
    ).stdout
    assert shown.splitlines()[:2] == ["sbatch job.sh a 1", "sbatch job.sh 'b c' 2"]
    assert noted_jobs(study) == claims(study) == []


def test_a_dry_run_refuses_rows_that_collide(study, slurm):
    rows = [{"name": "a"}, {"name": "b"}, {"name": "a/c"}]
    (refused,) = submit(study, rows, HELD, dry_run="basic")
    assert (
        "line 3 of the table: output 'out/a/c' conflicts with 'out/a' of line 1"
        in (refused["message"])
    )
    assert len(submit(study, rows, HELD, dry_run="basic", check_outputs=False)) == 3


def test_a_dry_run_tells_which_rows_are_in(study, slurm):
    (first,) = submit(study, [{"name": "a"}], HELD)
    results = submit(study, [{"name": "a"}, {"name": "b"}], HELD, dry_run="basic")
    assert [("dry_run_info" in res, *told([res])[0][:2]) for res in results] == [
        (False, 1, "notneeded"), (True, 2, "ok"),
    ]  # fmt: skip
    slurm.run("scancel", str(first["slurm_job_id"]))


def test_job_id_takes_no_table(study):
    done = study.cli("slurm-schedule", "--job-id", "1", "--table", table(study, "a,1"), code=None)
    assert done.returncode != 0
    assert "--table" in done.stderr + done.stdout


def test_outputs_that_exist_are_unlocked_and_locked_again_when_nothing_is_submitted(
    study, slurm, stand_in
):
    for name in ("a", "b"):
        (study.path / f"o_{name}").write_text("old")
    study.cli("save", "-m", "outputs", "o_a", "o_b")
    stand_in("sbatch", '[[ "$*" = *b ]] && exit 1; exec "$real" "$@"')
    rows = [{"name": "a"}, {"name": "b"}]
    submit(study, rows, ["sbatch", "--hold", "job.sh", "{name}"], ["o_{name}"])
    assert not (study.path / "o_a").is_symlink()
    assert (study.path / "o_b").is_symlink()
    slurm.run("scancel", *map(str, noted_jobs(study)))


def test_jobs_run_in_an_alternative_directory(study, slurm, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    results = submit(study, table(study, "a,1", "b,2"), alt_dir=str(elsewhere))
    slurm.wait(*(res["slurm_job_id"] for res in results))
    assert {res["status"] for res in finish(study)} == {"ok"}
    assert (study.path / "out/b/dose").read_text() == "2"
    assert [path for path in elsewhere.rglob("*") if not path.is_dir()] == []


def test_outputs_may_lie_in_subdatasets(study, slurm):
    for name in ("s1", "s2"):
        create(study.path / name, dataset=study.path, result_renderer="disabled")
    command = ["sbatch", "--wrap", "echo {name} > {name}/out"]
    results = submit(study, [{"name": "s1"}, {"name": "s2"}], command, ["{name}/out"])
    slurm.wait(*(res["slurm_job_id"] for res in results))
    assert {res["status"] for res in finish(study)} == {"ok"}
    assert (study.path / "s2/out").read_text() == "s2\n"
    assert study.status() == ""


def test_arrays_and_commands_through_a_script_of_ones_own_are_rows_too(study, slurm):
    (study.path / "submit").write_text('#!/bin/sh\nsbatch --hold --wrap "true $1" > /dev/null\n')
    (study.path / "submit").chmod(0o755)
    rows = [{"name": "a"}, {"name": "b"}]
    results = submit(study, rows, ["./submit", "{name}"], ["o_{name}"])
    arrays = ["sbatch", "--hold", "--array=1-2", "--wrap", "true"]
    results += submit(study, rows, arrays, ["{name}"])
    own_comment = ["sbatch", "--hold", "--comment=mine", "--wrap", "true"]
    results += submit(study, rows, own_comment, ["c_{name}"])
    jobs = [res["slurm_job_id"] for res in results]
    assert len(set(jobs)) == 6
    listed = study.cli("-f", "json", "slurm-finish", "-l").stdout
    assert [json.loads(line)["slurm_job_id"] for line in listed.splitlines()] == jobs
    slurm.run("scancel", *map(str, jobs))


def test_no_program_but_sbatch_is_started_for_a_row(study, slurm, tmp_path):
    (study.path / "in").write_text("in")
    study.cli("save", "-m", "input")
    crasher = Crasher(tmp_path / "crash", tmp_path)

    def calls(*names):
        rows = [{"name": name} for name in names]
        command = ["sbatch", "--hold", "job.sh", "{name}"]
        ended = crasher.run(lambda: submit(study, rows, command, inputs=["in"]))
        assert ended.code == 0, ended.output
        sbatch = [call for call in ended.calls if call.startswith("sbatch ")]
        assert len(sbatch) == len(names)
        # commits are those of the database, and the stand-in for sbatch tells of itself
        return [call for call in ended.calls if call not in ("commit", "sbatch", *sbatch)]

    few, many = calls(*"ab"), calls(*"cdefghij")
    assert len(noted_jobs(study)) == 10
    assert len(many) == len(few), many
    slurm.run("scancel", *map(str, noted_jobs(study)))


def test_an_interrupt_keeps_what_is_submitted_and_frees_the_rest(study, slurm, stand_in, tmp_path):
    go = tmp_path / "go"
    stand_in(
        "sbatch",
        f'"$real" "$@"; case "$*" in *b) touch {go}; sleep 2;; esac',
    )
    path = table(study, "a,1", "b,2", "c,3")
    command = ["slurm-schedule", "--table", str(path), "-o", "out/{name}", "sbatch", "--hold"]
    process = subprocess.Popen(
        ["env", "--default-signal=INT", DATALAD, *command, "job.sh", "{name}"],
        cwd=study.path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    wait_until(go.exists)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "of 3 rows, 2 are submitted (lines 2-3 of" in err
    assert claims(study) == ["out/a", "out/b"]
    assert len(noted_jobs(study)) == 2
    results = submit(study, path, ["sbatch", "--hold", "job.sh", "{name}"])
    assert [res["status"] for res in results] == ["notneeded", "notneeded", "ok"]
    slurm.run("scancel", *map(str, noted_jobs(study)))


def test_what_cannot_be_undone_for_one_row_is_undone_for_the_others(
    study, slurm, monkeypatch, caplog
):
    (study.path / "d").mkdir()
    for name in ("d/a", "b"):
        (study.path / name).write_text("old")
    study.cli("save", "-m", "outputs", "d/a", "b")
    study.git("annex", "drop", "--force", "-q", "d/a", "b")

    def interrupted(*_):
        assert not (study.path / "b").is_symlink()
        (study.path / "d").rmdir()
        (study.path / "d").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(table_submit.Submitter, "_submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        submit(study, [{"name": "d/a"}, {"name": "b"}], HELD, ["{name}"])
    assert (study.path / "b").is_symlink()
    (said,) = [r.getMessage() for r in caplog.records if "unlocked or removed" in r.getMessage()]
    assert said.startswith("outputs 'd/a' in")
    assert claims(study) == []


def test_a_busy_controller_is_waited_for_and_no_job_submitted_twice(
    study, slurm, stand_in, tmp_path, monkeypatch
):
    monkeypatch.setattr(table_submit, "_PAUSES", (0.1, 0.1))
    calls = tmp_path / "calls"
    lost = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    full = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"
    stand_in(
        "sbatch",
        f'echo >> {calls}; case "$(wc -l < {calls})" in '
        f"1|2) echo '{full}' >&2; exit 1;; "
        f'4) "$real" "$@" > /dev/null; echo \'{lost}\' >&2; exit 1;; '
        f"5) echo '{lost}' >&2; exit 1;; "
        'esac; exec "$real" "$@"',
    )
    results = submit(study, [{"name": name} for name in "abc"], HELD)
    jobs = [res["slurm_job_id"] for res in results]
    assert [res["status"] for res in results] == ["ok"] * 3
    assert noted_jobs(study) == jobs
    assert len(calls.read_text()) == 6
    queued = slurm.run("squeue", "-h", "-o", "%A %Z").splitlines()
    assert sorted(int(q.split()[0]) for q in queued if q.endswith(f" {study.path}")) == jobs
    slurm.run("scancel", *map(str, jobs))


@pytest.fixture(scope="module")
def limited_testbed(tmp_path_factory):
    """A Slurm that lets a user have two jobs at a time."""
    directory = tmp_path_factory.mktemp("tb")
    run = [sys.executable, str(TESTBED)]
    conf = ["--conf", "AccountingStorageEnforce=limits"]
    subprocess.run([*run, "up", "--dir", str(directory), *conf], check=True, capture_output=True)
    env = os.environ | {"SLURM_CONF": str(directory / "etc/slurm.conf")}
    who = ["user", "name=root", "set", "maxsubmit=2"]
    subprocess.run(["sacctmgr", "-i", "modify", *who], check=True, env=env, capture_output=True)
    yield directory
    subprocess.run([*run, "down", "--dir", str(directory), "--wipe"], check=True)


@pytest.fixture
def limited(limited_testbed, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", str(limited_testbed / "etc/slurm.conf"))
    monkeypatch.setattr(table_submit, "_PAUSES", (0.5,))
    return Slurm(limited_testbed)


@pytest.mark.skipif(os.getuid() != 0, reason="the limit is root's")
def test_a_limit_on_submitted_jobs_is_waited_out(study, limited, caplog):
    command = ["sbatch", "--wrap", "sleep 1; mkdir -p out; touch out/{name}"]
    results = submit(study, [{"name": name} for name in "abcd"], command)
    assert [res["status"] for res in results] == ["ok"] * 4
    assert any("AssocMaxSubmitJobLimit" in record.message for record in caplog.records)
    limited.wait(*(res["slurm_job_id"] for res in results))
    assert {res["status"] for res in finish(study)} == {"ok"}


@pytest.mark.skipif(os.getuid() != 0, reason="the limit is root's")
def test_a_limit_that_no_waiting_will_lift_is_an_error(study, limited):
    command = ["sbatch", "--array=1-3", "--wrap", "true"]
    (refused,) = submit(study, [{"name": "a"}, {"name": "b"}], command)
    assert "AssocMaxSubmitJobLimit, though no job of yours waits or runs" in refused["message"]
    assert claims(study) == []
