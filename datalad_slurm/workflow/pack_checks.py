"""Refuse what cannot be packed, before a job is submitted."""

from __future__ import annotations

import os
from collections.abc import Sequence

from datalad_slurm.dataset.pack_members import backend_for, why_not_registered
from datalad_slurm.dataset.paths import walk
from datalad_slurm.dataset.prepare import is_annex_link
from datalad_slurm.jobs.claims import ancestors, is_glob, top_of
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.packs import (
    PACK,
    Pack,
    archive_of,
    can_be_located,
    manifest_of,
    name_in_archive,
)
from datalad_slurm.jobs.task_outputs import is_template, marked
from datalad_slurm.workflow.context import Context

__all__ = ["PackCheck"]


class PackCheck:
    """Looks whether jobs can have directories packed; each repository is asked about once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reasons: dict[str, str] = {}

    def refuse_unfit(self, claim: TrackedJob) -> None:
        """Raise InvalidRequestError when an output of a job cannot be packed."""
        pack = Pack.read(claim.extra.get(PACK))
        if pack is None:
            return
        globs = [path for path in pack.paths if is_glob(path)]
        if globs:
            raise InvalidRequestError(
                f"--pack takes a directory, and '{globs[0]}' is a pattern for several; name each "
                "of them"
            )
        directories = [marked(path) for path in pack.paths]
        exact = [top_of(each) for each in directories if not is_template(each)]
        for path in exact:
            self._refuse_directory(path, exact, is_only=pack.only)
        for directory in directories:
            # of a pattern it is known which repository holds what it will stand for
            inner = (
                f"{top_of(directory)}/x".lstrip("/")
                if is_template(directory)
                else top_of(directory)
            )
            self._refuse_repository(self._context.hierarchy.holder(inner), inner, is_only=pack.only)

    def _refuse_directory(self, path: str, paths: Sequence[str], *, is_only: bool) -> None:
        if not path:
            raise InvalidRequestError("the dataset itself cannot be packed; name a directory in it")
        outer = next((above for above in ancestors(path) if above != path and above in paths), None)
        if outer is not None:
            raise InvalidRequestError(
                f"'{path}' lies in '{outer}', and both are to be packed; name the outer one"
            )
        if not is_only and not can_be_located(name_in_archive(path, path)):
            raise InvalidRequestError(
                f"the name of '{path}' cannot be part of the URLs of its files; rename it, or "
                "leave out the files with --pack-only"
            )
        self._refuse_what_is_there(path)

    def _refuse_what_is_there(self, path: str) -> None:
        target = self._context.repo.root / path
        archive, manifest = archive_of(path), manifest_of(path)
        if os.path.lexists(target) and not target.is_dir():
            raise InvalidRequestError(f"--pack takes a directory, and '{path}' is none")
        root = self._context.repo.root
        if os.path.lexists(root / archive) and not os.path.lexists(root / manifest):
            raise InvalidRequestError(
                f"'{archive}', where the archive of '{path}' is to be, is there and was not made "
                f"by --pack, as there is no '{manifest}'; choose another directory, or move it"
            )
        if not os.path.lexists(root / archive):
            self._refuse_absent(path)
        hierarchy = self._context.hierarchy
        if list(hierarchy.around(path)) != [hierarchy.holder(archive)]:
            raise InvalidRequestError(
                f"'{path}' is, or holds, a subdataset, of which no archive can be made; name "
                "directories in that"
            )

    def _refuse_absent(self, path: str) -> None:
        """Refuse files without content that no archive holds: they cannot be packed."""
        repo = self._context.repo
        for below, _ in walk(repo, path):
            if is_annex_link(repo, below) and not (repo.root / below).exists():
                raise InvalidRequestError(
                    f"'{path}' cannot be packed: the content of '{below}' is not here; `datalad "
                    "get` it, or name another directory"
                )

    def _refuse_repository(self, holder: str, path: str, *, is_only: bool) -> None:
        repo = self._context.hierarchy.repo(holder)
        if not repo.has_annex:
            raise InvalidRequestError("--pack needs git-annex: `git annex init` sets it up")
        if is_only:
            return
        if holder not in self._reasons:
            inner = self._context.hierarchy.within(holder, archive_of(path))
            self._reasons[holder] = why_not_registered(repo, backend_for(repo, inner))
        if self._reasons[holder]:
            raise InvalidRequestError(
                "files cannot be committed here that are stored in an archive only: "
                f"{self._reasons[holder]}; leave them out with --pack-only"
            )
