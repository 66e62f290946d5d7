"""Pack output directories at finish, and have their members come out of the archives."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from datalad_slurm.dataset.files import plain_stat
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.keys import BACKENDS, is_key_of
from datalad_slurm.dataset.pack_archive import Entry, write_archive
from datalad_slurm.dataset.pack_members import (
    PackedFile,
    algorithm_of,
    backend_for,
    register,
    why_not_registered,
)
from datalad_slurm.dataset.packed_tree import Found
from datalad_slurm.dataset.paths import walk
from datalad_slurm.dataset.prepare import is_annex_link
from datalad_slurm.dataset.publish import read_head
from datalad_slurm.dataset.stage import Staging
from datalad_slurm.dataset.transfer import place_of_part
from datalad_slurm.dataset.tree import TreeReader
from datalad_slurm.jobs.claims import is_below, is_glob, top_of
from datalad_slurm.jobs.errors import TransferError
from datalad_slurm.jobs.model import TrackedJob
from datalad_slurm.jobs.notes import COMMITTED_IN
from datalad_slurm.jobs.packs import (
    PACK,
    Pack,
    archive_of,
    can_be_located,
    manifest_of,
    name_in_archive,
    packed_outputs,
    rendered_manifest,
)
from datalad_slurm.workflow.bring_back import make_way
from datalad_slurm.workflow.collect import Findings, leads_elsewhere
from datalad_slurm.workflow.context import Context
from datalad_slurm.workflow.packed_directories import PackedDirectory

__all__ = [
    "directories_to_pack",
    "is_streamed",
    "pack_outputs",
    "stage_members",
]


def directories_to_pack(context: Context, job: TrackedJob) -> tuple[str, ...]:
    """Return the directories of a job, or of the part of it at hand, that are to be packed."""
    return tuple(
        top_of(claim)
        for claim in packed_outputs(job)
        if not is_glob(claim) and not leads_elsewhere(context.repo, claim)
    )


def is_streamed(job: TrackedJob, directories: Collection[str], path: str, entry: Entry) -> bool:
    """Return whether a file in the archive of a node goes right into that of its directory.

    Not so what is committed as a file of its own, and what is no file.
    """
    directory = next((each for each in directories if is_below(path, each)), None)
    if directory is None or entry.source is None:
        return False
    return _is_only(job) or can_be_located(name_in_archive(directory, path))


def _is_only(job: TrackedJob) -> bool:
    pack = Pack.read(job.extra.get(PACK))
    return pack is not None and pack.only


def pack_outputs(
    context: Context,
    job: TrackedJob,
    others: Container[str],
    streamed: Mapping[str, Entry],
) -> tuple[PackedDirectory, ...]:
    """Write the archives and manifests of the directories in which a job has left something.

    The files themselves stay where they are.

    Parameters
    ----------
    context : Context
        The dataset.
    job : TrackedJob
        The job, or part of one.
    others : container of str
        Logs of other open jobs: those may still be written.
    streamed : mapping
        Files that a node has brought back and that are to be packed, by their paths.

    Raises
    ------
    TransferError
        When a directory cannot be packed.
    OSError
        When something cannot be read or written.
    """
    packed = []
    for directory in directories_to_pack(context, job):
        contents = _Contents(context.repo, directory, others)
        contents.add_streamed(streamed)
        if contents.entries:
            packed.append(_packed(context, directory, contents, is_only=_is_only(job)))
    return tuple(packed)


class _Contents:
    """What is in a directory, by its path relative to the root."""

    def __init__(self, repo: Repo, directory: str, others: Container[str]) -> None:
        self._repo = repo
        self._directory = directory
        self.entries: dict[str, Entry] = {}
        #: what is in the working tree
        self.found: dict[str, Found] = {}
        self.stale: dict[str, str] = {}
        top = repo.root / directory
        if top.is_dir() and not top.is_symlink():
            for path, is_committable in walk(repo, directory):
                if is_committable and path not in others:
                    self._add(path)
            self._add_empty_directories(top)

    def add_streamed(self, streamed: Mapping[str, Entry]) -> None:
        for path, entry in streamed.items():
            if is_below(path, self._directory):
                self.stale.pop(path, None)
                self.found.setdefault(path, None)
                self.entries[path] = replace(entry, name=self._name(path))

    def in_order(self) -> dict[str, Entry]:
        """Return what is to be packed, always in the same order."""
        return {path: self.entries[path] for path in sorted(self.entries, key=os.fsencode)}

    def _name(self, path: str) -> str:
        return name_in_archive(self._directory, path)

    def _add(self, path: str) -> None:
        source = self._repo.root / path
        name = self._name(path)
        found = source.lstat()
        self.found[path] = plain_stat(found)
        if stat.S_ISLNK(found.st_mode):
            text = os.readlink(source)  # noqa: PTH115 - a text
            self.found[path] = text
            if not is_annex_link(self._repo, path):
                self.entries[path] = Entry(name, target=text)
                return
            source = source.resolve()
            if not source.is_file():
                self.stale[path] = text
                return
            found = source.stat()
        is_executable = bool(found.st_mode & stat.S_IXUSR)
        self.entries[path] = Entry(
            name, source, 0, found.st_size, is_executable, file_stat=plain_stat(found)
        )

    def _add_empty_directories(self, top: Path) -> None:
        for directory, below, files in os.walk(top):
            if not below and not files and directory != str(top):
                path = os.path.relpath(directory, self._repo.root)
                self.entries[path] = Entry(self._name(path))


def _packed(
    context: Context, directory: str, contents: _Contents, *, is_only: bool
) -> PackedDirectory:
    """Write the archive and the manifest of a directory."""
    entries = contents.in_order()
    archive, manifest = archive_of(directory), manifest_of(directory)
    holder = context.hierarchy.holder(archive)
    repo = context.hierarchy.repo(holder)
    make_way(context, archive)
    make_way(context, manifest)
    backend = backend_for(repo, context.hierarchy.within(holder, archive))
    _refuse_unfit(context, directory, "" if is_only else why_not_registered(repo, backend))
    _refuse_absent(context, directory, contents.stale)
    root = context.repo.root
    parts = repo.state_file("packed.part").parent
    with _replaced(root / archive, parts) as part:
        written = write_archive(entries.values(), part, algorithm_of(backend))
        # first, as an archive without a manifest is somebody else's
        with _replaced(root / manifest, parts) as text:
            text.write_text(rendered_manifest(Path(archive).name, written.members))
    members = zip(entries.items(), written.members, written.digests, strict=True)
    files = tuple(
        PackedFile(path, member, digest, contents.found[path])
        for (path, entry), member, digest in members
        if entry.source is not None
    )
    links = {path: entry.target for path, entry in entries.items() if entry.target is not None}
    return PackedDirectory(
        directory, backend, written.digest, files, links, contents.stale, is_only=is_only
    )


@contextmanager
def _replaced(target: Path, parts: Path) -> Iterator[Path]:
    """Put what is written meanwhile in the place of a file, all of it or nothing."""
    part = place_of_part(target, parts)
    part.unlink(missing_ok=True)  # of a finish that was killed
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _refuse_unfit(context: Context, directory: str, why_not: str) -> None:
    archive, manifest = archive_of(directory), manifest_of(directory)
    root, hierarchy = context.repo.root, context.hierarchy
    if why_not:
        raise TransferError(
            f"the files in '{directory}' cannot be stored in an archive only: {why_not}"
        )
    if list(hierarchy.around(directory)) != [hierarchy.holder(archive)]:
        raise TransferError(f"'{directory}' cannot be packed, as there is a subdataset in it")
    if (root / archive).exists() and not os.path.lexists(root / manifest):
        raise TransferError(
            f"'{archive}' is in the way of the archive of '{directory}', and was not made by "
            "slurm-finish; move it away"
        )


def _refuse_absent(context: Context, directory: str, stale: Collection[str]) -> None:
    """Refuse to leave out files without content that no archive holds."""
    absent = next(iter(stale), None)
    if absent is not None and not os.path.lexists(context.repo.root / archive_of(directory)):
        raise TransferError(
            f"'{directory}' cannot be packed: '{absent}' was there before, and its content is not "
            "here; `datalad get` it, or remove it"
        )


def stage_members(context: Context, found: Sequence[Findings], staging: Staging) -> None:
    """Register what is stored in archives, and add to a staging what is to be committed of it.

    An archive that does not hold what was written to it is a failure.

    Raises
    ------
    DatasetError
        When git or git-annex fails.
    """
    groups: dict[tuple[str, str], list[tuple[str, PackedFile]]] = {}
    for packed in (each for findings in found for each in findings.packed):
        archive = packed.archive
        if archive in staging.failures:
            continue
        key = staging.changes[archive].key
        if packed.backend in BACKENDS and not is_key_of(key, packed.backend, packed.digest):
            staging.failures[archive] = "it does not hold what was written to it"
            continue
        holder = context.hierarchy.holder(archive)
        for file in packed.registered:
            inner = replace(file, path=context.hierarchy.within(holder, file.path))
            groups.setdefault((holder, packed.backend), []).append((key, inner))
    for (holder, backend), files in groups.items():
        above = f"{holder}/" if holder else ""
        changes = register(context.hierarchy.repo(holder), backend, files)
        staging.changes.update((above + change.path, change) for change in changes)
    for findings in found:
        if findings.packed and findings.job.extra.get(COMMITTED_IN):
            _leave_out_committed(context, findings, staging)


def _leave_out_committed(context: Context, findings: Findings, staging: Staging) -> None:
    """Take out of a staging what an interrupted finish has committed in subdatasets."""
    committed_in = findings.job.extra[COMMITTED_IN]
    for holder, members in context.hierarchy.by_holder(findings.paths).items():
        if holder not in committed_in:
            continue
        repo = context.hierarchy.repo(holder)
        with TreeReader(repo, read_head(repo).commit) as tree:
            for path in members:
                change = staging.changes.get(path)
                if change and tree.lookup(change.path) == (change.mode, change.blob):
                    del staging.changes[path]
