"""From records to provenance: which version of which file a job has read and written.

What one job has written and another has read is one entity; see `jobs.provenance`.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from datalad_slurm.jobs.dependencies import DEPENDS_ON, read_relations
from datalad_slurm.jobs.inputs import Identity, InputState, key_size, read_identity
from datalad_slurm.jobs.job_summary import Summary
from datalad_slurm.jobs.origins import Read, reads_of
from datalad_slurm.jobs.provenance import (
    Activity,
    Entity,
    Kind,
    Person,
    base_iri,
    printable,
    quoted,
)
from datalad_slurm.jobs.record import RunRecord, is_inside

__all__ = ["CommittedJob", "Written", "trace"]

#: What tells one version of a path from others, the most telling first.
_VERSIONS = ("key", "blob", "commit", "digest", "tree", "link", "sha256")
#: Of a directory, or of what a pattern matches, one of these is noted.
_OF_MANY = frozenset({"files", "more_than", "directory"})


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
        if is_inside(read.path):
            iri = self._path_iri(read.path, _version(read.identity))
        else:
            iri = f"{self._base}#outside-{quoted(read.path)}"
        return Entity(iri, read.path, _kind(read.identity), read.identity, _size(read.identity))

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


def _kind(identity: Identity) -> Kind:
    """Return what something is that was noted when a job was submitted."""
    if not identity:
        return Kind.OTHER
    if "commit" in identity:
        return Kind.SUBDATASET
    return Kind.FILE if identity.keys().isdisjoint(_OF_MANY) else Kind.DIRECTORY


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
