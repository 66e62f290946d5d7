"""Register the members of an archive as files of their own, whose content comes out of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datalad_slurm.dataset.annex_settings import read_annex_settings
from datalad_slurm.dataset.archivist import archivist_uuid
from datalad_slurm.dataset.blobs import write_blobs
from datalad_slurm.dataset.files import LINK_MODE
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.indexed import calculate_keys
from datalad_slurm.dataset.keys import BACKENDS, OBJECTS, keys_of_digests, places_of
from datalad_slurm.dataset.presence import add_to_logs
from datalad_slurm.dataset.stage import Change
from datalad_slurm.jobs.errors import DatasetError
from datalad_slurm.jobs.packs import Member, locator

__all__ = ["PackedFile", "algorithm_of", "backend_for", "register", "why_not_registered"]

_UNSPECIFIED = "unspecified"


@dataclass(frozen=True)
class PackedFile:
    """A file that an archive holds."""

    #: where it was, relative to the root
    path: str
    member: Member
    #: of its content, with the algorithm of the backend
    digest: str
    #: what is there in the working tree: size, modification time (ns) and inode of a file,
    #: text of a link, or nothing
    found: tuple[int, int, int] | str | None


def backend_for(repo: Repo, archive: str) -> str:
    """Return the backend that an archive will have, and its members with it.

    Parameters
    ----------
    repo : Repo
        A repository with git-annex.
    archive : str
        Where it is to be, relative to the root.
    """
    told = os.fsdecode(repo.run("check-attr", "-z", "annex.backend", "--", archive)).split("\0")
    if told[2] != _UNSPECIFIED:
        return told[2]
    probe = repo.state_file("backend.probe")
    probe.write_bytes(b"")
    try:
        (key,) = calculate_keys(repo, "", [str(probe)])
    finally:
        probe.unlink()
    return key.partition("-")[0]


def algorithm_of(backend: str) -> str:
    """Return the algorithm of a backend's digests, as `hashlib` names it."""
    return backend.removesuffix("E").lower() if backend in BACKENDS else "sha256"


def why_not_registered(repo: Repo, backend: str) -> str:
    """Return why files of a repository cannot be registered out of an archive, or nothing.

    They are committed as links whose content is elsewhere, which is what ``git annex add``
    and ``drop`` make of them where git-annex does as by default.
    """
    if backend not in BACKENDS:
        return f"its backend is {backend}, whose keys are not made of a file's checksum"
    return read_annex_settings(repo).obstacle


def register(repo: Repo, backend: str, files: Sequence[tuple[str, PackedFile]]) -> list[Change]:
    """Let git-annex know that files can be got out of archives, and return what to commit.

    Parameters
    ----------
    repo : Repo
        The repository; paths are relative to its root.
    backend : str
        Of `backend_for`, for all of the archives.
    files : sequence of pairs
        Key of the archive, whose content is in the annex, and a file in that.

    Raises
    ------
    DatasetError
        When git or git-annex fails.

    Notes
    -----
    What is written is that which ``git annex registerurl`` and ``setpresentkey`` write: a
    URL that a special remote claims has a colon before it (git-annex, Logs.Web).
    """
    contents = [(file.digest, file.member.size, file.path) for _, file in files]
    keys = keys_of_digests(repo, backend, contents)
    places = places_of(repo, keys)
    if not places.keys() >= set(keys):
        raise DatasetError("git-annex does not tell where it keeps the files of a packed directory")
    links = [
        "../" * file.path.count("/") + OBJECTS + places[key][0]
        for (_, file), key in zip(files, keys, strict=True)
    ]
    blobs = write_blobs(repo, map(os.fsencode, links))
    uuid = archivist_uuid(repo)
    urls: dict[str, dict[str, str]] = {}
    for (archive_key, file), key in zip(files, keys, strict=True):
        # of several files with the same content one in each archive is enough
        in_archives = urls.setdefault(places[key][1], {})
        in_archives.setdefault(archive_key, f":{locator(archive_key, file.member)}")
    entries: dict[str, Iterable[str]] = dict.fromkeys(urls, (uuid,))
    entries |= {f"{log}.web": in_archives.values() for log, in_archives in urls.items()}
    add_to_logs(repo, entries)
    return [
        Change(file.path, LINK_MODE, blob, key)
        for (_, file), key, blob in zip(files, keys, blobs, strict=True)
    ]
