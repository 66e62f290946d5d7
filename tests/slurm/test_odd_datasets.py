"""Datasets and outputs as they are found in the wild."""

from __future__ import annotations

import pytest

from tests.slurm.test_schedule import finish, schedule


def run(box, slurm, body, outputs=("out",)):
    job = schedule(box, ["sbatch", "--wrap", body], outputs)
    slurm.wait(job)
    return job, finish(box)


def test_an_adjusted_branch_is_committed_to(box, slurm):
    box.git("annex", "adjust", "--unlock", "--quiet")
    _, results = run(box, slurm, "mkdir out; echo x > out/a")
    assert {res["status"] for res in results} == {"ok"}, results
    assert box.git("symbolic-ref", "HEAD") == "refs/heads/adjusted/master(unlocked)"
    assert not (box.path / "out/a").is_symlink()
    assert box.status() == ""
    assert box.git("annex", "find", "out/a") == "out/a"
    assert box.git("annex", "fsck", "--quiet") == ""
    box.git("annex", "sync", "--quiet", "--no-push", "--no-pull")
    assert "SLURM RUN" in box.git("log", "-1", "--format=%s", "master")
    assert box.git("ls-tree", "master", "out/a").startswith("120000")


@pytest.mark.parametrize("setting", ["annex.addunlocked", "annex.thin", "annex.pidlock"])
def test_settings_of_git_annex_are_honoured(box, slurm, setting):
    box.git("config", setting, "true")
    for _ in range(2):
        _, results = run(box, slurm, "mkdir -p out; date +%N > out/a")
        assert {res["status"] for res in results} == {"ok"}, results
        assert box.status() == ""
    assert (box.path / "out/a").is_symlink() == (setting != "annex.addunlocked")
    assert box.git("annex", "fsck", "--quiet") == ""


def test_outputs_that_change_between_file_and_directory(box, slurm):
    run(box, slurm, "echo x > out; mkdir other; echo y > other/a", ["out", "other"])
    body = "rm -rf out other; mkdir out; echo x > out/a; echo y > other"
    _, results = run(box, slurm, body, ["out", "other"])
    assert {res["status"] for res in results} == {"ok"}, results
    listed = box.git("ls-tree", "-r", "--name-only", "HEAD", "out", "other").split()
    assert listed == ["other", "out/a"]
    assert box.status() == ""


def test_links_are_committed_as_links_wherever_they_point(box, slurm):
    _, results = run(
        box, slurm, "mkdir out; cd out; ln -s /etc/hostname a; ln -s nowhere b; ln -s . c"
    )
    assert {res["status"] for res in results} == {"ok"}, results
    modes = {line.split()[0] for line in box.git("ls-tree", "-r", "HEAD", "out").splitlines()}
    assert modes == {"120000"}
    assert box.git("show", "HEAD:out/a") == "/etc/hostname"


def test_a_nested_repository_is_named_and_the_rest_committed(box, slurm):
    _, results = run(
        box, slurm, "mkdir -p out/n; git init -q out/n; echo x > out/n/a; echo y > out/b"
    )
    (odd,) = [res for res in results if res["status"] == "impossible"]
    assert odd["path"].endswith("out/n")
    assert "out/b" in box.files_in_last_commit()


def test_empty_directories_and_special_files(box, slurm):
    _, results = run(box, slurm, "mkdir -p out/empty; mkfifo out/pipe; echo x > out/a")
    (odd,) = [res for res in results if res["status"] == "impossible"]
    assert odd["path"].endswith("out/pipe")
    assert "out/a" in box.files_in_last_commit()


def test_a_log_that_is_an_output_too_is_committed_once(box, slurm):
    job = schedule(box, "sbatch -o out/log --wrap 'echo x'", ["out"])
    (box.path / "out").mkdir(exist_ok=True)
    slurm.wait(job)
    results = finish(box, accept_failed_jobs=True)
    assert {res["status"] for res in results} == {"ok"}, results
    paths = [res["path"] for res in results if res["action"] == "add"]
    assert len(paths) == len(set(paths))


def test_ten_thousand_files_in_one_output(box, slurm):
    with (box.path / ".gitattributes").open("a") as attributes:
        attributes.write("* annex.largefiles=nothing\n")
    box.git("commit", "-qam", "all in git")
    body = "mkdir out; cd out; seq 10000 | split -l 1 -a 4"
    _, results = run(box, slurm, body)
    assert {res["status"] for res in results} == {"ok"}
    assert len(box.git("ls-tree", "--name-only", "HEAD", "out/").splitlines()) == 10000
    assert box.status() == ""


def test_a_file_that_cannot_be_added_keeps_its_job_open_and_no_other(box, slurm, stand_in):
    broken, fine = (
        schedule(box, ["sbatch", "--wrap", f"mkdir {n}; echo x > {n}/a"], [n]) for n in "bf"
    )
    slurm.wait(broken, fine)
    refused = '"error-messages":["permission denied"],"success":false'
    stand_in(
        "git",
        'case " $* " in *" annex add "*) $real "$@" | '
        f"""sed -E '/"b\\/a"/s/"error-messages":\\[\\],(.*)"success":true/\\1{refused}/' ;;"""
        ' *) exec $real "$@" ;; esac',
    )
    results = finish(box)
    assert [res["message"] for res in results if res["status"] == "error"] == [
        "permission denied",
        f"Slurm job {broken} was not committed and is still open: 1 of its files could not be "
        "added, the first is 'b/a'; mend that and run `datalad slurm-finish` again",
    ]
    assert box.tracked() == [broken]
    assert "f/a" in box.files_in_last_commit()


def test_a_branch_that_was_switched_meanwhile_gets_the_commit(box, slurm):
    job = schedule(box, ["sbatch", "--wrap", "echo x > out"])
    box.git("checkout", "-q", "-b", "other")
    slurm.wait(job)
    finish(box)
    assert "SLURM RUN" in box.git("log", "-1", "--format=%s", "other")
    assert "SLURM RUN" not in box.git("log", "-1", "--format=%s", "master")


def test_a_sha256_repository_works(slurm, tmp_path):
    from tests.conftest import Box

    box = Box(tmp_path / "sha256")
    box.path.mkdir()
    box.git("init", "-q", "--object-format=sha256")
    _, results = run(box, slurm, "mkdir out; echo x > out/a")
    assert {res["status"] for res in results} == {"ok"}, results
    assert len(box.git("rev-parse", "HEAD")) == 64
    assert box.status() == ""
    _, results = run(box, slurm, "rm out/a; echo x > out/b")
    assert {res["status"] for res in results} == {"ok"}, results
    assert box.git("ls-tree", "--name-only", "HEAD", "out/") == "out/b"
