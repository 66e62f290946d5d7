"""Do the same with many files, several at a time.

A call that makes, links or renames a file waits for a file server, on a parallel file
system for a millisecond or more; several wait no longer than one. On a local disk it may
keep the kernel busy, which can be so on several cores.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

__all__ = ["side_by_side"]

Item = TypeVar("Item")
Result = TypeVar("Result")

#: More would be a burden to the server.
_THREADS = 8
#: On a local disk, as one process among many on a login node. In a dataset on an ext4 that took
#: 0.3 ms to make a directory, two threads on two cores took 0.75 of the time, four no less.
_LOCAL_THREADS = 4
#: So many are done one by one, to see whether they wait, or keep the kernel busy: where
#: neither is so, threads would only be in each other's way.
_FIRST = 64


def side_by_side(work: Callable[[Item, int], Result], items: Sequence[Item]) -> list[Result]:
    """Do something with each of many items, and return what came of each, in their order.

    Parameters
    ----------
    work : callable
        Takes an item, and a number which it has for itself meanwhile, from 0.
    items : sequence
        The items, each of which concerns other files than the rest.

    Raises
    ------
    BaseException
        What the first that failed has raised, or an interrupt; those that others were at are
        done by then, and no more are begun.
    """
    began, worked, in_kernel = time.perf_counter(), time.thread_time(), _time_in_kernel()
    first = [work(item, 0) for item in items[:_FIRST]]
    worked = time.thread_time() - worked
    in_kernel = _time_in_kernel() - in_kernel
    count = _suitable_threads(time.perf_counter() - began, worked, in_kernel)
    if count < 2:
        return first + [work(item, 0) for item in items[_FIRST:]]
    results = dict(enumerate(first))
    errors: list[BaseException] = []
    places = iter(range(len(first), len(items)))
    lock = threading.Lock()

    def run(number: int) -> None:
        try:
            while not errors:
                with lock:
                    place = next(places, None)
                if place is None:
                    return
                results[place] = work(items[place], number)
        except BaseException as exc:  # raised again below
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, count)]
    try:
        with suppress(RuntimeError):  # a limit of the login node: those there are do it
            for thread in threads:
                thread.start()
        run(0)
        _await(threads)
    except BaseException as exc:  # an interrupt while it waits for the others
        errors.append(exc)
        _await(threads)
    if errors:
        raise errors[0]
    return [results[place] for place in range(len(items))]


def _time_in_kernel() -> float:
    """Return seconds that this thread has spent in system calls, by the kernel's coarse clock."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_stime


def _suitable_threads(elapsed: float, worked: float, in_kernel: float) -> int:
    """Return how many threads to use, from the seconds that the first items took."""
    if elapsed >= 2 * worked:
        return _THREADS
    if in_kernel > 0.75 * worked:
        return min(_LOCAL_THREADS, len(os.sched_getaffinity(0)))
    return 1


def _await(threads: Iterable[threading.Thread]) -> None:
    """Wait for the threads that were started."""
    for thread in threads:
        if thread.ident is not None:
            thread.join()
