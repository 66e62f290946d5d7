"""Keep the environment in which a job was submitted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from datalad_slurm.jobs.archive import ENVIRONMENT, archive_path, digest_of
from datalad_slurm.jobs.environment import Keep, kept_of, parse_environment, render_environment
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.workflow.context import Context, lgr

__all__ = ["have_environment_noted", "noted_environment", "with_environment"]

#: Name of the note in which our sbatch lists its environment.
_NOTE = "environ"


def with_environment(context: Context, claims: Sequence[TrackedJob]) -> list[TrackedJob]:
    """Return claims, not in the database yet, with the environment of this process."""
    keep = context.settings.archive_environment
    if keep is Keep.FULL:
        _warn(str(context.repo.root))
    entry, contents = _kept(os.environ, keep)
    return [
        replace(
            claim,
            identities={**claim.identities, **entry},
            contents={**claim.contents, **contents},
        )
        for claim in claims
    ]


@cache
def _warn(_root: str) -> None:
    lgr.warning(
        "datalad.slurm.archive-environment is full: every variable of the environment, also "
        "passwords and tokens, will be committed with the job, and published with the dataset; "
        "`filtered` leaves out what is no business of others"
    )


def have_environment_noted(context: Context, notes: Path) -> None:
    """Have our sbatch note the environment in which it is called, readable for the user only."""
    keep = context.settings.archive_environment
    if keep is Keep.FULL:
        _warn(str(context.repo.root))  # a job that is submitted again was not claimed just now
    if keep is not Keep.NONE:
        os.close(os.open(notes / _NOTE, os.O_WRONLY | os.O_CREAT, 0o600))


def noted_environment(context: Context, notes: Path) -> tuple[dict[str, Any], Mapping[str, bytes]]:
    """Return what our sbatch has noted, as an addition to a job's identities, and its content."""
    try:
        listed = (notes / _NOTE).read_bytes()
    except OSError:
        listed = b""
    if not listed:
        return {}, {}
    return _kept(parse_environment(listed), context.settings.archive_environment)


def _kept(environment: Mapping[str, str], keep: Keep) -> tuple[dict[str, Any], Mapping[str, bytes]]:
    if keep is Keep.NONE:
        return {}, {}
    content = render_environment(kept_of(environment, keep))
    digest = digest_of(content)
    entry = {"sha256": digest, "archived": archive_path(digest, ".env"), "kept": keep.value}
    return {ENVIRONMENT: entry}, {digest: content}
