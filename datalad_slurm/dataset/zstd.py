"""Read what zstd has compressed, through its program: Python can do so from 3.14 on only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from datalad_slurm.jobs.errors import TransferError

__all__ = ["decompressed", "is_here"]

_CHUNK = 2**20


def is_here() -> bool:
    """Return whether zstd is on the ``PATH`` of this machine."""
    return shutil.which("zstd") is not None


@contextmanager
def decompressed(path: Path) -> Iterator[BinaryIO]:
    """Open a file that zstd has compressed, to read its content as a stream.

    What the caller has left of it is read in the end, as there may be damage.

    Raises
    ------
    TransferError
        When zstd could not read the file to its end.
    OSError
        When the file cannot be opened, or zstd cannot be started.
    """
    with (
        path.open("rb") as file,
        subprocess.Popen(
            ["zstd", "-dcq"], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child,
    ):
        content, words = cast("BinaryIO", child.stdout), cast("BinaryIO", child.stderr)
        try:
            yield content
            while content.read(_CHUNK):
                pass
            said = os.fsdecode(words.read()).strip()
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        raise TransferError(
            f"{path} cannot be decompressed: {said or f'zstd has ended with {child.returncode}'}"
        )
