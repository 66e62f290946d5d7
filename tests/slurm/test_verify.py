"""`slurm-reschedule --verify`: whether a job gives again what a commit holds."""

from __future__ import annotations

import json

import pytest
from datalad.api import slurm_reschedule

from tests.conftest import Box
from tests.slurm.test_reschedule import record_of
from tests.slurm.test_schedule import finish, schedule


def first_run(box, slurm, outputs=("out",), command="sbatch job.sh"):
    """Run a job, and return its commit."""
    slurm.wait(schedule(box, command, outputs))
    assert {res["status"] for res in finish(box)} == {"ok"}
    return box.git("rev-parse", "HEAD")


def verify(box, slurm, revision=None, **kwargs):
    """Run jobs again and finish them; return what is said of their outputs."""
    results = slurm_reschedule(
        revision, dataset=box.path, verify=True, result_renderer="disabled", **kwargs
    )
    slurm.wait(*(res["slurm_job_id"] for res in results if res["action"] == "slurm-reschedule"))
    found = [res for res in finish(box) if res["action"] in ("verify", "finish")]
    assert box.tracked() == []
    return found


def told(results):
    """Return status and path of each, and the words on the last one."""
    paths = [(res["status"], res["path"].rpartition("/")[2]) for res in results[:-1]]
    return paths, results[-1]["status"], results[-1]["message"]


def test_a_job_that_does_the_same_again_is_identical(box, slurm):
    box.script("mkdir -p out; echo x > out/a; echo y > out/b; date +%N")
    commit = first_run(box, slurm)
    results = verify(box, slurm)
    assert told(results) == ([], "ok", f"2 outputs identical to commit {commit[:10]}")
    verdict = {"commit": commit, "identical": 2, "different": [], "missing": [], "new": []}
    assert results[-1]["verified"] == record_of(box)["slurm"]["verified"] == verdict
    # the same holds for a repetition, whose commit changes no output
    again = box.git("rev-parse", "HEAD")
    assert told(verify(box, slurm)) == ([], "ok", f"2 outputs identical to commit {again[:10]}")
    assert box.status() == ""


def test_one_that_writes_the_date_fails_is_committed_and_its_record_says_so(box, slurm):
    box.script("mkdir -p out; echo x > out/a; date +%s.%N > out/b")
    commit = first_run(box, slurm)
    before = box.git("annex", "lookupkey", "out/b")
    box.cli("slurm-reschedule", "--verify")
    (job,) = box.tracked()
    slurm.wait(job)
    done = box.cli("slurm-finish", code=1)
    now = box.git("annex", "lookupkey", "out/b")
    assert now != before
    said = f"not as in commit {commit[:10]}: it was key {before} and is key {now}"
    assert f"verify(error): out/b (file) [{said}]" in done.stdout
    assert f"1 output identical to commit {commit[:10]}, 1 different" in done.stdout
    assert box.subjects() == [f"[DATALAD SLURM RUN] Slurm job {job}: Completed"]
    assert record_of(box)["slurm"]["verified"] == {
        "commit": commit,
        "identical": 1,
        "different": [{"path": "out/b", "before": {"key": before}, "now": {"key": now}}],
        "missing": [],
        "new": [],
    }
    assert box.tracked() == []
    assert box.status() == ""


def test_without_the_option_nothing_is_compared(box, slurm):
    box.script("mkdir -p out; date +%N > out/a")
    first_run(box, slurm)
    slurm_reschedule(dataset=box.path, result_renderer="disabled")
    slurm.wait(*box.tracked())
    assert {res["action"] for res in finish(box)} == {"add", "save"}
    assert "verified" not in record_of(box)["slurm"]


def test_missing_and_new_files_are_named(box, slurm):
    box.script("mkdir -p out; rm -f out/old; test -e mark && echo 2 > out/new || echo 1 > out/old")
    first_run(box, slurm)
    key = box.git("annex", "lookupkey", "out/old")
    (box.path / "mark").touch()
    results = verify(box, slurm)
    assert told(results)[0] == [("error", "old"), ("error", "new")]
    assert told(results)[1] == "error"
    assert "0 outputs" in results[-1]["message"]
    assert "1 missing, 1 new" in results[-1]["message"]
    verdict = record_of(box)["slurm"]["verified"]
    assert verdict["missing"] == [{"path": "out/old", "key": key}]
    assert verdict["new"] == [{"path": "out/new", "key": box.git("annex", "lookupkey", "out/new")}]


@pytest.mark.parametrize("largefiles", ["anything", "nothing"])
def test_what_the_job_leaves_as_it_was_is_not_taken_for_made_again(box, slurm, largefiles):
    box.git("config", "annex.largefiles", largefiles)
    box.script("test -e mark || { mkdir -p out; echo 1 > out/a; echo 2 > out/b; }; touch out/b")
    first_run(box, slurm)
    (box.path / "mark").touch()
    assert told(verify(box, slurm))[0] == [("error", "a")]
    assert (box.path / "out/a").read_text() == "1\n"


def test_an_interrupted_finish_does_not_make_it_look_written(box, slurm):
    box.script("test -e mark || { mkdir -p out; echo 1 > out/a; echo 2 > out/b; }; touch out/b")
    first_run(box, slurm)
    (box.path / "mark").touch()
    slurm_reschedule(dataset=box.path, verify=True, result_renderer="disabled")
    slurm.wait(*box.tracked())
    # all is staged when the branch turns out to be held by somebody else
    lock = box.path / ".git/index.lock"
    lock.touch()
    assert "error" in {res["status"] for res in finish(box)}
    assert (box.path / "out/a").is_symlink()
    lock.unlink()
    results = [res for res in finish(box) if res["action"] == "verify"]
    assert told(results)[0] == [("error", "a")]


def test_a_chain_in_a_record_that_is_no_list_of_commits_does_not_change_the_verdict(box, slurm):
    box.script("test -e mark || { mkdir -p out; echo 1 > out/a; echo 2 > out/b; }; touch out/b")
    first_run(box, slurm)
    message = box.git("log", "-1", "--format=%B")
    hostile = json.dumps(["HEAD^{tree}\nHEAD", "--all", "no-such-commit", "f" * 40])
    box.git("commit", "-q", "--amend", "-m", message.replace('"chain": []', f'"chain": {hostile}'))
    (box.path / "mark").touch()
    results = verify(box, slurm)
    assert told(results)[0] == [("error", "a")]
    assert results[-1]["verified"]["identical"] == 1


def test_what_others_keep_in_a_declared_directory_does_not_count(box, slurm):
    (box.path / "out").mkdir()
    (box.path / "out/earlier").write_text("1")
    box.cli("save", "-m", "earlier")
    box.script("echo 1 > out/a")
    commit = first_run(box, slurm)
    (box.path / "out/later").write_text("1")
    box.cli("save", "-m", "later")
    results = verify(box, slurm, commit)
    assert told(results) == ([], "ok", f"1 output identical to commit {commit[:10]}")


def test_locked_and_unlocked_files_and_the_executable_bit_are_no_difference(box, slurm):
    box.script("mkdir -p out; echo x > out/a.dat; echo y > out/b; test ! -e mark || chmod +x out/b")
    box.git("config", "annex.addunlocked", "true")
    commit = first_run(box, slurm)
    assert not (box.path / "out/a.dat").is_symlink()
    (box.path / "mark").touch()
    box.git("annex", "lock", "--quiet", "out/a.dat")
    box.git("config", "annex.addunlocked", "false")
    box.git("commit", "-qm", "locked", "out/a.dat")
    results = verify(box, slurm, commit)
    assert (box.path / "out/a.dat").is_symlink()
    assert told(results) == ([], "ok", f"2 outputs identical to commit {commit[:10]}")


def test_files_in_git_and_links_are_compared_too(box, slurm):
    box.git("config", "annex.largefiles", "nothing")
    box.script(
        "mkdir -p out; echo x > out/a; date +%N > out/b; ln -sf a out/c; ln -sf d$RANDOM out/d"
    )
    first_run(box, slurm)
    results = verify(box, slurm)
    assert told(results)[0] == [("error", "b"), ("error", "d")]
    b, d = record_of(box)["slurm"]["verified"]["different"]
    assert b["now"] == {"blob": box.git("rev-parse", "HEAD:out/b")}
    assert d["before"] == {"link": box.git("cat-file", "blob", "HEAD~1:out/d")}


def test_a_log_below_an_output_is_not_compared(box, slurm):
    (box.path / "out").mkdir()
    box.script("#SBATCH -o out/log-%j\necho x > out/a; echo $SLURM_JOB_ID")
    commit = first_run(box, slurm)
    results = verify(box, slurm)
    assert told(results) == ([], "ok", f"1 output identical to commit {commit[:10]}")


def test_outputs_of_a_glob_are_compared(box, slurm):
    box.script("mkdir -p out; echo 1 > out/a.csv; date +%N > out/b.txt; date +%N > out/$RANDOM.csv")
    (box.path / "out").mkdir()
    (box.path / "out/c.csv").write_text("of somebody else")
    box.cli("save", "-m", "data")
    first_run(box, slurm, ["out/*.csv"])
    results = verify(box, slurm)
    assert results[-1]["message"].endswith(", 1 missing, 1 new")
    assert results[-1]["verified"]["identical"] == 1


def test_outputs_in_subdatasets_are_compared_with_what_these_held_then(box, slurm):
    for name in ("sub", "sub/deep"):
        box.cli("create", "-d", "^", str(box.path / name), cwd=(box.path / name).parent)
    box.script("mkdir -p sub/o; echo 1 > top; echo 2 > sub/o/a; date +%N > sub/deep/b")
    commit = first_run(box, slurm, ["top", "sub/o", "sub/deep/b"])
    deep = Box(box.path / "sub/deep")
    first = deep.git("annex", "lookupkey", "b")
    first_run(box, slurm, ["top", "sub/o", "sub/deep/b"])
    results = verify(box, slurm, commit)
    assert told(results)[0] == [("error", "b")]
    verdict = record_of(box)["slurm"]["verified"]
    now = deep.git("annex", "lookupkey", "b")
    assert verdict["identical"] == 2
    assert verdict["different"] == [
        {"path": "sub/deep/b", "before": {"key": first}, "now": {"key": now}}
    ]
    assert record_of(deep)["slurm"]["verified"] == verdict
    assert box.status() == ""


def test_a_range_is_verified_from_a_fresh_clone(box, slurm, tmp_path):
    box.script('mkdir -p "$1"; echo "$1" > "$1/a"; test "$1" != o2 || date +%N > "$1/b"')
    commits = [first_run(box, slurm, [o], f"sbatch job.sh {o}") for o in ("o1", "o2", "o3")]
    box.cli("clone", str(box.path), str(tmp_path / "clone"), cwd=tmp_path)
    clone = Box(tmp_path / "clone")
    results = verify(clone, slurm, since="")
    verdicts = [res for res in results if "verified" in res]
    assert [res["verified"]["commit"] for res in verdicts] == commits
    assert [res["status"] for res in verdicts] == ["ok", "error", "ok"]
    assert [res["path"] for res in results if res not in verdicts] == [str(clone.path / "o2/b")]


def test_what_the_clone_lacks_and_the_job_does_not_write_is_missing(box, slurm, tmp_path):
    box.script("test -e mark || echo 1 > a; echo 2 > b")
    first_run(box, slurm, ["a", "b"])
    box.cli("clone", str(box.path), str(tmp_path / "clone"), cwd=tmp_path)
    clone = Box(tmp_path / "clone")
    (clone.path / "mark").touch()
    results = [res for res in verify(clone, slurm) if res["status"] != "impossible"]
    assert told(results)[0] == [("error", "a")]


def test_a_commit_that_is_gone_at_finish_is_said_and_the_job_committed(box, slurm, tmp_path):
    box.script("mkdir -p out; echo 1 > out/a")
    first_run(box, slurm)
    slurm_reschedule(dataset=box.path, verify=True, result_renderer="disabled")
    commit = box.git("rev-parse", "HEAD")
    slurm.wait(*box.tracked())
    box.git("reset", "-q", "--soft", "HEAD~1")
    box.git("commit", "-qm", "other")
    box.git("reflog", "expire", "--expire=now", "--all")
    box.git("gc", "-q", "--prune=now")
    (result,) = [res for res in finish(box) if res["action"] == "verify"]
    assert result["status"] == "impossible"
    assert result["message"] == (
        f"the outputs cannot be compared with commit {commit[:10]}: the commit is not here, as in "
        "a shallow clone"
    )
    assert "failure" in record_of(box)["slurm"]["verified"]
    assert box.tracked() == []


def test_a_record_in_a_file_of_its_own_holds_the_verdict(box, slurm):
    box.git("config", "datalad.run.record-sidecar", "true")
    box.script("mkdir -p out; echo 1 > out/a")
    commit = first_run(box, slurm)
    assert told(verify(box, slurm))[1] == "ok"
    assert any(path.startswith(".datalad/runinfo/") for path in box.files_in_last_commit())
    done = box.cli("-f", "json", "slurm-reschedule", "--report")
    assert json.loads(done.stdout)["run_info"]["slurm"]["verified"]["commit"] == commit


@pytest.mark.parametrize("option", ["--report", "--script=-"])
def test_it_is_refused_where_nothing_is_submitted(box, slurm, option):
    box.script("echo x > out")
    first_run(box, slurm)
    done = box.cli("slurm-reschedule", "--verify", option, code=1)
    assert "--verify is of no use with --report or --script" in done.stdout


def test_it_takes_one_more_process_for_any_number_of_jobs(box, slurm, stand_in, tmp_path):
    # a new environment, as the stand-in makes one, would be one call more for its first job
    box.git("config", "datalad.slurm.archive-environment", "none")
    box.script('mkdir -p "$1"; echo "$1" > "$1/a"')
    for output in ("o1", "o2", "o3"):
        first_run(box, slurm, [output], f"sbatch job.sh {output}")
    commits = box.git("log", "-3", "--format=%H").split()
    log = tmp_path / "calls"
    is_ours = 'test "$(cat /proc/$PPID/comm)" != git-annex'
    stand_in("git", f'{is_ours} && echo "$*" >> {log}; exec "$real" "$@"')

    def started(revisions, *, verify):
        for revision in revisions:
            slurm_reschedule(revision, dataset=box.path, verify=verify, result_renderer="disabled")
        slurm.wait(*box.tracked())
        log.unlink(missing_ok=True)
        assert {res["status"] for res in finish(box)} == {"ok"}
        return log.read_text().splitlines()

    for some in (commits[:1], commits):
        plain, verified = started(some, verify=False), started(some, verify=True)
        assert len(verified) == len(plain) + 1, (plain, verified)
