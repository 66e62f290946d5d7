"""`--pack`: directories of many small files are committed as archives."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile

import pytest
from datalad.api import slurm_reschedule, slurm_schedule

from datalad_slurm.dataset import publish
from tests.conftest import Box
from tests.slurm.sweeps import Killed, assert_sound, killed
from tests.slurm.test_reschedule import record_of, reschedule
from tests.slurm.test_schedule import finish, schedule

_QUIET = {"result_renderer": "disabled", "on_failure": "ignore"}
#: makes a directory with 300 files, and with everything else that it may hold
MANY = """
mkdir -p sub/deep/er sub/empty
for n in {1..300}; do echo $((n % 100)) > sub/f$n.csv; done
: > sub/nothing
echo run > sub/deep/run; chmod +x sub/deep/run
ln -s deep/run sub/link
echo and > 'sub/a&b'; echo line > $'sub/new\\nline'; echo bytes > $'sub/\\xff'; echo ü > 'sub/ü ö'
"""
ODD = {"a&b": "and\n", "new\nline": "line\n", os.fsdecode(b"\xff"): "bytes\n"}


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Return what the jobs of a test take for the temporary directory of their node."""
    path = tmp_path / "node"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


def pack(box, cmd, paths=("sub",), outputs=(), **kwargs):
    return schedule(box, cmd, outputs, pack=list(paths), **kwargs)


def problems(results):
    return [res["message"] for res in results if res["status"] not in ("ok", "notneeded")]


def objects(box):
    """Return the sizes of what is stored in the annex."""
    return sorted(p.stat().st_size for p in box.path.glob(".git/annex/objects/*/*/*/*"))


def manifest(box, name="sub"):
    return json.loads((box.path / f"{name}.manifest.json").read_text())


def inodes(box):
    return sum(len(names) + len(files) for _, names, files in os.walk(box.path))


def test_files_are_stored_in_the_archive_only_and_can_be_got_one_by_one(box, slurm, tmp_path):
    box.script(MANY)
    job = int(
        box.cli("slurm-schedule", "--pack", "sub", "sbatch", "job.sh").stdout.split()[-1][:-1]
    )
    slurm.wait(job)
    files = {path: path.read_bytes() for path in (box.path / "sub").rglob("f*.csv")}
    results = finish(box)
    assert problems(results) == []
    assert box.status() == ""
    assert_sound(box, "")
    sub = box.path / "sub"
    assert (sub / "f1.csv").is_symlink()
    assert not (sub / "f1.csv").exists()
    assert os.readlink(sub / "link") == "deep/run"
    for name, content in ODD.items():  # git-annex cannot be told where these are in the archive
        assert (sub / name).read_text() == content
    # the archive, the manifest, three odd files, and log, facts and the like
    assert len(objects(box)) < 10
    assert record_of(box)["slurm"]["pack"] == {"paths": ["sub"]}
    # each is a range of bytes of the archive
    whole = (box.path / "sub.tar").read_bytes()
    members = {member["name"]: member for member in manifest(box)["members"]}
    for path, content in files.items():
        member = members[str(path.relative_to(box.path))]
        there = whole[member["offset"] : member["offset"] + member["size"]]
        assert there == content
        assert hashlib.sha256(there).hexdigest() == member["sha256"]
    assert members["sub/deep/run"]["executable"]
    assert members["sub/link"] == {"name": "sub/link", "target": "deep/run"}
    assert members["sub/empty"] == {"name": "sub/empty", "directory": True}
    assert members[f"sub/{os.fsdecode(bytes([255]))}"]["size"] == 6
    # with git-annex
    assert "archivist" in box.git("annex", "whereis", "sub/f7.csv")
    box.git("annex", "get", "sub/f7.csv", "sub/nothing", "sub/ü ö")
    assert (sub / "f7.csv").read_text() == "7\n"
    assert (sub / "ü ö").read_text() == "ü\n"
    box.git("annex", "drop", "sub/f7.csv")
    assert not (sub / "f7.csv").exists()
    # in another clone, from the archive that it gets for that
    clone = Box(tmp_path / "clone")
    box.cli("clone", str(box.path), str(clone.path), cwd=tmp_path)
    clone.cli("get", "sub/f9.csv")
    assert (clone.path / "sub/f9.csv").read_text() == "9\n"
    clone.cli("get", ".")
    for path, content in files.items():
        assert (clone.path / path.relative_to(box.path)).read_bytes() == content
    assert_annexed_well(clone)


def assert_annexed_well(box):
    for line in box.git("annex", "fsck", "--json").splitlines():
        assert json.loads(line)["success"], line


def test_with_pack_only_the_files_are_in_the_archive_and_nowhere_else(box, slurm):
    (box.path / "d").mkdir()
    box.script(MANY, "d/job.sh")
    before = inodes(box)
    box.cli(
        "slurm-schedule", "--pack", "sub", "--pack-only", "sbatch", "job.sh", cwd=box.path / "d"
    )
    (job,) = box.tracked()
    slurm.wait(job)
    assert inodes(box) > before + 300
    assert problems(finish(box)) == []
    assert inodes(box) < before + 120
    assert box.status() == ""
    assert box.files_in_last_commit() == {
        "d/sub.tar", "d/sub.manifest.json", f"d/slurm-{job}.out", f"d/slurm-job-{job}.env.json",
    }  # fmt: skip
    assert not (box.path / "d/sub").exists()
    assert record_of(box)["slurm"]["pack"] == {"paths": ["d/sub"], "only": True}
    with tarfile.open(box.path / "d/sub.tar") as archive:
        assert archive.extractfile("sub/new\nline").read() == b"line\n"
        assert len(archive.getnames()) == 309
    assert "archivist" not in box.git("remote")
    assert_sound(box, "")


def test_a_job_that_is_run_again_replaces_archive_and_files_in_one_commit(box, slurm):
    box.script("mkdir -p sub; for n in $(cat n); do echo $n > sub/$n; done")
    (box.path / "n").write_text("1 2 3\n")
    pack(box, "sbatch job.sh")
    slurm.wait(*box.tracked())
    assert problems(finish(box)) == []
    box.git("annex", "get", "sub/2")
    first = box.git("rev-parse", "HEAD:sub.tar")
    # with the same files all is the same, bit by bit
    again = slurm_reschedule(dataset=box.path, verify=True, **_QUIET)
    slurm.wait(again[-1]["slurm_job_id"])
    results = finish(box)
    assert [r["message"] for r in results if r["action"] == "verify"] == [
        f"5 outputs identical to commit {box.git('rev-parse', '--short=10', 'HEAD~1')}"
    ]
    assert box.git("rev-parse", "HEAD:sub.tar") == first
    # with others the directory is what the archive holds
    (box.path / "n").write_text("2 4\n")
    slurm.wait(reschedule(box))
    assert problems(finish(box)) == []
    changed = {path for path in box.files_in_last_commit() if not path.startswith("slurm-")}
    assert changed == {"sub.tar", "sub.manifest.json", "sub/1", "sub/3", "sub/4"}
    assert sorted(os.listdir(box.path / "sub")) == ["2", "4"]
    assert box.git("status", "--porcelain").split() == ["??", "n"]
    box.git("annex", "get", ".")
    assert (box.path / "sub/4").read_text() == "4\n"
    (box.path / "n").unlink()
    assert_sound(box, "")


def test_what_a_node_brings_back_goes_from_one_archive_into_the_other(box, slurm, node):
    (box.path / "sub").mkdir()
    for name in ("kept", "changed", "removed"):
        (box.path / "sub" / name).write_text(f"{name}\n")
    box.cli("save", "-m", "inputs")
    box.script(MANY + "echo more >> sub/changed; rm -f sub/removed; ln -sf $PWD/sub/kept sub/abs")
    job = pack(box, "sbatch job.sh", inputs=["sub"], node_local=True)
    slurm.wait(job)
    results = finish(box)
    assert problems(results) == []
    assert box.status() == ""
    assert_sound(box, "")
    assert len(objects(box)) < 20
    names = {member["name"] for member in manifest(box)["members"]}
    assert {"sub/f1.csv", "sub/kept", "sub/changed", "sub/abs"} <= names
    assert "sub/removed" not in names
    assert not os.path.lexists(box.path / "sub/removed")
    box.git("annex", "get", "sub")
    assert (box.path / "sub/changed").read_text() == "changed\nmore\n"
    assert (box.path / "sub/kept").read_text() == "kept\n"
    assert (box.path / "sub/f300.csv").read_text() == "0\n"
    assert os.readlink(box.path / "sub/abs") == "kept"
    assert manifest(box)["members"][-1]["size"] > 0
    assert list(node.iterdir()) == []
    # and once more: the links of the first run give way
    slurm.wait(reschedule(box))
    assert problems(finish(box)) == []
    assert box.status() == ""


def test_each_task_of_an_array_has_an_archive_of_its_own(box, slurm, node):
    box.script("n=$SLURM_ARRAY_TASK_ID; mkdir out-$n; echo $n > out-$n/f; [ $n != 2 ]")
    job = pack(box, "sbatch --array=1-3 job.sh", ["out-%a"], node_local=True)
    slurm.wait(job)
    finish(box, partial=True)
    assert {p for p in box.files_in_last_commit() if p.startswith("out")} == {
        f"out-{n}{end}" for n in "13" for end in (".tar", ".manifest.json", "/f")
    }
    assert not (box.path / "out-2").exists()
    assert problems(finish(box, accept_failed_jobs=True)) == []
    assert (box.path / "out-2.tar").is_file()
    assert box.tracked() == []
    box.git("annex", "get", ".")
    assert [(box.path / f"out-{n}/f").read_text() for n in "123"] == ["1\n", "2\n", "3\n"]
    assert record_of(box)["slurm"]["pack"] == {"paths": ["out-%a"]}
    assert_sound(box, "")


def test_each_row_of_a_table_has_an_archive_of_its_own(box, slurm, tmp_path):
    table = tmp_path / "rows.csv"
    table.write_text("name\na\nb\n")
    work = ("sbatch", "--wrap", "mkdir {name}; echo {name} > {name}/f")
    command = ("slurm-schedule", "--table", str(table), "--pack", "{name}", "--", *work)
    box.cli(*command)
    slurm.wait(*box.tracked())
    assert problems(finish(box)) == []
    assert "committed" in box.cli(*command).stdout
    assert {"a.tar", "a.manifest.json", "a/f"} <= box.files_in_last_commit("HEAD~1")
    box.git("annex", "get", "b/f")
    assert (box.path / "b/f").read_text() == "b\n"


@pytest.mark.parametrize("shape", ["branches", "octopus"])
def test_on_branches_the_files_are_taken_out_of_the_working_tree(box, slurm, shape):
    jobs = [
        pack(box, ["sbatch", "--wrap", f"mkdir {n}; echo {n} > {n}/f"], [n], pack_only=n == "b")
        for n in "ab"
    ]
    slurm.wait(*jobs)
    assert problems(finish(box, **{shape: True})) == []
    assert box.status() == ""
    if shape == "branches":
        assert not (box.path / "a").exists()
        assert not (box.path / "b").exists()
        box.git("merge", "-q", f"slurm-job-branch-{jobs[0]}")
    assert os.path.lexists(box.path / "a/f")
    box.git("annex", "get", "a/f")
    assert (box.path / "a/f").read_text() == "a\n"


def test_an_archive_in_a_subdataset_is_committed_there(box, slurm):
    box.cli("create", "-d", ".", "inner")
    job = pack(box, ["sbatch", "--wrap", "mkdir inner/d; echo 1 > inner/d/f"], ["inner/d"])
    slurm.wait(job)
    assert problems(finish(box)) == []
    inner = Box(box.path / "inner")
    assert inner.files_in_last_commit() == {"d.tar", "d.manifest.json", "d/f"}
    assert (box.status(), inner.status()) == ("", "")
    inner.git("annex", "get", "d/f")
    assert (inner.path / "d/f").read_text() == "1\n"


def test_a_finish_that_is_killed_between_two_repositories_packs_once(box, slurm, monkeypatch):
    box.cli("create", "-d", ".", "inner")
    inner = Box(box.path / "inner")
    work = "mkdir inner/d; echo 1 > inner/d/f; ln -s f inner/d/link"
    job = pack(box, ["sbatch", "--wrap", work], ["inner/d"])
    slurm.wait(job)
    move = publish._move

    def move_the_inner_one(step, reason):
        if step.repo.root == box.path:
            raise Killed
        return move(step, reason)

    with monkeypatch.context() as patch:
        patch.setattr(publish, "_move", move_the_inner_one)
        # as if by SIGKILL: nothing is cleaned up
        patch.setattr(publish, "_move_back", lambda *args: None)
        patch.setattr("datalad_slurm.dataset.index.IndexUpdate.install", killed)
        patch.setattr("datalad_slurm.dataset.index.IndexUpdate.__exit__", lambda *args: None)
        with pytest.raises(Killed):
            finish(box)
    assert (inner.path / "d/f").is_file()
    assert problems(finish(box)) == []
    assert len([title for title in inner.subjects(5) if str(job) in title]) == 1
    assert box.git("rev-parse", "HEAD:inner") == inner.git("rev-parse", "HEAD")
    assert (box.status(), inner.status()) == ("", "")
    assert os.path.lexists(inner.path / "d/f")
    assert not (inner.path / "d/f").exists()
    assert box.tracked() == []


def test_an_alternative_directory_is_packed_as_well(box, slurm, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    job = pack(box, ["sbatch", "--wrap", "mkdir d; echo 1 > d/f"], ["d"], alt_dir=str(elsewhere))
    slurm.wait(job)
    assert problems(finish(box)) == []
    assert {"d.tar", "d.manifest.json", "d/f"} <= box.files_in_last_commit()
    assert list(elsewhere.iterdir()) == []
    assert box.status() == ""


@pytest.mark.parametrize(
    ("setup", "options", "said"),
    [
        ("", ["--pack", "*"], "is a pattern for several"),
        ("", ["--pack", "."], "cannot be packed"),
        ("", ["--pack", "a", "--pack", "a/b"], "both are to be packed"),
        ("touch d.tar", ["--pack", "d"], "was not made by --pack"),
        ("touch d", ["--pack", "d"], "is none"),
        ("", ["--pack", "a&b"], "cannot be part of the URLs"),
        ("git config annex.addunlocked true", ["--pack", "d"], "annex.addunlocked is true"),
        ("git config annex.backend WORM", ["--pack", "d"], "its backend is WORM"),
        ("", ["--pack-only", "-o", "d"], "with --pack only"),
    ],
)
def test_what_cannot_be_packed_is_refused_at_once(box, slurm, setup, options, said):
    if "WORM" in setup:
        (box.path / ".gitattributes").write_text("")
    subprocess.run(["sh", "-c", setup], check=True, cwd=box.path)
    done = box.cli("slurm-schedule", *options, "sbatch", "--wrap", "true", code=1)
    assert said in done.stdout + done.stderr
    assert box.tracked() == []


def test_what_will_be_packed_is_no_input_of_another_job(box, slurm):
    job = pack(box, ["sbatch", "--hold", "--wrap", "true"], ["d"], ["other"])
    for path in ("d", "d/f", "d.tar", "*.manifest.json"):
        (refused,) = slurm_schedule(
            ["sbatch", "--wrap", "true"], dataset=box.path, inputs=[path], outputs=["x"], **_QUIET
        )
        assert f"is packed when job {job} is finished" in refused["message"], path
    slurm.run("scancel", str(job))


def test_an_archive_that_somebody_else_has_written_is_not_overwritten(box, slurm):
    job = pack(box, ["sbatch", "--wrap", "mkdir d; echo 1 > d/f; echo mine > d.tar"], ["d"])
    slurm.wait(job)
    (refused,) = problems(finish(box))
    assert "'d.tar' is in the way" in refused
    assert (box.path / "d.tar").read_text() == "mine\n"
    (box.path / "d.tar").unlink()
    assert problems(finish(box)) == []
    assert {"d.tar", "d.manifest.json", "d/f"} <= box.files_in_last_commit()


def test_a_directory_in_which_there_is_nothing_is_a_missing_output(box, slurm):
    job = pack(box, ["sbatch", "--wrap", "echo 1 > x"], ["d"], ["x"])
    slurm.wait(job)
    (missing,) = [res for res in finish(box) if res["status"] != "ok"]
    assert (missing["status"], missing["path"]) == ("impossible", str(box.path / "d"))
    assert "x" in box.files_in_last_commit()


def test_files_that_were_there_and_are_not_here_are_not_taken_out_of_the_dataset(
    box, slurm, tmp_path
):
    (box.path / "d").mkdir()
    (box.path / "d/before").write_text("before\n")
    box.cli("save", "-m", "before")
    clone = Box(tmp_path / "clone")
    box.cli("clone", str(box.path), str(clone.path), cwd=tmp_path)
    (refused,) = slurm_schedule(
        ["sbatch", "--wrap", "true"], dataset=clone.path, pack=["d"], **_QUIET
    )
    assert "the content of 'd/before' is not here" in refused["message"]
    # nor are those that come while the job runs
    clone.git("mv", "d", "later")
    clone.git("commit", "-qm", "move")
    job = pack(clone, ["sbatch", "--wrap", "mkdir d; echo 1 > d/f"], ["d"])
    slurm.wait(job)
    clone.git("mv", "later/before", "d/before")
    clone.git("commit", "-qm", "move back")
    (refused,) = problems(finish(clone))
    assert "'d/before' was there before, and its content is not here" in refused
    clone.cli("get", "d/before")
    assert problems(finish(clone)) == []
    assert clone.status() == ""
    clone.git("annex", "get", "d")
    assert (clone.path / "d/before").read_text() == "before\n"


def test_a_log_in_a_packed_directory_is_committed_and_stays(box, slurm):
    box.git("config", "annex.largefiles", "include=d/large")
    (box.path / "d").mkdir()
    work = "echo said; echo 1 > d/f; echo 2 > d/large"
    job = pack(box, ["sbatch", "-o", "d/log", "--wrap", work], ["d"], pack_only=True)
    slurm.wait(job)
    assert problems(finish(box)) == []
    assert box.status() == ""
    assert sorted(os.listdir(box.path / "d")) == ["log", f"slurm-job-{job}.env.json"]
    assert (box.path / "d/log").read_text() == "said\n"
