"""What recorded jobs have read and written, as entities, activities and agents.

These are the terms of W3C PROV (https://www.w3.org/TR/prov-dm/); both forms of an export
are written from them. Each has an IRI below that of the dataset, ``arcp://uuid,ID/``, a scheme
for what lies inside of an archive that has a UUID (arcp, draft-soilandreyes-arcp), so the same
thing has the same IRI in every export.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import quote

from datalad_slurm.jobs.dependencies import DEPENDS_ON, read_relations
from datalad_slurm.jobs.inputs import Identity, InputState, key_checksum, key_size, read_identity
from datalad_slurm.jobs.job_summary import Summary
from datalad_slurm.jobs.origins import Read, reads_of
from datalad_slurm.jobs.record import RunRecord, is_inside

__all__ = [
    "Activity",
    "CommittedJob",
    "Entity",
    "Kind",
    "Person",
    "Written",
    "base_iri",
    "printable",
    "quoted",
    "trace",
]

#: What tells one version of a path from others, the most telling first.
_VERSIONS = ("key", "blob", "commit", "digest", "tree", "link", "sha256")
_OF_MANY = frozenset({"files", "more_than", "directory"})


class Kind(Enum):
    """What an entity is."""

    FILE = "file"
    #: a directory, or the files that a pattern matches
    DIRECTORY = "directory"
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
        blob, commit = self.identity.get("blob", ""), self.identity.get("commit", "")
        if self.key or not (blob or commit):
            return self.key
        # https://www.swhid.org: of git's SHA-1; there is none for repositories with SHA-256
        kind, oid = ("cnt", blob) if blob else ("rev", commit)
        return f"swh:1:{kind}:{oid}" if len(oid) == 40 else oid

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
    def title(self) -> str:
        """The job in a few words."""
        name = f" ({printable(self.job.name)})" if self.job.name else ""
        return f"Slurm job {self.job.label}{name}"

    @property
    def entities(self) -> list[Entity]:
        """All that it has to do with."""
        environment = [self.environment] if self.environment else []
        return [*self.scripts, *self.used, *environment, *self.made]


@dataclass(frozen=True, slots=True)
class Written:
    """What the commit of a job has at a path."""

    path: str
    kind: Kind
    identity: Identity
    size: int | None


@dataclass(frozen=True, slots=True)
class CommittedJob:
    """A job as its commit tells of it."""

    record: RunRecord
    job: Summary
    author: str
    email: str
    written: Sequence[Written]


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


def trace(dsid: str, jobs: Iterable[CommittedJob]) -> Iterator[Activity]:
    """Yield what jobs have read and written; what one has written, others read as the same entity.

    Parameters
    ----------
    dsid : str
        Id of their dataset.
    jobs : iterable of CommittedJob
        In the order of history.

    Notes
    -----
    An input is what an earlier job has written if path and content are the same, or if nothing
    was noted of its content, and the record says that it comes from that job. If several jobs
    have written this content there, it is the latest of them.
    """
    tracer = _Tracer(base_iri(dsid))
    for job in jobs:
        yield tracer.activity(job)


class _Tracer:
    """Knows what was written so far."""

    def __init__(self, base: str) -> None:
        self._base = base
        #: by path and content, and by path and commit
        self._made: dict[tuple[str, str], Entity] = {}
        #: activities, by what they have written
        self._makers: dict[str, str] = {}
        self._commits: set[str] = set()

    def activity(self, job: CommittedJob) -> Activity:
        record, commit = job.record, job.job.commit
        relations = read_relations(record.slurm.get(DEPENDS_ON))
        before = [each.commit for each in relations if each.inputs and each.commit]
        used = [each for read in reads_of(record) for each in self._read(read, before)]
        made_by = [self._makers[each.iri] for each in used if each.iri in self._makers]
        informed_by = [self._job_iri(each) for each in before if each in self._commits]
        # last, as it may read what it replaces
        made = [self._output(written, commit) for written in job.written]
        return Activity(
            iri=self._job_iri(commit),
            job=job.job,
            record=record,
            person=self._person(job.author, job.email),
            scripts=tuple(self._scripts(record)),
            used=tuple({each.iri: each for each in used}.values()),
            made=tuple(made),
            informed_by=tuple(dict.fromkeys((*made_by, *informed_by))),
            image=_image(record, used),
            environment=self._environment(record),
        )

    def _job_iri(self, commit: str) -> str:
        return f"{self._base}#job-{commit}"

    def _person(self, name: str, email: str) -> Person:
        iri = f"{self._base}#person-{quoted(email or name)}"
        return Person(iri, printable(name), printable(email))

    def _path_iri(self, path: str, version: Identity) -> str:
        iri = self._base + quoted("" if path == "." else path, safe="/")
        query = "&".join(f"{name}={quoted(str(value))}" for name, value in version.items())
        return f"{iri}?{query}" if query else iri

    def _output(self, written: Written, commit: str) -> Entity:
        iri = self._path_iri(written.path, {"commit": commit})
        entity = Entity(iri, written.path, written.kind, written.identity, written.size)
        if content := _content(written.identity):
            self._made[written.path, content] = entity
        self._made[written.path, commit] = entity
        self._makers[iri] = self._job_iri(commit)
        self._commits.add(commit)
        return entity

    def _read(self, read: Read, before: Sequence[str]) -> Iterator[Entity]:
        """Yield what was read; of scripts, which are archived, only what jobs have made."""
        names = [_content(read.identity)] if read.identity else before
        known = [self._made[read.path, name] for name in names if (read.path, name) in self._made]
        if known:
            yield known[0]
        elif read.role == "input" and "missing" not in read.identity:
            yield self._from_elsewhere(read)

    def _from_elsewhere(self, read: Read) -> Entity:
        is_many = read.is_pattern or not read.identity.keys().isdisjoint(_OF_MANY)
        kind = Kind.DIRECTORY if is_many else Kind.FILE
        kind = Kind.SUBDATASET if "commit" in read.identity else kind
        iri = self._path_iri(read.path, _version(read.identity))
        return Entity(iri, read.path, kind, read.identity, _size(read.identity))

    def _environment(self, record: RunRecord) -> Entity | None:
        identity = read_identity(record.slurm.get("environment"))
        path = identity.get("archived", "")
        if not path or not is_inside(path):
            return None
        return Entity(self._path_iri(path, {}), path, Kind.FILE, identity)

    def _scripts(self, record: RunRecord) -> Iterator[Entity]:
        """Yield the job scripts, or the command where nothing tells of a script."""
        known = [script for script in record.scripts if script.path or "sha256" in script.noted]
        if known:
            yield from map(self._script, known)
        else:
            command = printable(record.cmd)
            digest = hashlib.sha256(command.encode()).hexdigest()
            noted = {"sha256": digest, "text": command}
            yield Entity(f"{self._base}#script-{digest}", "command", Kind.SCRIPT, noted)

    def _script(self, script: InputState) -> Entity:
        noted = script.noted
        archived = noted.get("archived", "")
        if archived and is_inside(archived):
            # named by its content
            return Entity(self._path_iri(archived, {}), script.path or archived, Kind.SCRIPT, noted)
        if script.path:
            iri = f"{self._path_iri(script.path, _version(noted))}#script"
            return Entity(iri, script.path, Kind.SCRIPT, noted)
        name = "sbatch --wrap" if "wrap" in noted else "standard input"
        return Entity(f"{self._base}#script-{noted['sha256']}", name, Kind.SCRIPT, noted)


def _image(record: RunRecord, used: Iterable[Entity]) -> Entity | None:
    """Return the input that is the image of a job's container: its last extra input."""
    if not record.slurm.get("container") or not record.extra_inputs:
        return None
    path = posixpath.normpath(posixpath.join(record.pwd, record.extra_inputs[-1]))
    return next((each for each in used if each.path == path), None)


def _version(identity: Identity) -> dict[str, Any]:
    """Return what tells one version of a path from others; may be nothing."""
    for name in _VERSIONS:
        if name in identity:
            return {name: identity[name]}
    return {name: identity[name] for name in ("size", "mtime_ns") if name in identity}


def _content(identity: Identity) -> str:
    """Return a name for the content that an identity stands for; empty where it tells none."""
    version = _version(identity)
    return repr(sorted(version.items())) if version else ""


def _size(identity: Identity) -> int | None:
    return key_size(identity["key"]) if "key" in identity else identity.get("size")
