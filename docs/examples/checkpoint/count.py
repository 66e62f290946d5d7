#!/usr/bin/env python3
"""Adds up the numbers from 1 to N, one every PAUSE seconds, and writes the sum to OUTPUT.

With `datalad slurm-schedule --checkpoint OUTPUT.state` it goes on where it was interrupted.
"""

import signal
import sys
import time
from pathlib import Path


def save(state: Path, number: int, total: int) -> None:
    """Write the state; a rename replaces it at once: there is a whole one at any time."""
    new = Path(f"{state}.new")
    new.write_text(f"{number} {total}")
    new.replace(state)


def main(last: str, pause: str, output: str) -> None:
    """Count, and write a checkpoint when one is wanted, or when the time is over."""
    received: set[int] = set()
    for wanted in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(wanted, lambda which, _: received.add(which))
    state = Path(f"{output}.state")
    number = total = 0
    if state.exists():
        number, total = map(int, state.read_text().split())
    print("from", number, flush=True)
    while number < int(last):
        time.sleep(float(pause))
        number += 1
        total += number
        if received:
            save(state, number, total)
        if signal.SIGTERM in received:
            sys.exit(0)
        received.clear()
    Path(output).write_text(f"{total}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
