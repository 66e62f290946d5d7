"""Write many blobs into the object database as one pack, instead of a file each."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

from datalad_slurm.dataset.git import Repo
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["write_blobs"]


def write_blobs(repo: Repo, contents: Iterable[bytes]) -> list[str]:
    """Write blobs, and return their ids in the same order.

    Parameters
    ----------
    repo : Repo
        The repository.
    contents : iterable of bytes
        Asked for one at a time, so they need not all be in memory.

    Raises
    ------
    DatasetError
        When git fails; then none of them counts as written.

    Notes
    -----
    ``git fast-import`` writes a pack. Fewer than ``fastimport.unpackLimit`` objects
    (100 by default) it turns into single files.
    """
    marks = repo.state_file("blobs.marks")
    process = repo.start("fast-import", "--quiet", "--done", f"--export-marks={marks}")
    count = 0
    try:
        try:
            count = _feed(process, contents)
        finally:
            process.communicate()  # closes its stdin, without which it does not end
        if process.returncode != 0:
            raise DatasetError(
                f"git fast-import failed with exit code {process.returncode} while it wrote "
                "blobs; is the disk full?"
            )
        by_mark = dict(line.split() for line in marks.read_text().splitlines())
    except BrokenPipeError as exc:
        raise DatasetError(
            "git fast-import ended early while it wrote blobs; is the disk full?"
        ) from exc
    finally:
        marks.unlink(missing_ok=True)
    return [by_mark[f":{number}"] for number in range(1, count + 1)]


def _feed(process: subprocess.Popen[bytes], contents: Iterable[bytes]) -> int:
    if process.stdin is None:
        raise DatasetError("git fast-import has no pipes")
    count = 0
    for count, content in enumerate(contents, start=1):
        process.stdin.write(b"blob\nmark :%d\ndata %d\n" % (count, len(content)))
        process.stdin.write(content)
        process.stdin.write(b"\n")
    # without this line fast-import fails: what breaks off in between is not taken for the whole
    process.stdin.write(b"done\n")
    process.stdin.flush()
    return count
