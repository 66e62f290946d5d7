"""Provenance as W3C PROV: PROV-JSON or PROV-N, whichever is asked for.

What is not known is not said: that a job has read one file and written another does not tell
that the one is derived from the other, so there is no ``wasDerivedFrom``.
"""

from __future__ import annotations

from typing import IO, Any

from prov.constants import PROV_LABEL, PROV_LOCATION, PROV_ROLE, PROV_TYPE
from prov.identifier import Identifier
from prov.model import ProvDocument

from datalad_slurm.export.resources import SACCT, resources_of
from datalad_slurm.jobs.provenance import (
    Activity,
    Entity,
    Kind,
    Person,
    base_iri,
    printable,
    quoted,
)
from datalad_slurm.jobs.source import Source, Whereabouts

__all__ = ["SUFFIXES", "prov_document", "write_prov"]

#: The forms in which a document is written, by the suffix of its file.
SUFFIXES = {".json": "json", ".provn": "provn"}
_TERMS = "https://w3id.org/ro/terms/workflow-run#"
_TYPES = {
    Kind.FILE: ("schema:MediaObject",),
    Kind.DIRECTORY: ("schema:Dataset",),
    Kind.SUBDATASET: ("schema:Dataset",),
    Kind.OTHER: ("schema:CreativeWork",),
    Kind.SCRIPT: ("schema:SoftwareSourceCode", "prov:Plan"),
}


def write_prov(file: IO[bytes], source: Source, activities: list[Activity], suffix: str) -> None:
    """Write a document that tells of jobs, in the form that one of `SUFFIXES` stands for."""
    document = prov_document(source, activities)
    document.serialize(file, format=SUFFIXES[suffix])


def prov_document(source: Source, activities: list[Activity]) -> ProvDocument:
    """Return a document that tells of jobs."""
    document = _Document(source)
    for activity in activities:
        document.add(activity)
    return document.prov


class _Document:
    """A document that grows by one job after the other."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._base = base_iri(source.dsid)
        self._known: set[str] = set()
        self.prov = ProvDocument()
        self._names = self.prov.add_namespace("data", self._base)
        self.prov.add_namespace("schema", "http://schema.org/")
        self.prov.add_namespace("slurm", SACCT)
        self.prov.add_namespace("wfrun", _TERMS)

    def add(self, activity: Activity) -> None:
        """Describe a job, and what it has to do with."""
        prov, job = self.prov, activity.job
        name = self._name(activity.iri)
        times = job.last.to_json()
        prov.activity(name, times["started"], times["ended"], self._told_of(activity))
        read = {
            "script": activity.scripts,
            "input": activity.used,
            "environment": [activity.environment] if activity.environment else [],
        }
        for role, entities in read.items():
            for each in entities:
                prov.usage(name, self._entity(each), other_attributes={PROV_ROLE: role})
        for each in activity.made:
            prov.generation(self._entity(each), name)
        for iri in activity.informed_by:
            prov.communication(name, self._name(iri))
        person, slurm = self._person(activity.person), self._slurm(job.cluster)
        plan = self._entity(activity.scripts[0])
        prov.association(name, person, plan)
        prov.association(name, slurm, plan)
        prov.delegation(slurm, person, name)

    def _told_of(self, activity: Activity) -> list[tuple[Any, Any]]:
        job = activity.job
        told = {
            PROV_LABEL: activity.title,
            "slurm:JobID": job.label,
            "slurm:JobName": printable(job.name),
            "slurm:State": printable(job.state),
            "slurm:ExitCode": printable(job.exit_code),
            "slurm:SubmitLine": printable(job.cmd),
            "schema:identifier": activity.identifier,
        } | {f"slurm:{each.field}": each.value for each in resources_of(activity)}
        return [(name, value) for name, value in told.items() if value != ""]

    def _entity(self, entity: Entity) -> Any:
        name = self._name(entity.iri)
        if self._is_new(entity.iri):
            self.prov.entity(name, self._content(entity))
        return name

    def _content(self, entity: Entity) -> list[tuple[Any, Any]]:
        found = self._source.whereabouts.get(entity.key, Whereabouts())
        places = [*found.urls, *(f"urn:uuid:{uuid}" for uuid in found.repositories)]
        told: list[tuple[Any, Any]] = [
            (PROV_LABEL, printable(entity.path)),
            *((PROV_TYPE, self.prov.valid_qualified_name(kind)) for kind in _TYPES[entity.kind]),
            ("schema:identifier", printable(entity.identifier)),
            ("schema:contentSize", "" if entity.size is None else entity.size),
            ("schema:text", printable(entity.text)),
            *((PROV_LOCATION, Identifier(place)) for place in places),
        ]
        if entity.checksum:
            algorithm, digits = entity.checksum
            told.append((f"wfrun:{algorithm}", digits))
        return [(name, value) for name, value in told if value != ""]

    def _person(self, person: Person) -> Any:
        name = self._name(person.iri)
        if self._is_new(person.iri):
            kind = self.prov.valid_qualified_name("prov:Person")
            named = [("schema:name", person.name), ("schema:email", person.email)]
            self.prov.agent(name, [(PROV_TYPE, kind), *named])
        return name

    def _slurm(self, cluster: str) -> Any:
        iri = f"{self._base}#slurm-{quoted(cluster)}" if cluster else f"{self._base}#slurm"
        name = self._name(iri)
        if self._is_new(iri):
            kind = self.prov.valid_qualified_name("prov:SoftwareAgent")
            label = f"Slurm on cluster {printable(cluster)}" if cluster else "Slurm"
            self.prov.agent(name, {PROV_TYPE: kind, PROV_LABEL: label})
        return name

    def _is_new(self, iri: str) -> bool:
        is_new = iri not in self._known
        self._known.add(iri)
        return is_new

    def _name(self, iri: str) -> Any:
        return self._names[iri.removeprefix(self._base)]
