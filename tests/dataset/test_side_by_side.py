"""Many files at a time: all of them, in order, and none more after a failure."""

from __future__ import annotations

import os
import resource
import threading
import time
from types import SimpleNamespace

import pytest

from datalad_slurm.dataset.side_by_side import _suitable_threads, side_by_side


@pytest.mark.parametrize("seconds", [0, 0.001])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 500])
def test_each_item_is_done_once_and_answers_come_in_order(count, seconds):
    done = []

    def double(item, _):
        time.sleep(seconds)
        done.append(item)
        return item * 2

    assert side_by_side(double, range(count)) == [item * 2 for item in range(count)]
    assert sorted(done) == list(range(count))


def test_those_that_wait_are_done_at_the_same_time_and_have_different_numbers():
    barrier = threading.Barrier(8, timeout=60)

    def meet(item, number):
        if item < 64:
            time.sleep(0.001)
        else:
            barrier.wait()  # nobody comes through before there are eight
        return number

    assert sorted(side_by_side(meet, range(128))) == sorted([0] * 64 + [*range(8)] * 8)


def test_those_that_do_not_wait_are_done_one_by_one(monkeypatch):
    # whatever else this machine does
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_stime=0.0))
    assert side_by_side(lambda _, number: sum(range(5000)) and number, range(1000)) == [0] * 1000


@pytest.mark.parametrize(
    ("elapsed", "worked", "in_kernel", "cores", "threads"),
    [
        (1.0, 0.2, 0.1, 2, 8),  # it waits for a server
        (1.0, 0.2, 0.1, 1, 8),
        (1.0, 0.9, 0.8, 2, 2),  # the kernel is busy
        (1.0, 0.9, 0.8, 64, 4),
        (1.0, 0.9, 0.8, 1, 1),
        (1.0, 0.9, 0.5, 64, 1),  # Python is
        (1.0, 0.9, 0.0, 64, 1),
    ],
)
def test_there_are_as_many_threads_as_can_be_of_use(
    monkeypatch, elapsed, worked, in_kernel, cores, threads
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert _suitable_threads(elapsed, worked, in_kernel) == threads


@pytest.mark.parametrize("place", [20, 100])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_after_a_failure_nothing_more_is_begun_and_it_is_raised_when_all_are_done(error, place):
    begun, ended = [], []

    def fail(item, number):
        begun.append(item)
        if item == place:
            raise error(str(item))
        time.sleep(0.01)
        ended.append(item)

    with pytest.raises(error, match=str(place)):
        side_by_side(fail, range(10_000))
    assert len(begun) < place + 60
    assert {*begun} == {*ended, place}
    now = len(begun)
    time.sleep(0.1)
    assert len(begun) == now


def test_after_an_interrupt_while_it_waits_for_the_others_nothing_goes_on(monkeypatch):
    begun, join = [], threading.Thread.join
    is_interrupted = threading.Event()

    def interrupted(self, *args):
        if not is_interrupted.is_set():
            is_interrupted.set()
            raise KeyboardInterrupt
        join(self, *args)

    def work(item, number):
        begun.append(item)
        time.sleep(0.001 if item < 64 else 0.2)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        side_by_side(work, range(100))
    now = len(begun)
    time.sleep(0.5)
    assert len(begun) == now


def test_without_threads_it_is_done_all_the_same(monkeypatch):
    def no_more(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    assert side_by_side(lambda item, number: time.sleep(0.001) or number, range(100)) == [0] * 100
