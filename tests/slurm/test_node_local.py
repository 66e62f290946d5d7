"""`--node-local`: a job's work runs in a directory of its node."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from datalad.api import slurm_reschedule, slurm_schedule

from datalad_slurm.dataset import node_archive, zstd
from datalad_slurm.workflow import deliver, node_results
from datalad_slurm.workflow import finish as finishing
from datalad_slurm.workflow import stores as workflow_stores
from tests.conftest import Box, wait_until
from tests.slurm.sweeps import assert_sound, finish_killed_at, jobs_in_history
from tests.slurm.test_reschedule import record_of, reschedule
from tests.slurm.test_schedule import ODD_NAMES, finish, schedule

_QUIET = {"result_renderer": "disabled", "on_failure": "ignore"}
NO_UTF8 = os.fsdecode(b"\xff\xfe")


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Return what the jobs of a test take for the temporary directory of their node."""
    path = tmp_path / "node"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


def stage(box, cmd, outputs=("out",), **kwargs):
    return schedule(box, cmd, outputs, node_local=True, **kwargs)


def stores(box):
    directory = box.path / ".git/datalad-slurm/stores"
    return sorted(p.name for p in directory.glob("*/*")) if directory.exists() else []


def assert_clean(box, node):
    assert list(node.iterdir()) == []
    assert stores(box) == []
    assert box.status() == ""
    assert not (box.path / ".git/datalad-slurm/incoming").exists()
    assert box.git("annex", "fsck", "--quiet") == ""


def messages(results):
    return [res.get("message", "") for res in results if res["status"] not in ("ok", "notneeded")]


def log(box, job):
    return (box.path / f"slurm-{job}.out").read_text()


def test_the_work_runs_on_its_node_with_its_inputs_as_files_and_leaves_nothing(box, slurm, node):
    (box.path / "sub/data").mkdir(parents=True)
    (box.path / "sub/data/annexed").write_bytes(os.urandom(100_000))
    (box.path / "sub/tool").write_text("#!/bin/sh\necho run\n")
    (box.path / "sub/tool").chmod(0o755)
    (box.path / "sub/data/link").symlink_to("annexed")
    box.cli("save", "-m", "data")
    (box.path / "sub/undeclared").write_text("x\n")
    box.script(
        "pwd; ./tool; find . -type l; ls; mkdir -p out/d/e\n"
        "cp data/annexed out/d/copy; ln -s d/copy out/link; ln -s $PWD/data/annexed out/absolute\n"
        "echo x > stray; touch a.csv b.txt; chmod +x b.txt",
        "sub/job.sh",
    )
    results = box.cli(
        "slurm-schedule", "--node-local", "-i", "data", "-i", "tool", "-o", "out", "-o", "*.csv",
        "-o", "?.txt", "sbatch", "job.sh", cwd=box.path / "sub",
    ).stdout  # fmt: skip
    assert "3 input files" in results
    (job,) = box.tracked()
    slurm.wait(job)
    before = (box.path / "sub/data/annexed").read_bytes()
    assert list(node.iterdir()) == []
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, results
    lines = (box.path / f"sub/slurm-{job}.out").read_text().splitlines()
    assert re.fullmatch(rf"{node}/datalad-slurm-{job}\.\w+/tree/sub", lines[0])
    assert lines[1:] == ["run", "data", "tool"]
    assert (box.path / "sub/out/d/copy").read_bytes() == before
    assert os.readlink(box.path / "sub/out/link") == "d/copy"
    assert os.readlink(box.path / "sub/out/absolute") == "../data/annexed"
    assert os.access(box.path / "sub/b.txt", os.X_OK)
    assert box.files_in_last_commit() == {
        *(f"sub/{name}" for name in ("a.csv", "b.txt", "out/absolute", "out/d/copy", "out/link")),
        f"sub/slurm-{job}.out",
        f"sub/slurm-job-{job}.env.json",
    }
    record = record_of(box)
    assert record["pwd"] == "sub"
    assert record["slurm"]["node_local"] == {"directory": ""}
    assert record["slurm"]["grace"] == 120
    assert str(node) not in str(record)
    (box.path / "sub/undeclared").unlink()
    assert_clean(box, node)


def test_odd_names_go_and_come_back(box, slurm, node):
    (box.path / "in").mkdir()
    names = [*ODD_NAMES, NO_UTF8, "]", "@", "*", "a[b]c", "x" * 200]
    for name in names:
        (box.path / "in" / name).write_text(f"{name}\n", errors="surrogateescape")
    box.git("-c", "annex.largefiles=nothing", "add", "in")
    box.git("commit", "-qm", "odd names")
    box.script("cp -r in out; cd in; for x in *; do echo 1 >> \"$x\"; done; rm ']' '@'")
    job = stage(box, "sbatch job.sh", ["out", "in/*"], inputs=["in"])
    slurm.wait(job)
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, messages(results)
    assert sorted(os.listdir(box.path / "out")) == sorted(names)
    for name in set(names) - {"]", "@"}:
        assert (box.path / "in" / name).read_bytes() == os.fsencode(f"{name}\n1\n")
    assert not (box.path / "in/]").exists()
    assert not (box.path / "in/@").exists()
    assert not (box.path / "pwned").exists()
    assert_clean(box, node)


def test_inputs_that_are_outputs_are_changed_kept_or_removed(box, slurm, node):
    for name in ("d/kept", "d/changed", "d/gone", "d/moved", "other"):
        (box.path / name).parent.mkdir(exist_ok=True)
        (box.path / name).write_text(f"{name}\n")
    box.cli("save", "-m", "x")
    box.script("echo 1 >> d/changed; rm d/gone other; mv d/moved d/there")
    job = stage(box, "sbatch job.sh", ["d"], inputs=["d", "other"])
    slurm.wait(job)
    (brought,) = (box.path / ".git/datalad-slurm/stores").glob("*/*.0.tar")
    listed = subprocess.run(["tar", "-tf", brought], check=True, capture_output=True, text=True)
    assert listed.stdout.split() == ["removed", "tree/d/changed", "tree/d/there"]
    finish(box)
    assert sorted(os.listdir(box.path / "d")) == ["changed", "kept", "there"]
    assert (box.path / "d/changed").read_text() == "d/changed\n1\n"
    assert (box.path / "other").exists()
    changed = {path for path in box.files_in_last_commit() if not path.startswith("slurm-")}
    assert changed == {"d/changed", "d/gone", "d/moved", "d/there"}
    assert_clean(box, node)


def test_each_task_of_an_array_has_a_directory_and_an_archive(box, slurm, node):
    (box.path / "in").write_text("1\n")
    box.cli("save", "-m", "x")
    box.script(
        "cat in > sub-$SLURM_ARRAY_TASK_ID\nls > common/$SLURM_ARRAY_TASK_ID\n"
        "[ $SLURM_ARRAY_TASK_ID != 3 ] || { while [ ! -e $1 ]; do sleep 0.1; done; }"
    )
    go = box.path / ".git/go"
    script = f"sbatch --array=1-3 job.sh {go}"
    (box.path / "common").mkdir()
    (box.path / "common/keep").write_text("")
    box.cli("save", "-m", "x")
    job = stage(box, script, ["sub-%a", "common"], inputs=["in", "common/keep"])
    wait_until(lambda: {f"{job}_{n}.0.brought" for n in (1, 2)} <= {*stores(box)})
    results = finish(box, partial=True)
    assert {"sub-1", "sub-2"} <= box.files_in_last_commit()
    assert "common/1" not in box.files_in_last_commit()
    go.touch()
    slurm.wait(job)
    results = finish(box)
    assert {res["status"] for res in results} <= {"ok", "notneeded"}, messages(results)
    assert {"sub-3", "common/1", "common/2", "common/3"} <= box.files_in_last_commit()
    assert (box.path / "common/2").read_text().split() == ["common", "in", "sub-2"]
    assert_clean(box, node)


def test_a_dataset_that_is_reached_through_a_link(box, slurm, node, tmp_path):
    (tmp_path / "link").symlink_to(box.path)
    linked = Box(tmp_path / "link")
    box.script("echo x > out; pwd", "sub/job.sh")
    linked.cli(
        "slurm-schedule", "--node-local", "-o", "out", "sbatch", "-D", str(linked.path / "sub"),
        "sub/job.sh", cwd=linked.path,
    )  # fmt: skip
    (job,) = box.tracked()
    slurm.wait(job)
    # the job runs where -D says, and so writes elsewhere than what was declared
    results = finish(linked)
    assert any("nothing" in said for said in messages(results))
    assert (box.path / f"sub/slurm-{job}.out").read_text().strip().endswith("/tree/sub")


CUT = """
trap 'echo TERM >> got; sleep 0.5; echo done >> got; exit 0' TERM
echo begun > got
while :; do sleep 0.1; done
"""
DEAF = "trap '' TERM; echo begun > got\nwhile :; do date +%s.%N >> got; sleep 0.1; done"


def test_a_job_that_is_cancelled_brings_back_what_it_has(box, slurm, node):
    box.script(CUT, "polite.sh")
    box.script(DEAF, "deaf.sh")
    box.script(CUT.replace("got", "again"), "requeued.sh")
    box.script("echo begun > plain; sleep 600", "plain.sh")
    polite = stage(box, "sbatch polite.sh", ["got"])
    wait_until(lambda: f"{polite}.0.begun" in stores(box))
    jobs = {
        "polite": polite,
        "requeued": stage(box, "sbatch --requeue requeued.sh", ["again"]),
        "plain": stage(box, "sbatch plain.sh", ["plain"]),
    }
    slurm.wait(*jobs.values(), until="RUNNING".__eq__)
    for name in ("got", "again", "plain"):
        wait_until(lambda name=name: [*node.glob(f"*/tree/{name}")])
    slurm.run("scontrol", "requeue", str(jobs["requeued"]))
    slurm.run("scancel", str(polite), str(jobs["plain"]))
    slurm.wait(polite, jobs["plain"])
    results = {res.get("slurm_job_id"): res for res in finish(box)}
    for job in (polite, jobs["plain"]):
        assert (
            "its outputs are here, as they were when it was told to end" in results[job]["message"]
        )
    finish(box, polite, accept_failed_jobs=True)
    assert (box.path / "got").read_text() == "begun\nTERM\ndone\n"
    finish(box, jobs["plain"], close_failed_jobs=True)
    assert not (box.path / "plain").exists()
    wait_until(lambda: f"{jobs['requeued']}.0.brought" in stores(box))
    slurm.run("scancel", str(jobs["requeued"]))
    finish(box, accept_failed_jobs=True)
    assert (box.path / "again").read_text() == "begun\nTERM\ndone\n"
    (box.path / f"slurm-{jobs['plain']}.out").unlink()
    assert_clean(box, node)


def test_what_is_left_at_the_limit_and_a_retry_and_the_record(box, slurm, node):
    """Three jobs at a limit of one minute, which Slurm may let last for two."""
    box.script(CUT, "polite.sh")
    box.script(DEAF, "deaf.sh")
    (box.path / "flags").mkdir()
    (box.path / "flags/none").write_text("")
    box.script("[ -e flags/go ] || sleep 600; date > c", "again.sh")
    jobs = [
        # the warning and the clock; a site that drops the warning; a program that ignores all
        stage(box, "sbatch --time=1 polite.sh", ["got"], grace=30),
        stage(box, "sbatch --time=1 --signal=USR1@60 again.sh", ["c"], inputs=["flags"]),
    ]
    box.script(DEAF.replace("got", "deaf"), "deaf.sh")
    jobs.append(stage(box, "sbatch --time=1 deaf.sh", ["deaf"]))
    slurm.wait(*jobs)
    results = {res["slurm_job_id"]: res for res in finish(box) if res["action"] == "finish"}
    assert {results[job]["slurm_state"] for job in jobs} == {"TIMEOUT"}
    for job in jobs:
        assert "are here, as they were before the time limit, partial" in results[job]["message"]
    # Slurm's own word came later: the work was told to end before the limit
    assert "DUE TO TIME LIMIT" in log(box, jobs[0])
    finish(box, jobs[0], jobs[2], accept_failed_jobs=True)
    assert (box.path / "got").read_text() == "begun\nTERM\ndone\n"
    assert (box.path / "deaf").read_text().startswith("begun\n")
    record = record_of(box)
    assert record["slurm"]["state"] == "TIMEOUT"

    (box.path / "flags/go").write_text("")
    box.cli("save", "-m", "go")
    (retried,) = slurm_reschedule(dataset=box.path, retry=jobs[1], retry_with="--time=5", **_QUIET)[
        -1:
    ]
    slurm.wait(retried["slurm_job_id"])
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert [entry["state"] for entry in record_of(box)["slurm"]["attempts"]] == [
        "TIMEOUT",
        "COMPLETED",
    ]
    assert_clean(box, node)


def test_a_failed_job_has_its_outputs_here(box, slurm, node):
    box.script("echo partial > out; exit 7")
    job = stage(box, "sbatch job.sh")
    slurm.wait(job)
    (result,) = finish(box)
    assert "exit code 7" in result["message"]
    assert "its outputs are here, as it left them" in result["message"]
    assert not (box.path / "out").exists()
    assert {res["status"] for res in finish(box, accept_failed_jobs=True)} == {"ok"}
    assert (box.path / "out").read_text() == "partial\n"
    assert_clean(box, node)


def test_a_job_without_a_place_on_its_node_fails_and_says_so(box, slurm, node, tmp_path):
    (box.path / "in").write_text("1\n")
    box.cli("save", "-m", "x")
    box.script("cat in > $1")
    (tmp_path / "a file").write_text("")
    places = {
        "/nowhere": "no directory can be made in /nowhere on",
        str(tmp_path / "a file"): "no directory can be made in",
        "/scratch/$NO_SUCH_NAME": "names $NO_SUCH_NAME, which is not set",
    }
    jobs = {
        stage(box, f"sbatch job.sh o{n}", [f"o{n}"], inputs=["in"], node_local_dir=place): said
        for n, (place, said) in enumerate(places.items())
    }
    own = tmp_path / "own place"
    own.mkdir()
    filled = stage(
        box, f"PLACE='{own}' sbatch job.sh x", ["x"], inputs=["in"], node_local_dir="${PLACE}"
    )
    slurm.wait(*jobs, filled)
    for job, said in jobs.items():
        assert said in log(box, job)
        assert "the job's work was not begun" in log(box, job)
    results = {res.get("slurm_job_id"): res for res in finish(box)}
    assert (box.path / "x").read_text() == "1\n"
    assert list(own.iterdir()) == []
    for job in jobs:
        assert "its outputs are not here" in results[job]["message"]
        assert results[job]["slurm_state"] == "FAILED"


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("sbatch -N2 job.sh", {}, "--nodes=2"),
        ("sbatch two.sh", {}, "--nodes=2-3"),
        ("sbatch --signal=B:TERM@9 job.sh", {}, "--grace"),
        ("x=-N2; sbatch $x job.sh", {}, "--nodes=2"),
        ("sbatch -D / job.sh", {}, "outside the dataset"),
        ("cd / && sbatch --wrap true", {}, "outside the dataset"),
        ("sbatch -n1 job.sh : -n1 job.sh", {}, ""),
        ("sbatch -n1 : -n1 job.sh", {}, "for certain"),
        ("sbatch bad.sh", {}, "does not begin with #!"),
        ("sbatch job.sh", {"node_local_dir": "relative"}, "absolute"),
        ("sbatch job.sh", {"alt_dir": "/tmp"}, "do not go together"),
        ("sbatch job.sh", {"inputs": ["nothing"]}, "nothing"),
        ("sbatch job.sh", {"inputs": [".git/config"]}, "git directory"),
    ],
)
def test_what_cannot_run_so_is_refused_and_nothing_is_submitted(box, slurm, command, options, said):
    box.script("true")
    box.script("#SBATCH --nodes=2-3\ntrue", "two.sh")
    (box.path / "bad.sh").write_text("true\n")
    results = slurm_schedule(
        command, dataset=box.path, outputs=["out"], node_local=True, **options, **_QUIET
    )
    if said:
        assert results[-1]["status"] in ("error", "impossible")
        assert said in results[-1]["message"]
        assert box.tracked() == []
        assert slurm.run("squeue", "-h", "-o", "%Z").count(str(box.path)) == 0
        finish(box)
        assert stores(box) == []
    else:
        slurm.run("scancel", *map(str, box.tracked()))


def test_options_that_are_of_no_use_without_it_are_refused(box, slurm):
    for option in (
        ["--checkpoint-signal", "USR2"], ["--node-local-dir", "/x"], ["--grace=-1"],
        ["--checkpoint", "x", "--checkpoint-signal", "TERM"],
    ):  # fmt: skip
        done = box.cli(
            "slurm-schedule", *option, "-o", "out", "sbatch", "--wrap", "true", code=None
        )
        assert done.returncode != 0
        said = ("only", "number of seconds", "must be one of USR1")
        assert any(text in done.stderr for text in said), option
    done = box.cli("slurm-schedule", "--job-id=7", "--grace=5", "-o", "out", code=None)
    assert "--job-id tracks a job as it was submitted" in done.stderr
    done = box.cli("slurm-schedule", "--node-local", "sbatch", "--wrap", "true", code=1)
    assert "at least one output must be declared" in done.stdout


def test_the_work_is_what_it_is_without_it(box, slurm, node):
    body = (
        "#SBATCH -w n1 -o %x.%j.log\n#SBATCH --time=7\nprintf '<%s>' \"$@\"; echo\n"
        "env | grep -vE '^(PWD|OLDPWD|_|SLURM_(JOB_?ID|TASK_PID|.*START_TIME|.*END_TIME|SUBMIT_HOST"
        "|ARRAY_JOB_ID|JOB_GID|JOB_COMMENT)|LS_COLORS|SHLVL|HOME)=' | sort\n"
        "srun -l /bin/sh -c 'echo $PWD $SLURM_PROCID' | sort | sed s,/.*/tree,ROOT,; trap\n"
        f"srun /bin/pwd | sed 's,.*/tree,ROOT,; s,{box.path},ROOT,'; cat; echo err >&2; exit 3"
    )
    box.script(body, "job.sh")
    commands = [
        "sbatch -N1 -n2 job.sh 'two  words' ''",
        "sbatch --export=NONE job.sh",
        "sbatch --export=A=b,TMPDIR job.sh",
        "sbatch < job.sh",
        "sbatch --array=1-2 job.sh x",
    ]
    pairs = [
        (schedule(box, f"sh -c \"{command}\"" if "'" not in command else command, [f"p{n}"]),
         stage(box, f"sh -c \"{command}\"" if "'" not in command else command, [f"n{n}"]))
        for n, command in enumerate(commands)
    ]  # fmt: skip
    slurm.wait(*(job for pair in pairs for job in pair))
    for command, pair in zip(commands, pairs, strict=True):
        said = []
        for job in pair:
            logs = sorted(box.path.glob(f"*.{job}.log")) or sorted(
                box.path.glob(f"*.{job + 1}.log")
            )
            text = "\n".join(path.read_text() for path in logs)
            text = text.replace(str(box.path), "ROOT")
            text = re.sub(r"SLURM_JOB_NAME=.*\n", "", text) if "<" in command else text
            text = re.sub(r"srun: .*[Ss]tep creat.*\n", "", text)
            # tasks of a step print in any order
            said.append(sorted(re.sub(r"\S*slurm_script", "SCRIPT", text).splitlines()))
        assert said[0], command
        assert said[0] == said[1], command
    states = slurm.run("sacct", "-nXP", "-o", "State,ExitCode", "-j", ",".join(map(str, pairs[0])))
    assert states.split() == ["FAILED|3:0"] * 2


def test_a_recorded_job_runs_so_again(box, slurm, node, tmp_path):
    (box.path / "in").write_text("1\n")
    box.cli("save", "-m", "x")
    box.script("pwd; cat in in > out")
    own = tmp_path / "own"
    own.mkdir()
    job = stage(box, "sbatch job.sh", inputs=["in"], node_local_dir=str(own), grace=7)
    slurm.wait(job)
    finish(box)
    assert record_of(box)["slurm"]["node_local"] == {"directory": str(own)}
    assert record_of(box)["slurm"]["grace"] == 7
    again = reschedule(box)
    slurm.wait(again)
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, messages(results)
    assert log(box, again).startswith(f"{own}/datalad-slurm-{again}.")
    assert_clean(box, node)


def test_rows_of_a_table_share_one_archive(box, slurm, node):
    (box.path / "in").write_bytes(os.urandom(10_000))
    box.cli("save", "-m", "x")
    box.script('cp in "$1"; sleep 1')
    rows = [{"name": name} for name in ("a", "b c", "$(d)")]
    results = slurm_schedule(
        ["sbatch", "job.sh", "{name}"], dataset=box.path, inputs=["in"], outputs=["{name}"],
        table=rows, node_local=True, **_QUIET,
    )  # fmt: skip
    archives = [*(box.path / ".git/datalad-slurm/stores").glob("*/*.inputs.tar")]
    assert len({path.stat().st_ino for path in archives}) == 1 < len(archives) == 3
    slurm.wait(*(res["slurm_job_id"] for res in results if "slurm_job_id" in res))
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, messages(results)
    assert all((box.path / row["name"]).stat().st_size == 10_000 for row in rows)
    assert_clean(box, node)


def test_a_dry_run_packs_nothing_and_refuses_what_would_be(box, slurm):
    box.script("true")
    args = {"dataset": box.path, "outputs": ["out"], "node_local": True, "dry_run": "basic"}
    (shown,) = slurm_schedule("sbatch job.sh", **args, **_QUIET)
    assert shown["status"] == "ok"
    assert stores(box) == []
    (refused,) = slurm_schedule("sbatch -N2 job.sh", **args, **_QUIET)
    assert "--nodes=2" in refused["message"]


def test_what_was_damaged_on_the_way_is_not_taken(box, slurm, node):
    box.script("mkdir out; for n in 1 2 3; do head -c 20000 /dev/urandom > out/$n; done")
    job = stage(box, "sbatch job.sh")
    slurm.wait(job)
    (archive,) = (box.path / ".git/datalad-slurm/stores").glob("*/*.0.tar")
    whole = archive.read_bytes()
    for damaged in (whole[:-30_000], b"", whole[:5000] + b"x" + whole[5001:]):
        archive.write_bytes(damaged)
        (result,) = finish(box)
        assert result["status"] == "error"
        assert "is still open" in result["message"]
        assert not (box.path / "out").exists()
    archive.unlink()
    (result,) = finish(box)
    assert "cannot be read" in result["message"]
    archive.write_bytes(whole)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert_clean(box, node)


def path_without(program, place):
    """Return a PATH on which all is as it is but for one program."""
    directories = []
    for number, directory in enumerate(os.environ["PATH"].split(":")):
        if not Path(directory, program).exists():
            directories.append(directory)
            continue
        links = place / str(number)
        links.mkdir()
        for found in Path(directory).iterdir():
            if found.name != program:
                (links / found.name).symlink_to(found)
        directories.append(str(links))
    return ":".join(directories)


def test_what_came_back_compressed_waits_for_a_machine_with_zstd(
    box, slurm, node, tmp_path, monkeypatch
):
    if not zstd.is_here():
        pytest.skip("zstd is not installed")
    box.script("mkdir $1; yes | head -c 1000000 > $1/a")
    job = stage(box, "sbatch job.sh out")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", path_without("zstd", tmp_path))
        plain = stage(box, "sbatch job.sh plain", ["plain"])
        slurm.wait(job, plain)
        results = {res.get("slurm_job_id"): res for res in finish(box)}
        assert results[plain]["status"] == "ok"
        assert "install the package zstd" in results[job]["message"]
        assert "is still open" in results[job]["message"]
        assert not (box.path / "out").exists()
    (archive,) = (box.path / ".git/datalad-slurm/stores").glob("*/*.0.tar")
    assert archive.stat().st_size < 100_000
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert (box.path / "out/a").read_bytes() == (box.path / "plain/a").read_bytes()
    assert_clean(box, node)


def test_a_job_past_our_sbatch_runs_in_the_dataset_and_that_is_said(box, slurm, node):
    real = subprocess.run(["which", "sbatch"], check=True, capture_output=True, text=True)
    box.script("pwd; echo x > out")
    done = box.cli("slurm-schedule", "--node-local", "-o", "out", real.stdout.strip(), "job.sh")
    assert "without --node-local" in done.stderr
    (job,) = box.tracked()
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert log(box, job) == f"{box.path}\n"
    assert "node_local" not in record_of(box)["slurm"]
    assert_clean(box, node)


def test_what_cannot_be_committed_is_named(box, slurm, node):
    box.script("git init -q out/repo; echo x > out/repo/x; mkfifo out/pipe; echo x > out/file")
    (box.path / "out").mkdir()
    job = stage(box, "sbatch job.sh")
    slurm.wait(job)
    results = finish(box)
    said = {res["path"] for res in results if res["status"] == "impossible"}
    assert said == {str(box.path / "out/repo")}
    assert "out/pipe is no file" in log(box, job)
    assert (box.path / "out/file").exists()
    assert "out/repo/x" not in box.git("ls-files")
    assert list(node.iterdir()) == []


def test_an_input_that_an_open_job_makes_on_its_node_is_refused(box, slurm, node):
    box.script("sleep 1; echo x > out")
    first = stage(box, "sbatch job.sh")
    (refused,) = slurm_schedule(
        "sbatch job.sh", dataset=box.path, inputs=["out"], outputs=["b"], **_QUIET
    )
    assert "runs with --node-local" in refused["message"]
    slurm.wait(first)
    finish(box)
    assert_clean(box, node)


def test_a_job_that_an_earlier_version_has_submitted_is_finished(box, slurm, node, monkeypatch):
    box.script("echo x > out")
    with monkeypatch.context() as earlier:
        earlier.setattr(workflow_stores, "STORES", ["node-local"])
        job = stage(box, "sbatch job.sh")
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert (box.path / "out").read_text() == "x\n"
    assert [*(box.path / ".git/datalad-slurm/node-local").iterdir()] == []


def test_a_killed_runner_is_told_from_one_that_was_killed_while_it_packed(box, slurm, node):
    box.script("echo x > out; kill -9 $PPID; sleep 600")
    job = stage(box, "sbatch job.sh")
    slurm.wait(job)
    (result,) = finish(box)
    assert "its outputs are not here: it was killed, or lost with its node" in result["message"]
    (store,) = (box.path / ".git/datalad-slurm/stores").iterdir()
    (store / f"{job}.0.tar.part").write_bytes(b"half")
    (result,) = finish(box)
    assert "it was killed while it packed them" in result["message"]
    results = finish(box, accept_failed_jobs=True)
    assert [res["path"] for res in results if res["status"] == "impossible"] == [
        str(box.path / "out")
    ]
    assert stores(box) == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (node_archive, "place_of_part"),
        (node_results, "mark_taken"),
        (deliver, "publish_parcels"),
        (finishing, "_tidy_stores"),
    ],
)
def test_a_finish_that_is_killed_is_mended_by_the_next(box, slurm, node, monkeypatch, module, name):
    (box.path / "out").mkdir()
    (box.path / "out/old").write_text("old\n")
    box.cli("save", "-m", "x")
    box.script("for n in 1 2 3; do echo $n > out/$n; done; rm out/old")
    job = stage(box, "sbatch job.sh", inputs=["out"])
    slurm.wait(job)
    finish_killed_at(box, monkeypatch, module, name)
    results = finish(box)
    assert {res["status"] for res in results} <= {"ok", "notneeded"}, messages(results)
    assert sorted(os.listdir(box.path / "out")) == ["1", "2", "3"]
    assert jobs_in_history(box) == [job]
    assert_sound(box, name)
    assert_clean(box, node)


def test_outputs_in_a_subdataset_are_committed_there(box, slurm, node):
    box.cli("create", "-d", ".", "child")
    (box.path / "child/in").write_text("1\n")
    box.cli("save", "-d", ".", "-r", "-m", "x")
    box.script("cat child/in child/in > child/out; ls -a child")
    job = stage(box, "sbatch job.sh", ["child/out"], inputs=["child/in"])
    slurm.wait(job)
    assert {res["status"] for res in finish(box)} == {"ok"}
    assert Box(box.path / "child").files_in_last_commit() == {"out"}
    assert log(box, job).split() == [".", "..", "in", "out"]
    assert_clean(box, node)


def test_a_job_that_was_lost_with_the_database_is_tracked_again_with_what_it_brings(
    box, slurm, node
):
    box.script("sleep 2; echo x > out")
    job = stage(box, "sbatch job.sh")
    (box.path / ".git/datalad-slurm/tracking.sqlite").unlink()
    finish(box)
    adopted = slurm_schedule(job_id=job, outputs=["out"], dataset=box.path, **_QUIET)
    assert adopted[-1]["status"] == "ok", adopted
    slurm.wait(job)
    results = finish(box)
    assert {res["status"] for res in results} == {"ok"}, messages(results)
    assert (box.path / "out").read_text() == "x\n"
    assert_clean(box, node)
