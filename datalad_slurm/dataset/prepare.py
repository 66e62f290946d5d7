"""Make room for what a job is going to write."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import NamedTuple

from datalad_slurm.dataset.git import Repo, in_argument_chunks, without_call_stack
from datalad_slurm.dataset.paths import inside, matches, walk
from datalad_slurm.dataset.subdatasets import Hierarchy
from datalad_slurm.jobs.errors import DatasetError
from datalad_slurm.jobs.globs import parse_glob

__all__ = ["Prepared", "find_locked", "is_annex_link", "make_writable", "undo"]


class Prepared(NamedTuple):
    """What is done to make room, so that it can be undone."""

    unlocked: tuple[str, ...] = ()
    #: path and target of links whose content is not here
    removed: tuple[tuple[str, str], ...] = ()


def find_locked(
    hierarchy: Hierarchy, outputs: Iterable[str], paths: Iterable[str] = ()
) -> Prepared:
    """Return which annexed files at and below outputs must make way for a job.

    As `datalad run` does, a link without content is removed when it is an
    output itself, or matched by one, but left alone when it only lies in a
    directory that is one. What lies behind a link that leads out of the
    repository is left alone, too. Without any locked file no program is
    started.

    Parameters
    ----------
    hierarchy : Hierarchy
        The dataset.
    outputs : iterable of str
        Claims, which may be globs.
    paths : iterable of str
        Further paths to treat like outputs.

    Raises
    ------
    DatasetError
        When a directory cannot be read.
    """
    repo, is_subdataset = hierarchy.top, hierarchy.is_subdataset
    outputs, paths = set(outputs), list(paths)
    try:
        tops = [*paths, *(path for out in outputs for path in matches(repo, out, is_subdataset))]
        tops = [path for path in tops if inside(repo, str(repo.root / path)) == path]
        found = dict.fromkeys(path for top in tops for path, _ in walk(repo, top, is_subdataset))
    except OSError as exc:
        raise DatasetError(
            f"cannot see what there is of the outputs: {exc.strerror} ({exc.filename})"
        ) from exc
    links = [path for path in found if is_annex_link(repo, path)]
    present = [path for path in links if (repo.root / path).exists()]
    absent = sorted(
        path
        for path in set(links).difference(present)
        if path in paths or any(parse_glob(output).matches(path) for output in outputs)
    )
    removed = tuple((path, str((repo.root / path).readlink())) for path in absent)
    return Prepared(tuple(present), removed)


def make_writable(hierarchy: Hierarchy, prepared: Prepared) -> None:
    """Unlock files, and remove links without content.

    Raises
    ------
    DatasetError
        When git-annex cannot unlock a file.
    """
    for name, members in hierarchy.by_holder(prepared.unlocked).items():
        _unlock(hierarchy.repo(name), [hierarchy.within(name, path) for path in members])
    for path, _ in prepared.removed:
        (hierarchy.top.root / path).unlink()


def _unlock(repo: Repo, paths: list[str]) -> None:
    for chunk in in_argument_chunks(paths):
        _spare_waiting(repo)
        said = repo.run(
            "annex", "unlock", "--json", "--json-error-messages", "--", *chunk, ok_codes=(0, 1)
        )
        for line in said.splitlines():
            answer = json.loads(line)
            if not answer.get("success"):
                words = without_call_stack("\n".join(answer.get("error-messages") or []))
                raise DatasetError(
                    f"cannot unlock '{answer.get('file')}': {' '.join(words.split())}"
                )
    still_locked = next((path for path in paths if (repo.root / path).is_symlink()), None)
    if still_locked is not None:
        raise DatasetError(f"git-annex left '{still_locked}' locked; is it committed?")


def _spare_waiting(repo: Repo) -> None:
    """Have git look again at files that were written in the second in which the index was.

    git asks git-annex's filter about these when it next writes the index. Where git-annex locks
    with a file (annex.pidlock, which it sets itself on file systems without locks), the filter
    then waits five minutes for the lock that `git annex unlock`, or `lock`, holds (10.20230126).
    """
    if repo.ask("config", "--type=bool", "annex.pidlock") != "true":
        return
    try:
        written = (repo.git_dir / "index").stat().st_mtime
    except FileNotFoundError:
        return
    time.sleep(min(1.0, max(0.0, int(written) + 1 - time.time())))
    # that somebody else is at it, git-annex will say
    repo.run("update-index", "--force-write-index", ok_codes=(0, 128))


def undo(hierarchy: Hierarchy, prepared: Prepared) -> None:
    """Lock again what was unlocked, and put back the links that were removed."""
    for path, target in prepared.removed:
        link = hierarchy.top.root / path
        if not (link.is_symlink() or link.exists()):
            link.symlink_to(target)
    for name, members in hierarchy.by_holder(prepared.unlocked).items():
        for chunk in in_argument_chunks(hierarchy.within(name, path) for path in members):
            _spare_waiting(hierarchy.repo(name))
            hierarchy.repo(name).run("annex", "lock", "--quiet", "--", *chunk, ok_codes=(0, 1))


def is_annex_link(repo: Repo, path: str) -> bool:
    """Return whether a path is the link of a locked annexed file."""
    try:
        target = (repo.root / path).readlink()
    except OSError:
        return False
    return "annex/objects/" in str(target)
