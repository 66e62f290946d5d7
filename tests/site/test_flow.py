"""The flow of an archive, on spools that are made here: what fails, waits, and comes again."""

from __future__ import annotations

import logging
import os
import threading

import pytest

from datalad_slurm.jobs.errors import QueryFailedError
from datalad_slurm.slurm import squeue
from datalad_slurm.workflow import site_archive as flow
from datalad_slurm.workflow.site_archive import ArchiveRequest, archive
from tests.conftest import wait_until
from tests.site.spools import begin, purge, submit


@pytest.fixture
def spool(tmp_path):
    path = tmp_path / "spool"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def owners(monkeypatch):
    """Give each test owners of jobs in the place of slurmctld's, and count the questions."""
    known: dict[int, int] = {}
    questions: list[list[int]] = []

    def find_owners(job_ids, timeout):
        questions.append(sorted(job_ids))
        if None in known:
            raise QueryFailedError("slurmctld does not answer")
        return known

    monkeypatch.setattr(squeue, "find_owners", find_owners)
    monkeypatch.setattr(flow, "_RETRY", 0.05)
    known_and_questions = known, questions
    return known_and_questions


def once(spool, to, **options):
    options = {"groups": None, "as_dataset": False, "interval": 300.0} | options
    (outcome,) = archive(ArchiveRequest(spool, to, once=True, **options))
    return outcome


def archived(to):
    return sorted(
        str(path.relative_to(to))
        for path in to.rglob("*")
        if path.is_file() and ".git" not in path.parts and ".datalad" not in path.parts
    )


class Watch:
    """An archive at work in another thread, where it hears no signals."""

    def __init__(self, spool, to, monkeypatch, **options):
        self.stopped = []

        class Signals(flow.Signals):
            def __init__(inner):  # noqa: N805
                super().__init__()
                self.signals = inner

        monkeypatch.setattr(flow, "Signals", Signals)
        options = {"groups": None, "as_dataset": False, "interval": 0.05} | options
        request = ArchiveRequest(spool, to, once=False, **options)
        self.thread = threading.Thread(target=lambda: self.stopped.extend(archive(request)))
        self.thread.start()
        wait_until(lambda: hasattr(self, "signals"))

    def stop(self):
        self.signals.stop = True
        os.write(self.signals._write_end, b"x")
        self.thread.join(20)
        (outcome,) = self.stopped
        return outcome


def test_one_job_that_cannot_be_written_holds_up_no_other(spool, tmp_path, monkeypatch):
    monkeypatch.setattr(flow, "_JOBS_A_ROUND", 1)
    to = tmp_path / "to"
    for job_id in (1, 2, 3):
        directory = submit(spool, job_id, USER="root")
        os.utime(directory / "script", (1e9, 1e9))
    in_the_way = to / "root/2001/09/1-sbatch.sh"
    in_the_way.mkdir(parents=True)
    outcome = once(spool, to)
    assert outcome.status == "error"
    assert outcome.message == (
        f"2 jobs archived; 1 jobs not archived (1): {in_the_way}: Is a directory; run it again"
    )
    in_the_way.rmdir()
    assert once(spool, to).status == "ok"
    assert len([path for path in archived(to) if path.endswith(".sh")]) == 3


def test_whose_jobs_are_is_asked_once_for_all_that_do_not_say_it(spool, tmp_path, owners):
    known, questions = owners
    known |= {1: 0, 2: 0, 3: 2**31 - 7}
    for job_id in (1, 2, 3, 4):
        submit(spool, job_id, USER="no-such-account" if job_id == 2 else "")
    submit(spool, 5, USER="root")
    to = tmp_path / "to"
    assert once(spool, to).message == "5 jobs archived"
    assert questions == [[1, 2, 3, 4]]
    users = {path.partition("/")[0] for path in archived(to)}
    assert users == {"root", f"@{2**31 - 7}", "@unknown"}


def test_of_many_rounds_of_jobs_slurmctld_is_asked_once(spool, tmp_path, owners, monkeypatch):
    known, questions = owners
    monkeypatch.setattr(flow, "_JOBS_A_ROUND", 2)
    known |= dict.fromkeys(range(1, 8), 0)
    for job_id in range(1, 8):
        submit(spool, job_id)
    assert once(spool, tmp_path / "to").message == "7 jobs archived"
    assert questions == [list(range(1, 8))]


def test_more_jobs_than_fit_in_memory_are_all_taken_at_once(spool, tmp_path, owners, monkeypatch):
    known, _ = owners
    monkeypatch.setattr(flow, "_MOST_HELD", 1000)
    monkeypatch.setattr(flow, "_JOBS_A_ROUND", 2)
    known |= dict.fromkeys(range(1, 30), 0)
    for job_id in range(1, 30):
        submit(spool, job_id, script=b"x" * 300)
    assert once(spool, tmp_path / "to").message == "29 jobs archived"


def test_a_question_that_fails_is_no_answer(spool, tmp_path, owners, monkeypatch):
    known, questions = owners
    known[None] = 0
    submit(spool, 1)
    to = tmp_path / "to"
    outcome = once(spool, to)
    assert (outcome.status, archived(to)) == ("error", [])
    assert "1 jobs not archived (1): whose they are is not known" in outcome.message
    watch = Watch(spool, to, monkeypatch)
    wait_until(lambda: len(questions) > 3, 10)
    assert archived(to) == []
    purge(spool / "hash.1/job.1")
    known[1] = 0
    del known[None]
    wait_until(lambda: len(archived(to)) == 2, 10)
    assert watch.stop().message == "1 jobs archived"


def test_after_a_while_without_an_answer_a_job_is_kept_as_nobodys(
    spool, tmp_path, owners, monkeypatch
):
    known, _ = owners
    known[None] = 0
    monkeypatch.setattr(flow, "_ASK_FOR", 0.1)
    submit(spool, 1)
    to = tmp_path / "to"
    watch = Watch(spool, to, monkeypatch)
    wait_until(lambda: len(archived(to)) == 2, 10)
    assert watch.stop().status == "ok"
    assert archived(to)[0].startswith("@unknown/")


def test_a_job_without_end_is_named_by_once(spool, tmp_path):
    begin(spool, 1)
    submit(spool, 2, USER="root")
    outcome = once(spool, tmp_path / "to")
    assert outcome.status == "error"
    assert outcome.message == "1 jobs archived; not written whole by slurmctld: hash.1/job.1"


def test_jobs_wait_in_the_spool_while_there_is_no_room_in_memory(
    spool, tmp_path, owners, monkeypatch
):
    known, _ = owners
    known[None] = 0  # so that all are held
    monkeypatch.setattr(flow, "_MOST_HELD", 1000)
    monkeypatch.setattr(flow, "_JOBS_A_ROUND", 1)
    to = tmp_path / "to"
    for job_id in range(1, 30):
        submit(spool, job_id, script=b"x" * 300)
    held = []
    take = flow.Spool.take
    monkeypatch.setattr(flow.Spool, "take", lambda self, most: held.append(0) or take(self, most))
    watch = Watch(spool, to, monkeypatch)
    wait_until(lambda: len(held) >= 4, 10)
    before = len(held)
    threading.Event().wait(0.3)
    assert len(held) == before == 4
    known |= dict.fromkeys(range(1, 30), 0)
    del known[None]
    wait_until(lambda: len(archived(to)) == 58, 10)
    assert watch.stop().message == "29 jobs archived"


def test_a_dataset_is_committed_at_intervals_and_at_the_end(spool, tmp_path, monkeypatch):
    to = tmp_path / "to"
    submit(spool, 1, USER="root")
    watch = Watch(spool, to, monkeypatch, as_dataset=True, interval=3600)
    wait_until(lambda: len(archived(to)) == 2, 10)
    for job_id in (2, 3):
        submit(spool, job_id, USER="root")
    wait_until(lambda: len(archived(to)) == 6, 10)
    assert watch.stop().message == "3 jobs archived; 2 commits"


def test_what_could_not_be_committed_is_committed_later(spool, tmp_path, monkeypatch, caplog):
    to = tmp_path / "to"
    submit(spool, 1, USER="root")
    assert once(spool, to, as_dataset=True).status == "ok"
    lock = to / ".git/index.lock"
    lock.touch()
    submit(spool, 2, USER="root")
    outcome = once(spool, to, as_dataset=True)
    assert outcome.status == "error"
    assert f"1 jobs archived; not committed: {lock} is there" in outcome.message
    watch = Watch(spool, to, monkeypatch, as_dataset=True)
    wait_until(lambda: "could not be committed" in caplog.text, 10)
    lock.unlink()
    wait_until(lambda: "2 files are committed" in caplog.text, 10)
    assert watch.stop().status == "ok"


def test_a_job_that_vanishes_is_counted_and_said(spool, tmp_path, monkeypatch, caplog):
    submit(spool, 1, USER="root")
    to = tmp_path / "to"
    watch = Watch(spool, to, monkeypatch)
    wait_until(lambda: len(archived(to)) == 2, 10)
    half = begin(spool, 11)
    threading.Event().wait(0.05)
    with caplog.at_level(logging.WARNING, "datalad.slurm"):
        purge(half)
        wait_until(lambda: "before they could be read" in caplog.text, 10)
    assert watch.stop().message == "1 jobs archived; 1 gone before they could be read"
