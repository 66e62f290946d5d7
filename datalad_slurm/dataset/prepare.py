"""Make room for what a job is going to write."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from datalad_slurm.dataset.git import Repo, in_argument_chunks
from datalad_slurm.dataset.paths import inside, walk
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["Prepared", "is_annex_link", "make_writable", "undo"]


@dataclass(frozen=True)
class Prepared:
    """What was done to make room, so that it can be undone."""

    unlocked: tuple[str, ...] = ()
    #: path and target of links whose content is not here
    removed: tuple[tuple[str, str], ...] = ()


def make_writable(repo: Repo, outputs: Iterable[str]) -> Prepared:
    """Unlock annexed files at and below outputs; remove outputs without content.

    As `datalad run` does, a link without content is removed when it is an
    output itself, but left alone when it only lies in a directory that is one.
    What lies behind a link that leads out of the repository is left alone, too.
    Without any locked file no program is started.

    Raises
    ------
    DatasetError
        When git-annex cannot unlock a file.
    """
    outputs = [o for o in dict.fromkeys(outputs) if inside(repo, str(repo.root / o)) == o]
    found = dict.fromkeys(path for output in outputs for path, _ in walk(repo, output))
    links = [path for path in found if is_annex_link(repo, path)]
    present = [path for path in links if (repo.root / path).exists()]
    absent = sorted(set(outputs).intersection(links).difference(present))
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
    removed = tuple((path, str((repo.root / path).readlink())) for path in absent)
    for path in absent:
        (repo.root / path).unlink()
    return Prepared(tuple(present), removed)


def undo(repo: Repo, prepared: Prepared) -> None:
    """Lock again what was unlocked, and put back the links that were removed."""
    for path, target in prepared.removed:
        if not (repo.root / path).exists():
            (repo.root / path).symlink_to(target)
    for chunk in in_argument_chunks(prepared.unlocked):
        repo.run("annex", "lock", "--quiet", "--", *chunk, ok_codes=(0, 1))


def is_annex_link(repo: Repo, path: str) -> bool:
    """Return whether a path is the link of a locked annexed file."""
    try:
        target = (repo.root / path).readlink()
    except OSError:
        return False
    return "annex/objects/" in str(target)
