"""`slurm-report` on made histories: records of all makes, in one pass over the history."""

from __future__ import annotations

import base64
import json
import re
import zlib

import pytest
from datalad.api import slurm_report

from datalad_slurm.dataset import git
from datalad_slurm.dataset.contents import Contents
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.history import read_changes
from datalad_slurm.dataset.sidecar import place_record
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.record import RunRecord
from datalad_slurm.workflow.report import select
from tests.dataset.test_history import RUN, History

PEER = """\
[DATALAD SLURM RUN] Slurm job 9: Timeout

=== Do not change lines below ===
{"chain": [], "cmd": "sbatch old.sh", "commit_id": null, "dsid": "", "extra_inputs": [],
 "inputs": [], "outputs": ["old"], "pwd": ".", "slurm_job_id": 9,
 "slurm_outputs": ["slurm-9.out"]}
^^^ Do not change lines above ^^^
"""


@pytest.fixture
def history(box):
    return Made(box)


class Made(History):
    """A history of jobs with files."""

    def made(self, number, files, state="COMPLETED", logs=(), **slurm):
        """Commit the files of a job."""
        self.put(files | dict.fromkeys(logs, f"log of {number}\n"))
        return self.job(
            number, *files, *logs, slurm_outputs=tuple(logs), slurm={"state": state, **slurm}
        )

    def put(self, files):
        for path, text in files.items():
            target = self.box.path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        self.box.git("--literal-pathspecs", "-c", "annex.largefiles=nothing", "add", "--", *files)

    def told(self, *args, **kwargs):
        return slurm_report(
            *args, dataset=self.box.path, result_renderer="disabled", on_failure="ignore", **kwargs
        )

    def jobs(self, *args, **kwargs):
        return [res["slurm_job_id"] for res in self.told(*args, **kwargs) if "label" in res]


def page_of(path):
    """Return what a page knows: its head, and the jobs, the newest first."""
    found = re.search(r'type="text/plain">([^<]*)<', path.read_text())
    raw = zlib.decompress(base64.b64decode(found[1]), 31)
    head, *jobs = map(json.loads, raw.decode().splitlines())
    return head, jobs


def test_the_table_has_a_line_for_each_job_and_one_for_all(history):
    first = history.made(
        1, {"a/x": "1"}, name="fit", submit="2026-11-21T20:00:00+00:00",
        start="2026-11-21T20:01:30+00:00", elapsed=600, cpus=4, cpu_seconds=1200.0, nodes="n1",
        peak_memory=2**30, requested_memory="4G",
    )  # fmt: skip
    history.commit(PEER)
    lines = history.box.cli("slurm-report").stdout.splitlines()
    assert lines[0].split() == [
        *("job", "name", "state", "attempts", "waited", "ran", "cpu", "memory"),
        *("commit", "outputs"),
    ]
    assert lines[1].split() == [
        *("1", "fit", "COMPLETED", "1", "00:01:30", "00:10:00", "50%"),
        *("1.0G", "of", "4.0G", "(25%)", first[:10], "a/x"),
    ]
    assert lines[2].split()[:8] == ["9", "TIMEOUT", "1", "-", "-", "-", "-", history.box.git(
        "rev-parse", "HEAD")[:10]]  # fmt: skip
    assert lines[3] == (
        "2 jobs: 1 COMPLETED, 1 TIMEOUT; CPU time 00:20:00 used of 00:40:00 allocated (50%); "
        "not known in full of 1"
    )


def test_jobs_are_filtered_and_sorted(history):
    history.made(1, {"a/x": "1"}, name="fit-1", elapsed=9)
    history.made(2, {"b/x": "1"}, name="fit-2", elapsed=3, state="FAILED")
    history.made(3, {"c": "1"}, name="prep")
    assert history.jobs() == [1, 2, 3]
    assert history.jobs(state="failed") == [2]
    assert history.jobs(name=["prep", "*-1"]) == [1, 3]
    assert history.jobs(path=str(history.box.path / "b")) == [2]
    assert history.jobs(sort="ran") == [2, 1, 3]
    assert history.jobs(sort="ran", reverse=True) == [1, 2, 3]


def test_paths_are_those_of_the_working_directory(history):
    history.made(1, {"a/x": "1"})
    history.made(2, {"b/x": "1"})
    done = history.box.cli("-f", "json", "slurm-report", "--path", "x", cwd=history.box.path / "b")
    assert json.loads(done.stdout.splitlines()[0])["slurm_job_id"] == 2
    (result,) = history.told(path="/etc")
    assert result["status"] == "impossible"
    assert "outside the dataset" in result["message"]


def test_commits_are_named_as_for_git_log(history):
    first, second, third = (history.made(n, {f"f{n}": "1"}) for n in (1, 2, 3))
    assert history.jobs(second) == [1, 2]
    assert history.jobs(f"{first}..{third}") == [2, 3]
    assert history.jobs(f"{first}..") == [2, 3]
    assert history.jobs(f"..{second}") == []
    assert history.jobs(f"{second}^!") == [2]
    with pytest.raises(InvalidRequestError, match="three dots"):
        select("a...b")


def test_a_commit_that_is_not_there_or_has_no_job_is_said(history):
    (result,) = history.told("nothing")
    assert (result["status"], "no commit 'nothing'" in result["message"]) == ("impossible", True)
    results = history.told("HEAD^!")
    assert results[0]["status"] == "error"
    assert "holds no record of a Slurm job" in results[0]["message"]


def test_a_record_that_cannot_be_read_is_named_and_hides_no_other(history):
    history.made(1, {"a": "1"})
    broken = history.commit(PEER.replace("^^^ Do not", "^^^ Do"))
    history.commit(RUN)
    history.made(2, {"b": "1"})
    results = history.told()
    assert history.jobs() == [1, 2]
    (bad,) = [res for res in results if res["status"] != "ok"]
    assert broken[:10] in bad["message"]


def test_a_record_in_a_file_of_its_own_is_read(history):
    record = RunRecord("c", "", 4, outputs=("x",), slurm={"state": "COMPLETED", "name": "long"})
    text, files = place_record(history.repo, record.to_json(), ".datalad/runinfo", use_sidecar=True)
    history.box.git("-c", "annex.largefiles=nothing", "add", "--", *files)
    history.job(4, text=text)
    assert history.told()[0]["name"] == "long"


@pytest.mark.parametrize("form", ["in git", "locked", "unlocked", "gone"])
def test_the_tasks_of_an_array_are_read_from_its_file_of_facts(history, form):
    rows = [{"task": f"5_{i}", "elapsed": 100, "cpus": 2} for i in (1, 2)]
    facts = "slurm-job-5.env.json"
    path = history.box.path / facts
    path.write_text(json.dumps({"accounting": rows}))
    how = {"in git": "nothing", "unlocked": "anything"}.get(form, "anything")
    unlocked = ["-c", "annex.addunlocked=true"] if form == "unlocked" else []
    history.box.git(*unlocked, "annex", "add", "-q", "-c", f"annex.largefiles={how}", facts)
    history.job(
        5, "out", facts, slurm_outputs=(facts,),
        slurm={"tasks": [{"count": 2}], "cpu_seconds": 100, "elapsed": 150, "cpus": 2},
    )  # fmt: skip
    if form == "gone":
        history.box.git("annex", "drop", "-q", "--force", facts)
    expected = None if form == "gone" else 0.25
    assert history.told()[0]["cpu_efficiency"] == expected


def test_names_of_jobs_do_not_command_the_terminal(history):
    history.made(1, {"a\nb": "1"}, name="x\x1b[2J\n2  y")
    out = history.box.cli("slurm-report").stdout
    assert "\x1b" not in out
    assert len(out.splitlines()) == 3


def test_git_log_is_run_once_for_any_number_of_jobs(history, monkeypatch):
    for number in range(1, 6):
        history.made(number, {f"f{number}": "1"}, logs=[f"l{number}"])
    started = []
    start = git.Repo.start
    monkeypatch.setattr(
        git.Repo, "start", lambda self, *args: started.append(args[0]) or start(self, *args)
    )
    assert history.jobs() == [1, 2, 3, 4, 5]
    assert sorted(started) == ["cat-file", "log"]
    started.clear()
    history.told(html=str(history.box.path / "page.html"))
    assert sorted(started) == ["cat-file", "log"]


def test_changes_are_those_of_git_whatever_files_are_called(box):
    history = Made(box)
    names = ["\x01x", ":000000 100644 a b A", "line\nbreak", "ä", "-"]
    history.put(dict.fromkeys(names, "1"))
    history.commit("\x01message\n\n:100644 100644 a b M")
    box.git("rm", "-q", "--", "-")
    history.commit("remove one")
    (newest, removed), (_, added), *_ = read_changes(Repo(box.path), "HEAD")
    assert newest.message.strip() == "remove one"
    assert [(change.path, change.is_removal) for change in removed] == [("-", True)]
    assert {change.path for change in added} == set(names)


def test_contents_outside_of_the_annex_are_not_followed(box, tmp_path):
    secret = tmp_path / "annex" / "objects" / "k" / "k"
    secret.parent.mkdir(parents=True)
    secret.write_text("secret")
    (box.path / "link").symlink_to(f"{tmp_path}/annex/objects/../objects/k/k")
    box.git("add", "link")
    box.git("commit", "-qm", "link")
    with Contents(Repo(box.path)) as contents:
        assert b"secret" not in (contents.read("HEAD:link", 100) or b"")


def test_the_history_of_a_file_goes_back_to_what_no_job_made(history):
    history.put({"raw": "1", "job.sh": "x"})
    start = history.commit("raw data")
    history.put({"unread": "1"})
    history.commit("something else")
    blob = {"blob": "b" * 40}
    script = {"path": "job.sh"} | blob
    one = history.made(1, {"mid/a": "1"}, inputs=[{"path": "raw"} | blob], script=script)
    two = history.made(2, {"end": "1"}, name="join", inputs=[{"path": "mid/a"} | blob])
    target, *steps = history.told(history=str(history.box.path / "end"))
    assert target["reads"][0]["from"] == [{"commit": two, "files": ["end"]}]
    assert [(step["commit"], step["makes"]) for step in steps] == [
        (two, ["end"]),
        (one, ["mid/a"]),
        (start, ["job.sh", "raw"]),
    ]
    out = history.box.cli("slurm-report", "--history", "end").stdout
    assert out.splitlines()[1].strip().startswith(f"made by job 2 join, commit {two[:10]}")
    assert out.count("from no job: commit") == 2
    (result,) = history.told(history=str(history.box.path / "never"))
    assert result["status"] == "impossible"


def test_a_file_that_somebody_has_changed_since_is_not_the_jobs(history):
    history.made(1, {"a": "1"})
    history.put({"a": "2"})
    mine = history.commit("mended by hand")
    _, step = history.told(history=str(history.box.path / "a"))
    assert (step["commit"], "slurm_job_id" in step) == (mine, False)


def test_a_long_chain_is_told_to_its_end(history):
    before = {"path": "a0", "blob": "b" * 40}
    for number in range(1, 40):
        history.made(number, {f"a{number}": "1"}, inputs=[before])
        before = {"path": f"a{number}", "blob": "b" * 40}
    out = history.box.cli("slurm-report", "--history", "a39").stdout
    assert out.count("made by job") == 39
    assert out.splitlines()[-1].strip() == "not in these commits"


@pytest.mark.parametrize(
    "options",
    [("--text", "--html", "x"), ("--html", "x", "--history", "y"), ("--html", "x", "--sort", "ran"),
     ("--sort", "colour")],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(history, options):
    done = history.box.cli("slurm-report", *options, code=None)
    assert done.returncode != 0
    assert not (history.box.path / "x").exists()


def test_a_page_holds_jobs_with_record_script_log_and_files(history):
    script = history.box.script("echo hello")
    blob = history.box.git("rev-parse", f"HEAD:{script}")
    history.made(
        3, {"out/a": "12345"}, logs=["slurm-3.out"], name="</script><b>",
        script={"path": script, "blob": blob}, inputs=[{"path": "in", "blob": blob}],
    )  # fmt: skip
    page = history.box.path.parent / "page.html"
    result = history.told(html=str(page))[-1]
    assert (result["status"], result["jobs"]) == ("ok", 1)
    head, (job,) = page_of(page)
    assert head["name"] == "ds"
    assert job["makes"] == [["out/a", 5]]
    assert job["reads"] == ["in", "job.sh"]
    assert job["texts"][blob] == "#!/bin/bash\necho hello\n"
    assert job["logs"] == [["slurm-3.out", "log of 3\n"]]
    assert job["record"]["slurm_job_id"] == 3
    assert "<b>" not in page.read_text()
    assert not list(page.parent.glob("*.part"))


def test_a_page_that_cannot_be_written_is_said(history):
    history.made(1, {"a": "1"})
    result = history.told(html=str(history.box.path / "none" / "page.html"))[-1]
    assert result["status"] == "impossible"
    assert "cannot write the page" in result["message"]


def test_a_number_that_json_has_not_costs_a_job_its_record_only(history):
    history.made(1, {"a": "1"}, cpu_seconds=float("nan"))
    page = history.box.path.parent / "page.html"
    history.told(html=str(page))
    _, (job,) = page_of(page)
    assert (job["id"], "record" in job) == (1, False)
