#!/usr/bin/env python3
"""Adds up the numbers from 1 to N as count.py does, but handles no signals.

All it does is to write its state every EVERY numbers.
"""

import sys
import time
from pathlib import Path


def main(last: str, pause: str, output: str, every: str) -> None:
    """Count, and write a checkpoint every now and then."""
    state, new = Path(f"{output}.state"), Path(f"{output}.state.new")
    number = total = 0
    if state.exists():
        number, total = map(int, state.read_text().split())
    print("from", number, flush=True)
    while number < int(last):
        time.sleep(float(pause))
        number += 1
        total += number
        if number % int(every) == 0:
            new.write_text(f"{number} {total}")
            new.replace(state)
    Path(output).write_text(f"{total}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
