"""What recorded jobs have read and written, as entities, activities and agents.

These are the terms of W3C PROV (https://www.w3.org/TR/prov-dm/). `jobs.trace` makes them of
records, and both forms of an export are written from them. Each has an IRI below that of the
dataset, ``arcp://uuid,ID/``, a scheme for what lies inside of an archive that has a UUID (arcp,
draft-soilandreyes-arcp), so the same thing has the same IRI in every export.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote

from datalad_slurm.jobs.inputs import Identity, key_checksum
from datalad_slurm.jobs.job_summary import Summary
from datalad_slurm.jobs.record import RunRecord

__all__ = [
    "Activity",
    "Entity",
    "Kind",
    "Person",
    "base_iri",
    "printable",
    "quoted",
]


class Kind(Enum):
    """What an entity is."""

    FILE = "file"
    #: a directory, or the files that a pattern matches
    DIRECTORY = "directory"
    #: something that was declared, of which nothing was noted
    OTHER = "other"
    SUBDATASET = "subdataset"
    #: what was run: a job script, the text of ``--wrap``, or a command
    SCRIPT = "script"


@dataclass(frozen=True, slots=True)
class Entity:
    """A version of something that a job has read or written."""

    iri: str
    #: relative to the dataset's root; of a script that had no file, what stands for it
    path: str
    kind: Kind
    identity: Identity
    #: bytes
    size: int | None = None

    @property
    def key(self) -> str:
        """The key of git-annex; empty for what git-annex does not hold."""
        return str(self.identity.get("key", ""))

    @property
    def identifier(self) -> str:
        """What git or git-annex knows the content by: a key, or an SWHID; may be empty."""
        if self.key:
            return self.key
        if "blob" in self.identity:
            return _swhid("cnt", self.identity["blob"])
        return _swhid("rev", self.identity.get("commit", ""))

    @property
    def checksum(self) -> tuple[str, str] | None:
        """Algorithm and hex digits of a checksum of the content, where one is known."""
        if "sha256" in self.identity:
            return "sha256", self.identity["sha256"]
        return key_checksum(self.key)

    @property
    def text(self) -> str:
        """The content itself, of a script that had no file."""
        return str(self.identity.get("text", ""))


@dataclass(frozen=True, slots=True)
class Person:
    """The author of a job's commit."""

    iri: str
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Activity:
    """A job, with what it has read and written."""

    iri: str
    job: Summary
    record: RunRecord
    person: Person
    #: what was run, at least one
    scripts: tuple[Entity, ...]
    used: tuple[Entity, ...]
    made: tuple[Entity, ...]
    #: jobs that have made what it has read
    informed_by: tuple[str, ...] = ()
    #: that of `used` which is the image of its container
    image: Entity | None = None
    #: the environment that it was submitted with
    environment: Entity | None = None

    @property
    def identifier(self) -> str:
        """What its commit is known by."""
        return _swhid("rev", self.job.commit)

    @property
    def title(self) -> str:
        """The job in a few words."""
        name = f" ({printable(self.job.name)})" if self.job.name else ""
        return f"Slurm job {self.job.label}{name}"

    @property
    def entities(self) -> list[Entity]:
        """All that it has to do with."""
        environment = [self.environment] if self.environment else []
        return [*self.scripts, *self.used, *environment, *self.made]


def _swhid(kind: str, oid: str) -> str:
    """Return the SWHID of an object of git's; there is none for repositories with SHA-256.

    Source: https://www.swhid.org
    """
    return f"swh:1:{kind}:{oid}" if len(oid) == 40 else oid


def base_iri(dsid: str) -> str:
    """Return the IRI of a dataset, with which all others begin."""
    return f"arcp://uuid,{quoted(dsid)}/"


def printable(text: str) -> str:
    """Return a text in which question marks stand for what is no Unicode."""
    return text.encode(errors="replace").decode()


def quoted(text: str, safe: str = "") -> str:
    """Return a text as IRIs have it; the name of a file by its bytes."""
    try:
        return quote(text, safe, errors="surrogateescape")
    except UnicodeEncodeError:  # half a character, which only JSON can spell
        return quote(text, safe, errors="surrogatepass")
