"""What the tests of `--alt-dir` have in common."""

from __future__ import annotations

import os

NO_UTF8 = os.fsdecode(b"\xff\xfe")


def held_jobs(slurm):
    lines = slurm.run("squeue", "-h", "-o", "%A|%Z").splitlines()
    return [(int(line.partition("|")[0]), line.partition("|")[2]) for line in lines]


def content(directory):
    """Return all that is in a directory, without what is ours."""
    return sorted(
        os.path.relpath(os.path.join(where, name), directory)
        for where, dirs, files in os.walk(directory)
        for name in (*dirs, *files)
        if ".datalad-slurm" not in os.path.join(where, name)
    )


def assert_clean(box, directory):
    assert list(directory.iterdir()) == []
    assert box.status() == ""
    assert box.git("annex", "fsck", "--quiet") == ""
    assert list((box.path / ".git/datalad-slurm/alt-dir").glob("*.json")) == []
    assert not (box.path / ".git/datalad-slurm/incoming").exists()


def messages(results):
    return [res.get("message", "") for res in results if res["status"] not in ("ok", "notneeded")]
