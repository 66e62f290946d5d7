"""The tracking database: claims, crash safety, versions, and clear words when it fails."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalad_slurm.jobs.claims import collide
from datalad_slurm.jobs.errors import DatabaseError, JobNotTrackedError, OutputConflictError
from datalad_slurm.jobs.logs import LogName
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.names import JobName
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.tracking import publications
from datalad_slurm.tracking.finisher import only_finisher
from datalad_slurm.tracking.process import current_process, is_running
from datalad_slurm.tracking.publications import Publication
from datalad_slurm.tracking.store import FILE_NAME, Tracker


def job(*outputs: str, token: str = "t") -> TrackedJob:
    return TrackedJob(
        id=0, token=token, cmd="sbatch {x} \udcff", pwd=".", dsid="d", outputs=outputs,
        declared_outputs=outputs, message="m\n", chain=("c",),
    )  # fmt: skip


def test_what_is_claimed_and_noted_is_read_back(tmp_path):
    tracker = Tracker(tmp_path)
    claim = tracker.claim(job("a/b", "ü \udcff", ""))
    assert tracker.open_jobs() == []
    assert [c.id for c in tracker.claims_without_job()] == [claim.id]
    noted = SlurmJob(
        7, "cluster", 1000, 2, "name\n", "/w \udcff", (LogName("/l-%a"), LogName("/l-1", 1)),
        tuple(TaskId(7, i) for i in (1, 2, 3, 9)), {"Key": "value"},
    )  # fmt: skip
    tracker.note_submission(claim.id, [noted, SlurmJob(8)])
    tracker.note_submission(claim.id, [noted._replace(name="later")])
    (read,) = Tracker(tmp_path).open_jobs([JobName(8)])
    assert read.outputs == ("a/b", "ü \udcff", "")
    assert read.cmd == "sbatch {x} \udcff"
    assert read.slurm_jobs == (noted._replace(name="later"), SlurmJob(8))
    assert read.claimed_by == current_process()
    with pytest.raises(JobNotTrackedError, match="no open job 9, 10"):
        tracker.open_jobs(map(JobName, (7, 9, 10)))
    tracker.forget([claim.id])
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        for table in ("jobs", "claims", "slurm_jobs"):
            assert database.execute(f"select count(*) from {table}").fetchone() == (0,)


_NAMES = ["a", "b", "a-", "a0", "a.", "ä", "\udcff", "a*", "?", "[!a]", "**", "[*]", ".*"]
_PATHS = st.lists(st.sampled_from(_NAMES), max_size=3).map("/".join)


@settings(max_examples=120, deadline=None)
@given(st.lists(_PATHS, min_size=1, max_size=3), st.lists(_PATHS, min_size=1, max_size=3))
def test_the_database_refuses_exactly_what_collides(tmp_path_factory, first, second):
    tracker = Tracker(tmp_path_factory.mktemp("db"))
    tracker.claim(job(*first, token="1"))
    expected = any(collide(a, b) for a in first for b in second)
    try:
        tracker.claim(job(*second, token="2"))
    except OutputConflictError:
        assert expected
    else:
        assert not expected


def test_a_refused_claim_names_job_and_path_and_claims_nothing(tmp_path):
    tracker = Tracker(tmp_path)
    claim = tracker.claim(job("out", token="1"))
    with pytest.raises(OutputConflictError, match=r"'out/x' .* process \d+ on .* is submitting"):
        tracker.claim(job("free", "out/x", token="2"))
    tracker.note_submission(claim.id, [SlurmJob(4711)])
    with pytest.raises(
        OutputConflictError, match=r"'out/x' conflicts with job 4711.* claims 'out'"
    ):
        tracker.claim(job("free", "out/x", token="2"))
    tracker.claim(job("free", token="3"))


def test_a_refused_claim_names_a_job_of_another_cluster_as_a_command_takes_it(tmp_path):
    tracker = Tracker(tmp_path)
    claim = tracker.claim(job("out", token="1"))
    tracker.note_submission(claim.id, [SlurmJob(4711, "c1")])
    with pytest.raises(OutputConflictError, match=r"job 4711;c1; .*slurm-finish '4711;c1'\)"):
        tracker.claim(job("out", token="2"))


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ("out/*.csv", "out/a.csv"),
        ("out/a.csv", "out/*.csv"),
        ("out/*.csv", "out"),
        ("out", "out/*.csv"),
        ("*/stats/**", "sub-*/stats/a"),
        ("a[*]", "a?"),
    ],
)
def test_a_refusal_names_job_and_both_globs(tmp_path, held, wanted):
    tracker = Tracker(tmp_path)
    tracker.note_submission(tracker.claim(job(held, token="1")).id, [SlurmJob(4711)])
    named = f"'{wanted}' conflicts with job 4711, which claims '{held}'"
    with pytest.raises(OutputConflictError, match=re.escape(named)):
        tracker.claim(job(wanted, token="2"))


def test_globs_are_told_apart_among_ten_thousand_jobs(tmp_path):
    tracker = Tracker(tmp_path)
    names = [f"sub-{n}/{name}" for n in range(10_000) for name in ("log", "run-*/*.csv")]
    tracker.claim(job(*names, token="1"), check=False)
    began = time.process_time()
    tracker.claim(job("sub-*/other", "sub-77/run-1/x.txt", "sub-99999/run-*/*.csv", token="2"))
    assert time.process_time() - began < 5


def test_a_claim_is_freed_only_as_long_as_it_has_no_job(tmp_path):
    tracker = Tracker(tmp_path)
    claim, noted = (tracker.claim(job(name, token=name)) for name in "ab")
    tracker.note_submission(noted.id, [SlurmJob(1)])
    assert tracker.free(claim.id)
    assert not tracker.free(noted.id)
    assert [open_job.id for open_job in tracker.open_jobs()] == [noted.id]
    with pytest.raises(JobNotTrackedError, match=r"job 2 was submitted.*--job-id 2"):
        tracker.note_submission(claim.id, [SlurmJob(2)])


def test_a_locked_database_is_waited_for_and_then_named(tmp_path):
    Tracker(tmp_path)
    holder = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseError, match=r"tracking\.sqlite has been locked by another process"):
        Tracker(tmp_path, busy_timeout=0.2)
    holder.execute("ROLLBACK")
    Tracker(tmp_path, busy_timeout=0.2)


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0" + b"x" * 5000])
def test_a_damaged_database_is_named(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(DatabaseError, match=r"tracking\.sqlite is damaged"):
        Tracker(tmp_path)


def test_a_truncated_database_is_named(tmp_path):
    tracker = Tracker(tmp_path)
    for number in range(200):
        tracker.claim(job(f"o{number}", token=str(number)))
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DatabaseError, match=r"tracking\.sqlite is damaged"):
        Tracker(tmp_path).claims_without_job()


def test_a_newer_schema_is_refused_with_its_version(tmp_path):
    Tracker(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(DatabaseError, match="of version 99"):
        Tracker(tmp_path)


def test_the_journal_is_a_rollback_journal(tmp_path):
    Tracker(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseError, match="cannot make"):
        Tracker(tmp_path / "file" / "below")


def test_publications_are_completed_with_their_jobs(tmp_path):
    tracker = Tracker(tmp_path)
    ids = [tracker.claim(job(f"o{n}", token=str(n))).id for n in range(3)]
    for tracked_id in ids:
        tracker.note_submission(tracked_id, [SlurmJob(tracked_id)])
    noted = [
        Publication("sub/dir \udcff", "refs/heads/main", "b", "t", tuple(ids[:2])),
        Publication("", "HEAD", "", "t", tuple(ids)),
    ]
    publications.note(tracker.database, noted)
    assert publications.pending(tracker.database) == noted
    publications.withdraw(tracker.database)
    assert publications.pending(tracker.database) == []
    assert [j.id for j in tracker.open_jobs()] == ids
    publications.note(tracker.database, noted)
    publications.complete(tracker.database, ids[:2])
    assert publications.pending(tracker.database) == []
    assert [j.id for j in tracker.open_jobs()] == ids[2:]


_HOLD = """
import sys, time
from pathlib import Path
from datalad_slurm.tracking.finisher import only_finisher
from datalad_slurm.tracking.store import Tracker
with only_finisher(Tracker(Path(sys.argv[1])).database, 0, print):
    print("in", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other_finisher(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "in\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_finisher_waits_and_says_for_whom(tmp_path, other_finisher):
    database = Tracker(tmp_path).database
    told = []
    named = f"process {other_finisher.pid} on .*take-over"
    with pytest.raises(DatabaseError, match=named), only_finisher(database, 0.8, told.append):
        raise AssertionError("entered")
    assert len(told) == 1
    assert f"process {other_finisher.pid} on" in told[0]
    with only_finisher(database, 0, told.append, take_over=True):
        pass


def test_the_lock_of_a_finisher_that_was_killed_does_not_count(tmp_path, other_finisher):
    other_finisher.kill()
    other_finisher.wait()
    with only_finisher(Tracker(tmp_path).database, 0, print):
        pass


def test_a_finisher_on_another_host_is_not_guessed_about(tmp_path):
    database = Tracker(tmp_path).database
    with only_finisher(database, 0, print), sqlite3.connect(tmp_path / FILE_NAME) as raw:
        raw.execute("update finisher set process = json_set(process, '$.host', 'elsewhere')")
    with pytest.raises(DatabaseError, match="on elsewhere"), only_finisher(database, 0, print):
        raise AssertionError("entered")


def test_a_process_is_known_by_more_than_its_pid():
    me = current_process()
    assert is_running(me)
    assert is_running(me._replace(start_ticks=me.start_ticks + 1)) is False
    assert is_running(me._replace(boot_id="another")) is False
    assert is_running(me._replace(host="another")) is None
    child = subprocess.Popen(["true"])
    child.wait()
    assert is_running(me._replace(pid=child.pid)) is False


def test_of_a_machine_with_a_name_that_many_have_nothing_is_guessed(monkeypatch):
    me = current_process()
    other = me._replace(boot_id="another")
    assert is_running(other) is False
    monkeypatch.setattr("socket.gethostname", lambda: "localhost.localdomain")
    assert is_running(other._replace(host="localhost.localdomain")) is None
    assert is_running(me._replace(host="localhost.localdomain")) is True
