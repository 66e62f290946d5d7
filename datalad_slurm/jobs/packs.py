"""Output directories that are committed as one archive each, beside a manifest of its members."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from datalad_slurm.jobs.braces import literal
from datalad_slurm.jobs.model import TrackedJob

if TYPE_CHECKING:
    from datalad_slurm.jobs.record import RunRecord

__all__ = [
    "PACK",
    "Member",
    "Pack",
    "archive_of",
    "can_be_located",
    "locator",
    "made_at_finish",
    "manifest_of",
    "name_in_archive",
    "packed_outputs",
    "recorded_pack",
    "rendered_manifest",
    "with_archives",
]

#: Key in a job's notes, and in its record.
PACK = "pack"
_VERSION = 1


class Pack(NamedTuple):
    """Which outputs of a job are packed."""

    #: directories as they are typed; may have sbatch's patterns. Relative to the dataset's root
    #: in notes and records, to the working directory in what is asked for
    paths: tuple[str, ...]
    #: whether the members are left out of the tree
    only: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in notes and records."""
        return {"paths": list(self.paths)} | ({"only": True} if self.only else {})

    @classmethod
    def read(cls, value: object) -> Pack | None:
        """Return what notes or a record hold; None where they hold nothing that can be used."""
        if not isinstance(value, dict):
            return None
        paths = value.get("paths")
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            return None
        return cls(tuple(paths), value.get("only") is True) if paths else None


def recorded_pack(record: RunRecord) -> Pack | None:
    """Return which outputs of a recorded job are packed, as typed in the record's directory."""
    pack = Pack.read(record.slurm.get(PACK))
    if pack is None:
        return None
    paths = (literal(posixpath.relpath(path, record.pwd)) for path in pack.paths)
    return Pack(tuple(paths), pack.only)


class Member(NamedTuple):
    """What an archive holds under one name: a file, a link, or an empty directory."""

    name: str
    #: bytes
    size: int = 0
    #: of a file, where its content begins in the archive (bytes); None of others
    offset: int | None = None
    #: of a file's content
    sha256: str = ""
    is_executable: bool = False
    #: text of a link; None of others
    target: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in a manifest."""
        if self.target is not None:
            return {"name": self.name, "target": self.target}
        if self.offset is None:
            return {"name": self.name, "directory": True}
        content = {
            "name": self.name,
            "size": self.size,
            "offset": self.offset,
            "sha256": self.sha256,
        }
        return content | ({"executable": True} if self.is_executable else {})


def rendered_manifest(archive: str, members: Iterable[Member]) -> str:
    """Return the text of a manifest: JSON with one member a line.

    Bytes of names that are no UTF-8 stand as Python's ``os.fsdecode`` has them.

    Parameters
    ----------
    archive : str
        Name of the archive, which lies beside the manifest.
    members : iterable of Member
        In the order of the archive.
    """
    lines = ",\n".join(f"  {json.dumps(member.to_json())}" for member in members)
    return (
        f'{{\n "version": {_VERSION},\n "archive": {json.dumps(archive)},\n'
        f' "members": [\n{lines}\n ]\n}}\n'
    )


def archive_of(directory: str) -> str:
    """Return where the archive of a directory is; both are paths, or claims."""
    return f"{directory}.tar"


def manifest_of(directory: str) -> str:
    """Return where the manifest of a directory's archive is; both are paths, or claims."""
    return f"{directory}.manifest.json"


def with_archives(directories: Iterable[str]) -> tuple[str, ...]:
    """Return what packing directories claims: each with its archive and manifest."""
    return tuple(
        claim
        for directory in directories
        for claim in (directory, archive_of(directory), manifest_of(directory))
    )


def packed_outputs(job: TrackedJob) -> tuple[str, ...]:
    """Return those claims of a job that are directories to be packed.

    They are known by the claims of their archives and manifests, which
    have been filled in as they have.
    """
    if PACK not in job.extra:
        return ()
    outputs = set(job.outputs)
    return tuple(
        each for each in job.outputs if {archive_of(each), manifest_of(each)}.issubset(outputs)
    )


def made_at_finish(job: TrackedJob) -> frozenset[str]:
    """Return those claims of a job of which it is not the job that writes there."""
    directories = packed_outputs(job)
    return frozenset(with_archives(directories)).difference(directories)


def name_in_archive(directory: str, path: str) -> str:
    """Return the name of a member: unpacked beside the archive, it comes back to its path."""
    above = posixpath.dirname(directory)
    return path[len(above) + 1 :] if above else path


def can_be_located(name: str) -> bool:
    """Return whether the locator of datalad-next's ``archivist`` can have a member's name.

    It escapes nothing (`datalad_next.types.archivist`), and git-annex keeps it in one line.
    """
    return name.isprintable() and "&" not in name and "#" not in name


def locator(archive_key: str, member: Member) -> str:
    """Return the URL of a file in an archive, as datalad-next's ``archivist`` reads it."""
    return f"dl+archive:{archive_key}#path={member.name}&size={member.size}&atype=tar"
