"""What a job ran with is what its record says; what has changed since is said."""

from __future__ import annotations

import hashlib
import os
import subprocess

import pytest

from datalad_slurm.jobs.record import RunRecord, parse_message
from tests.slurm.test_schedule import finish, schedule

HELD = ["sbatch", "--hold"]


def run_on(box, slurm, *jobs):
    """Let held jobs run, commit them, and return the results of their commits by job id."""
    for job in jobs:
        slurm.run("scontrol", "release", str(job))
    slurm.wait(*jobs)
    results = finish(box, *jobs)
    assert {res["status"] for res in results} == {"ok"}, results
    return {res["slurm_job_id"]: res for res in results if res["action"] == "save"}


def record(box, revision="HEAD") -> RunRecord:
    found = parse_message(box.git("show", "-s", "--format=%B", revision))
    assert isinstance(found, RunRecord)
    return found


def annex(box, name, content="one\n"):
    (box.path / name).parent.mkdir(parents=True, exist_ok=True)
    if (box.path / name).is_symlink():
        (box.path / name).unlink()
    (box.path / name).write_text(content)
    box.git("annex", "add", "--quiet", name)
    box.git("commit", "-qm", f"{name}: {content.strip()}", "--", name)
    return box.git("annex", "lookupkey", name)


def sums(path):
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {
        "sha256": digest,
        "blob": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
        "archived": f".datalad/slurm/archive/{digest[:2]}/{digest}.sh",
    }


def test_unchanged_inputs_and_script_are_recorded_and_nothing_is_said(box, slurm):
    key = annex(box, "a.dat")
    box.script("cat a.dat b.txt > out")
    (box.path / "b.txt").write_text("b\n")
    job = schedule(box, [*HELD, "job.sh"], inputs=["a.dat", "b.txt"])
    os.utime(box.path / "b.txt")
    os.utime(box.path / "job.sh")
    result = run_on(box, slurm, job)[job]
    assert not result.get("message")
    assert not {"changed_inputs", "changed_scripts"} & set(result)
    noted = record(box).slurm
    blob = box.git("hash-object", "--no-filters", "b.txt")
    assert noted["inputs"] == [{"path": "a.dat", "key": key}, {"path": "b.txt", "blob": blob}]
    assert noted["script"] == {"path": "job.sh", **sums(box.path / "job.sh")}


def test_a_job_without_inputs_has_none_in_its_record(box, slurm):
    job = schedule(box, [*HELD, "--wrap", "echo x > out"])
    run_on(box, slurm, job)
    assert "inputs" not in record(box).slurm
    script = record(box).slurm["script"]
    assert (script["wrap"], script["text"].splitlines()[-1]) == (True, "echo x > out")


def test_an_input_that_is_edited_while_the_job_waits(box, slurm):
    (box.path / "a.txt").write_text("one\n")
    one = box.git("hash-object", "--no-filters", "a.txt")
    job = schedule(box, [*HELD, "--wrap", "cat a.txt > out"], inputs=["a.txt"])
    (box.path / "a.txt").write_text("two\n")
    two = box.git("hash-object", "--no-filters", "a.txt")
    result = run_on(box, slurm, job)[job]
    change = {"path": "a.txt", "blob": one, "now": {"blob": two}, "change": "modified"}
    assert result["changed_inputs"] == [change]
    assert "changed since the submission: 'a.txt' (not committed)" in result["message"]
    assert record(box).slurm["inputs"] == [change]


def test_an_input_of_which_a_new_version_is_committed(box, slurm):
    one = annex(box, "a.dat", "one\n")
    job = schedule(box, [*HELD, "--wrap", "cat a.dat > out"], inputs=["a.dat"])
    two = annex(box, "a.dat", "two\n")
    result = run_on(box, slurm, job)[job]
    change = {"path": "a.dat", "key": one, "now": {"key": two}, "change": "committed"}
    assert result["changed_inputs"] == [change]
    assert "'a.dat' (a new version was committed)" in result["message"]


def test_an_input_that_is_only_held_in_another_way_has_not_changed(box, slurm):
    annex(box, "locked.dat")
    (box.path / "new.dat").write_text("untracked\n")
    names = ["locked.dat", "new.dat"]
    job = schedule(box, [*HELD, "--wrap", "cat *.dat > out"], inputs=names)
    box.git("annex", "unlock", "--quiet", "locked.dat")
    annex(box, "new.dat", "untracked\n")
    result = run_on(box, slurm, job)[job]
    assert "changed_inputs" not in result
    assert [set(entry) for entry in record(box).slurm["inputs"]] == [
        {"path", "key"},
        {"path", "blob"},
    ]


def test_an_input_that_is_gone_and_files_that_are_new(box, slurm):
    annex(box, "d/gone")
    annex(box, "d/stays")
    job = schedule(box, [*HELD, "--wrap", "ls d > out"], inputs=["d"])
    (box.path / "d/gone").unlink()
    (box.path / "d/new").write_text("new\n")
    result = run_on(box, slurm, job)[job]
    changes = {entry["path"]: entry["change"] for entry in result["changed_inputs"]}
    assert changes == {"d/gone": "removed", "d/new": "new"}
    assert "2 inputs have changed" in result["message"]
    assert len(record(box).slurm["inputs"]) == 3


def test_what_the_job_itself_writes_is_no_change(box, slurm):
    annex(box, "state")
    annex(box, "out/old")
    (box.path / "job.log").write_text("of an earlier job\n")
    job = schedule(
        box,
        [*HELD, "-o", "job.log", "--wrap", "echo two > state; echo new > out/new; echo logged"],
        ["state", "out"],
        inputs=["state", "out", "."],
    )
    result = run_on(box, slurm, job)[job]
    assert "changed_inputs" not in result
    assert {"path", "key"} in [set(entry) for entry in record(box).slurm["inputs"]]


@pytest.mark.parametrize("edited", [False, True])
def test_a_directory_of_many_files_is_one_digest(box, slurm, edited):
    (box.path / "d").mkdir()
    for number in range(300):
        (box.path / f"d/{number}").write_text(str(number))
    box.script("ls d > out; echo log")
    job = schedule(box, [*HELD, "-o", "d/log", "job.sh"], inputs=["d"])
    box.git("annex", "add", "--quiet", "d")
    box.git("commit", "-qm", "they are annexed meanwhile")
    if edited:
        (box.path / "d/7").unlink()
        (box.path / "d/7").write_text("x")
    result = run_on(box, slurm, job)[job]
    (entry,) = record(box).slurm["inputs"]
    assert (entry["path"], entry["files"], len(entry["digest"])) == ("d", 300, 64)
    assert ("changed_inputs" in result) is edited
    assert len(box.git("show", "-s", "--format=%B")) < 4000


def test_a_pattern_of_many_files_is_one_digest_too(box, slurm):
    for number in range(150):
        (box.path / f"{number}.dat").write_text(str(number))
    job = schedule(box, [*HELD, "--wrap", "cat *.dat > out"], inputs=["*.dat"])
    (box.path / "new.dat").write_text("new")
    (change,) = run_on(box, slurm, job)[job]["changed_inputs"]
    assert (change["path"], change["files"], change["now"]["files"]) == ("*.dat", 150, 151)


def test_of_ten_thousand_files_what_is_committed_counts(box, slurm, monkeypatch):
    monkeypatch.setattr("datalad_slurm.dataset.inputs.MOST_WALKED", 5)
    monkeypatch.setattr("datalad_slurm.workflow.inputs.MOST_WALKED", 5)
    for number in range(6):
        annex(box, f"d/{number}")
    tree = box.git("rev-parse", "HEAD:d")
    jobs = [schedule(box, [*HELD, "--wrap", f"echo > {n}"], [n], inputs=["d"]) for n in "ab"]
    result = run_on(box, slurm, jobs[0])[jobs[0]]
    assert "changed_inputs" not in result
    annex(box, "d/0", "two\n")
    (change,) = run_on(box, slurm, jobs[1])[jobs[1]]["changed_inputs"]
    assert change == {
        "path": "d",
        "more_than": 5,
        "tree": tree,
        "now": {"more_than": 5, "tree": box.git("rev-parse", "HEAD~:d")},
        "change": "committed",
    }


def test_a_script_that_is_edited_after_the_submission(box, slurm):
    box.script("echo one > out")
    before = sums(box.path / "job.sh")
    job = schedule(box, [*HELD, "job.sh"])
    box.script("echo two > out", save=False)
    result = run_on(box, slurm, job)[job]
    assert (box.path / "out").read_text() == "one\n"
    after = sums(box.path / "job.sh")
    del after["archived"]
    change = {"path": "job.sh", **before, "now": after, "change": "modified"}
    assert record(box).slurm["script"] == change
    assert result["changed_scripts"] == [change]
    assert "the job ran what was submitted: 'job.sh' (not committed)" in result["message"]


def test_the_script_of_a_wrapper_is_that_which_sbatch_was_given(box, slurm):
    box.script("echo x > ../../out", "scripts/real.sh")
    box.script(
        'cd scripts/deep && sbatch --hold -J "a b" -D . ../real.sh "$@" > /dev/null', "run.sh"
    )
    (box.path / "scripts/deep").mkdir()
    job = schedule(box, ["bash", "run.sh", "an argument"])
    run_on(box, slurm, job)
    assert record(box).slurm["script"] == {
        "path": "scripts/real.sh",
        **sums(box.path / "scripts/real.sh"),
    }


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("job.sh", "job.sh"),
        ("-D d job.sh", "d/job.sh"),
        ("-D d ./job.sh", "job.sh"),
        ("-D d ./d/job.sh", "d/job.sh"),
        ("-D d -D e job.sh", "job.sh"),
        ("-D d run/job.sh", "run/job.sh"),
    ],
)
def test_with_chdir_the_script_is_that_which_sbatch_reads(box, slurm, words, path):
    for each in ("job.sh", "d/job.sh", "run/job.sh"):
        box.script(f"echo {each} > {box.path}/out", each)
    (box.path / "e").mkdir()
    run_on(box, slurm, schedule(box, f"sbatch --hold {words}"))
    assert (box.path / "out").read_text() == f"{path}\n"
    assert record(box).slurm["script"]["path"] == path


def test_each_version_of_a_script_that_one_command_submits_is_recorded(box, slurm):
    command = (
        'for i in 1 2; do printf "#!/bin/sh\\necho $i > o$i\\n" > job.sh; '
        "sbatch --hold job.sh; done; rm job.sh"
    )
    job = schedule(box, command, ["o1", "o2"])
    (entry,) = [res for res in finish(box, list_open_jobs=True) if res["status"] == "ok"]
    assert job in entry["slurm_job_ids"]
    for each in entry["slurm_job_ids"]:
        slurm.run("scontrol", "release", str(each))
    slurm.wait(*entry["slurm_job_ids"])
    finish(box)
    scripts = record(box).slurm["script"]
    wanted = [f"#!/bin/sh\necho {i} > o{i}\n".encode() for i in (1, 2)]
    assert [entry["sha256"] for entry in scripts] == [hashlib.sha256(w).hexdigest() for w in wanted]
    assert {entry["path"] for entry in scripts} == {"job.sh"}


def test_a_script_elsewhere_is_named_by_its_full_path_and_may_go(box, slurm, tmp_path):
    script = tmp_path / "elsewhere.sh"
    script.write_text("#!/bin/sh\necho x > out\n")
    noted = {"path": str(script), **sums(script)}
    job = schedule(box, [*HELD, str(script)])
    script.unlink()
    assert "changed_scripts" not in run_on(box, slurm, job)[job]
    assert record(box).slurm["script"] == noted


def test_a_script_on_stdin_is_said_to_be_that(box, slurm):
    box.script("echo x > out")
    job = schedule(box, "cat job.sh | sbatch --hold")
    run_on(box, slurm, job)
    assert record(box).slurm["script"] == {"stdin": True, **sums(box.path / "job.sh")}


def test_a_script_along_path_is_found(box, slurm, monkeypatch):
    box.script("echo x > out", "bin/tool.sh")
    monkeypatch.setenv("PATH", str(box.path / "bin"), prepend=":")
    job = schedule(box, [*HELD, "tool.sh"])
    run_on(box, slurm, job)
    assert record(box).slurm["script"]["path"] == "bin/tool.sh"


def test_a_call_past_our_sbatch_is_judged_by_its_words(box, slurm):
    real = subprocess.check_output(["which", "sbatch"], text=True).strip()
    box.script("echo x > out")
    job = schedule(box, [real, "--hold", "job.sh"])
    run_on(box, slurm, job)
    assert record(box).slurm["script"] == {"path": "job.sh", **sums(box.path / "job.sh")}


def test_jobs_that_share_an_input_are_told_of_its_change_each(box, slurm, monkeypatch):
    from datalad_slurm.workflow import changes

    (box.path / "shared").write_text("one\n")
    jobs = [
        schedule(box, [*HELD, "--wrap", f"cat shared > {n}"], [n], inputs=["shared"]) for n in "ab"
    ]
    (box.path / "shared").write_text("two\n")
    looked = []
    identify = changes.identify
    monkeypatch.setattr(changes, "identify", lambda r, p: looked.append(list(p)) or identify(r, p))
    results = run_on(box, slurm, *jobs)
    assert looked == [["shared"]]
    assert {job: len(results[job]["changed_inputs"]) for job in jobs} == dict.fromkeys(jobs, 1)


def test_an_adopted_job_claims_nothing(box, slurm, monkeypatch):
    (box.path / "a").write_text("one\n")
    monkeypatch.chdir(box.path)
    job = slurm.sbatch("--hold", "--wrap", "cat a > out")
    from datalad.api import slurm_schedule

    slurm_schedule(
        dataset=box.path, job_id=job, outputs=["out"], inputs=["a"], result_renderer="disabled"
    )
    (box.path / "a").write_text("two\n")
    assert not run_on(box, slurm, job)[job].get("message")
    assert "inputs" not in record(box).slurm


def test_a_change_is_no_failure_on_the_command_line(box, slurm):
    (box.path / "a").write_text("one\n")
    job = schedule(box, [*HELD, "--wrap", "cat a > out"], inputs=["a"])
    (box.path / "a").write_text("two\n")
    slurm.run("scontrol", "release", str(job))
    slurm.wait(job)
    done = box.cli("slurm-finish")
    assert "this input has changed since the submission: 'a' (not committed)" in done.stdout


def test_a_history_that_was_rewritten_does_not_stop_a_finish(box, slurm):
    annex(box, "a.dat", "one\n")
    job = schedule(box, [*HELD, "--wrap", "cat a.dat > out"], inputs=["a.dat"])
    annex(box, "a.dat", "two\n")
    box.git("commit", "-q", "--amend", "-m", "rewritten")
    tree = box.git("commit-tree", "-m", "all new", "HEAD^{tree}")
    box.git("reset", "-q", "--soft", tree)
    box.git("reflog", "expire", "--expire=now", "--all")
    box.git("gc", "-q", "--prune=now")
    (change,) = run_on(box, slurm, job)[job]["changed_inputs"]
    assert change["change"] == "changed"


def test_an_input_with_a_null_character_is_refused(box, slurm):
    with pytest.raises(Exception, match="null character"):
        schedule(box, [*HELD, "--wrap", "true"], inputs=["a\0b"], assume_ready="inputs")
    assert box.tracked() == []


def test_an_input_that_is_not_there_yet(box, slurm):
    job = schedule(
        box, [*HELD, "--wrap", "cat later > out"], inputs=["later", "no*"], assume_ready="inputs"
    )
    (box.path / "later").write_text("x\n")
    (change,) = run_on(box, slurm, job)[job]["changed_inputs"]
    assert (change["path"], change["missing"], change["change"]) == ("later", True, "new")


def test_an_input_in_a_subdataset(box, slurm):
    box.cli("create", "-d", ".", "sub")
    sub = type(box)(box.path / "sub")
    one = annex(sub, "a.dat", "one\n")
    job = schedule(box, [*HELD, "--wrap", "cat sub/a.dat > out"], inputs=["sub/a.dat", "sub"])
    two = annex(sub, "a.dat", "two\n")
    changes = run_on(box, slurm, job)[job]["changed_inputs"]
    assert changes[0] == {
        "path": "sub/a.dat", "key": one, "now": {"key": two}, "change": "modified",
    }  # fmt: skip
    assert [(change["path"], set(change["now"])) for change in changes[1:]] == [("sub", {"commit"})]
