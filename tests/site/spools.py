"""A spool that is written as slurmctld writes its own."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path


def submit(spool: Path, job_id: int, script: bytes = b"#!/bin/sh\n", **variables: str) -> Path:
    """Write a job in the order in which slurmctld 22.05 was seen to do it; return its directory."""
    directory = begin(spool, job_id)
    strings = [f"{name}={value}".encode() + b"\0" for name, value in variables.items()]
    raw = struct.pack("=I", len(strings)) + b"".join(strings)
    (directory / "environment").write_bytes(raw)
    (directory / "script").write_bytes(script + b"\0")
    return directory


def begin(spool: Path, job_id: int) -> Path:
    """Make a job's directory."""
    directory = spool / f"hash.{job_id % 10}" / f"job.{job_id}"
    directory.parent.mkdir(exist_ok=True)
    directory.mkdir()
    return directory


def purge(directory: Path) -> None:
    """Remove a job."""
    shutil.rmtree(directory)
