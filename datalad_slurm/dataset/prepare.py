"""Make room for what a job is going to write."""

from __future__ import annotations

import json
from collections.abc import Iterable

from datalad_slurm.dataset.git import Repo, in_argument_chunks
from datalad_slurm.dataset.paths import walk
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["is_annex_link", "make_writable"]


def make_writable(repo: Repo, outputs: Iterable[str]) -> tuple[list[str], list[str]]:
    """Unlock annexed files at and below outputs; remove those without content.

    As `datalad run` does. Only links into the annex are touched, and without
    any no program is started.

    Returns
    -------
    tuple of list of str
        Paths that were unlocked, and paths that were removed.

    Raises
    ------
    DatasetError
        When git-annex cannot unlock a file.
    """
    links = [
        path
        for output in dict.fromkeys(outputs)
        for path, _ in walk(repo, output)
        if is_annex_link(repo, path)
    ]
    present = [path for path in links if (repo.root / path).exists()]
    absent = [path for path in links if not (repo.root / path).exists()]
    for chunk in in_argument_chunks(present):
        said = repo.run(
            "annex", "unlock", "--json", "--json-error-messages", "--", *chunk, ok_codes=(0, 1)
        )
        for line in said.splitlines():
            answer = json.loads(line)
            if not answer.get("success"):
                words = " ".join(answer.get("error-messages") or [])
                raise DatasetError(f"cannot unlock '{answer.get('file')}': {words}")
    still_locked = next((path for path in present if (repo.root / path).is_symlink()), None)
    if still_locked is not None:
        raise DatasetError(f"git-annex left '{still_locked}' locked; is it committed?")
    for path in absent:
        (repo.root / path).unlink()
    return present, absent


def is_annex_link(repo: Repo, path: str) -> bool:
    """Return whether a path is the link of a locked annexed file."""
    try:
        target = (repo.root / path).readlink()
    except OSError:
        return False
    return "annex/objects/" in str(target)
