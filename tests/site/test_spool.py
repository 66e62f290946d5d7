"""A spool is watched without gaps: each job is seen once, when it is all there."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from pathlib import Path

import pytest

from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.site.spool import Spool
from tests.site.spools import begin, purge, submit


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "spool"
    path.mkdir()
    return path


def taken(spool, seconds=0.1):
    """Return the ids of the jobs that are taken within a time."""
    found = []
    end = time.monotonic() + seconds
    while True:
        found += [job.job_id for job in spool.take(1000)]
        left = end - time.monotonic()
        if left <= 0 and not spool.is_waiting:
            return found
        spool.wait([], max(0, left))


def test_jobs_from_before_and_jobs_that_come_are_each_taken_once(root):
    submit(root, 1)
    with Spool(root, watch=True) as spool:
        assert taken(spool) == [1]
        submit(root, 11)
        submit(root, 2)
        assert taken(spool) == [11, 2]
        spool.rescan()
        assert taken(spool) == []


def test_a_job_is_held_as_it_was_submitted(root):
    directory = submit(root, 7, b"#!/bin/sh\ntrue\n", SLURM_JOB_NAME="x", USER="joe")
    os.utime(directory / "script", (5, 5))
    with Spool(root, watch=False) as spool:
        (job,) = spool.take(10)
    assert (job.job_id, job.at, job.name, job.claimed_user) == (7, 5.0, "x", "joe")
    assert job.script == b"#!/bin/sh\ntrue\n"
    assert job.environment == (b"SLURM_JOB_NAME=x", b"USER=joe")


def test_nothing_that_is_made_around_the_start_of_a_watch_is_missed(root, monkeypatch):
    """Jobs appear right before and right after each single call that begins to watch."""
    from inotify_simple import INotify

    add_watch = INotify.add_watch
    made = iter(range(100, 1000))
    submitted = []

    def watching(self, path, mask):
        # in the directory itself, and in one that is new
        for _ in range(2) if len(submitted) < 40 else ():
            submitted.append(next(made))
            submit(root, submitted[-1])
        descriptor = add_watch(self, path, mask)
        if len(submitted) < 40:
            submitted.append(next(made))
            submit(root, submitted[-1])
        return descriptor

    monkeypatch.setattr(INotify, "add_watch", watching)
    begun = begin(root, 5)
    with Spool(root, watch=True) as spool:
        (begun / "environment").write_bytes(b"\0\0\0\0")
        (begun / "script").write_bytes(b"\0")
        found = taken(spool)
    assert len(submitted) >= 40
    assert sorted(found) == sorted([5, *submitted])


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_job_that_becomes_whole_around_the_start_of_its_watch_is_taken(root, monkeypatch, when):
    from inotify_simple import INotify

    add_watch = INotify.add_watch

    def complete(path):
        if path.name.startswith("job."):
            (path / "environment").write_bytes(b"\0\0\0\0")
            (path / "script").write_bytes(b"\0")

    def watching(self, path, mask):
        if when == "before":
            complete(path)
        descriptor = add_watch(self, path, mask)
        if when == "after":
            complete(path)
        return descriptor

    monkeypatch.setattr(INotify, "add_watch", watching)
    # not the look that comes by itself after some seconds
    monkeypatch.setattr("datalad_slurm.site.spool._LOOK_AGAIN", 1000)
    begin(root, 5)
    with Spool(root, watch=True) as spool:
        assert taken(spool) == [5]


@pytest.mark.parametrize("order", ["environment script", "script environment"])
@pytest.mark.parametrize("rename", [False, True])
def test_a_job_is_taken_when_both_files_are_whole_and_not_before(root, order, rename):
    contents = {"environment": b"\1\0\0\0A=1\0", "script": b"#!/bin/sh\n\0"}
    with Spool(root, watch=True) as spool:
        assert taken(spool) == []
        directory = begin(root, 3)
        for number, name in enumerate(order.split()):
            where = directory / (f"{name}.new" if rename else name)
            with where.open("wb") as file:
                file.write(contents[name][:-1])
                file.flush()
                assert taken(spool, 0.02) == []
                file.write(contents[name][-1:])
            if rename:
                where.rename(directory / name)
            assert taken(spool) == ([3] if number else [])


def test_a_job_that_goes_before_it_can_be_read_is_told_once(root):
    purge(submit(root, 1))
    with Spool(root, watch=True) as spool:
        purge(submit(root, 1))
        half = begin(root, 2)
        spool.wait([], 1)
        assert taken(spool) == []
        purge(half)
        assert taken(spool) == []
        submit(root, 3)
        assert taken(spool) == [3]
        purge(root / "hash.3/job.3")
        assert taken(spool) == []
        assert spool.vanished == [1, 2]


def test_a_job_id_that_slurm_gives_again_is_a_new_job(root):
    directory = submit(root, 4)
    with Spool(root, watch=True) as spool:
        assert taken(spool) == [4]
        purge(directory)
        submit(root, 4)
        assert taken(spool) == [4]


def test_a_directory_of_jobs_that_is_removed_and_made_again_is_watched(root):
    with Spool(root, watch=True) as spool:
        directory = submit(root, 4)
        assert taken(spool) == [4]
        purge(directory.parent)
        submit(root, 14)
        assert taken(spool) == [14]
        submit(root, 24)
        assert taken(spool) == [24]


def test_after_more_events_than_the_kernel_keeps_all_is_looked_through(root, caplog):
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if most > 70_000:
        pytest.skip(f"it takes {most} events")
    submit(root, 10)
    with Spool(root, watch=True) as spool:
        assert taken(spool) == [10]
        other = root / "hash.0" / "job.20"
        for _ in range(most // 2 + 100):
            other.mkdir()
            other.rmdir()
        submit(root, 30)
        submit(root, 5)
        with caplog.at_level(logging.WARNING, "datalad.slurm"):
            assert sorted(taken(spool)) == [5, 30]
        assert "more was submitted at once" in caplog.text


def test_without_watches_left_a_job_is_found_all_the_same(root, monkeypatch):
    from inotify_simple import INotify

    add_watch = INotify.add_watch

    def refuse_jobs(self, path, mask):
        if Path(path).name.startswith("job."):
            raise OSError(errno.ENOSPC, "No space left on device")
        return add_watch(self, path, mask)

    monkeypatch.setattr(INotify, "add_watch", refuse_jobs)
    monkeypatch.setattr("datalad_slurm.site.spool._LOOK_AGAIN", 0.05)
    with Spool(root, watch=True) as spool:
        directory = begin(root, 6)
        assert taken(spool, 0) == []
        (directory / "environment").write_bytes(b"\0\0\0\0")
        (directory / "script").write_bytes(b"\0")
        assert taken(spool, 0.2) == [6]


def test_a_spool_that_goes_away_and_comes_back_is_watched_again(root, monkeypatch, caplog):
    monkeypatch.setattr("datalad_slurm.site.spool._LOOK_AGAIN", 0.02)
    with Spool(root, watch=True) as spool:
        root.rmdir()
        for _ in range(3):
            spool.wait([], 0.1)
        assert f"the spool {root} cannot be read: No such file" in caplog.text
        root.mkdir()
        submit(root, 8)
        spool.wait([], 0.1)
        assert taken(spool) == [8]
        submit(root, 18)
        assert taken(spool) == [18]


@pytest.mark.parametrize("kind", ["missing", "file"])
@pytest.mark.parametrize("watch", [False, True])
def test_a_spool_that_cannot_be_read_is_refused_in_one_sentence(root, kind, watch):
    where = root / "x"
    if kind == "file":
        where.touch()
    with pytest.raises(InvalidRequestError, match=rf"^the spool {where} cannot be read: [^\n]*$"):
        Spool(where, watch=watch)


def test_a_directory_that_is_no_spool_is_doubted(root, caplog):
    with Spool(root, watch=False) as spool:
        assert spool.take(10) == []
    assert "has no directories hash.* yet; is it slurmctld's StateSaveLocation?" in caplog.text


def test_without_the_library_it_is_named_and_once_needs_none(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "inotify_simple", None)
    with pytest.raises(InvalidRequestError, match=r"pip install '\.\[site\]'"):
        Spool(root, watch=True)
    submit(root, 1)
    with Spool(root, watch=False) as spool:
        assert [job.job_id for job in spool.take(10)] == [1]
