"""Provenance as an RO-Crate with the Process Run Crate profile of Workflow Run RO-Crate.

The crate holds its metadata only. Files are described under their IRIs, and where their content
can be had is said of each: a dataset has one version of a path at a time, but its jobs have
made several.
Profile: https://w3id.org/ro/wfrun/process/0.5, which builds on RO-Crate 1.1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from mimetypes import MimeTypes
from typing import IO, Any

from rocrate.model.contextentity import ContextEntity
from rocrate.model.data_entity import DataEntity
from rocrate.rocrate import ROCrate

from datalad_slurm.export.resources import SACCT, Resource, resources_of
from datalad_slurm.jobs.provenance import Activity, Entity, Kind, Person, printable, quoted
from datalad_slurm.jobs.source import Source, Whereabouts

__all__ = ["METADATA_FILE", "write_crate"]

#: Name of the file by which a directory is a crate.
METADATA_FILE = "ro-crate-metadata.json"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_TERMS = "https://w3id.org/ro/terms/workflow-run"
_UNITS = "https://qudt.org/vocab/unit/"
_TYPES = {
    Kind.FILE: "File",
    Kind.DIRECTORY: "Dataset",
    Kind.SUBDATASET: "Dataset",
    Kind.OTHER: "CreativeWork",
}
#: RO-Crate demands one
_LICENSE = "No licence is stated here; that of the dataset holds."
#: the library's own, wherever it runs
_MEDIA_TYPES = MimeTypes()
_NOTHING: tuple[Any, ...] = ("", None, [])


def write_crate(file: IO[bytes], source: Source, activities: list[Activity]) -> None:
    """Write the metadata file of a crate that tells of jobs."""
    crate = _Crate(source)
    for activity in activities:
        crate.add(activity)
    told = json.dumps(crate.content(), indent=1, ensure_ascii=False)
    file.write(f"{told}\n".encode())


class _Crate:
    """A crate that grows by one job after the other."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._crate = ROCrate(version="1.1")
        self._crate.metadata.extra_contexts.append(f"{_TERMS}/context")
        self._known: dict[str, Any] = {}
        self._actions: list[Any] = []
        self._authors: dict[str, Any] = {}

    def content(self) -> dict[str, Any]:
        """Return the metadata as JSON has it."""
        source = self._source
        profile = self._about(_PROFILE, "CreativeWork", name="Process Run Crate", version="0.5")
        told = {
            "name": printable(source.name),
            "description": source.description,
            "datePublished": source.date,
            "license": _LICENSE,
            "identifier": source.dsid,
            "version": source.commit,
            "url": list(source.addresses),
            "author": list(self._authors.values()),
            "conformsTo": profile,
            "mentions": self._actions,
        }
        for name, value in _said(told).items():
            self._crate.root_dataset[name] = value
        content: dict[str, Any] = self._crate.metadata.generate()
        return content

    def add(self, activity: Activity) -> None:
        """Describe a job, and what it has to do with."""
        times = activity.job.last.to_json()
        action = self._about(
            activity.iri,
            "CreateAction",
            name=activity.title,
            description=printable(activity.job.cmd),
            identifier=activity.identifier,
            instrument=[self._script(each) for each in activity.scripts],
            agent=self._person(activity.person),
            object=[self._entity(each) for each in _read_by(activity)],
            result=[self._entity(each) for each in activity.made],
            startTime=times["started"],
            endTime=times["ended"],
            location=self._cluster(activity.job.cluster),
            containerImage=self._image(activity),
            resourceUsage=[self._resource(each) for each in resources_of(activity)],
            **_ending(activity),
        )
        self._actions.append(action)

    def _about(self, iri: str, kind: str | list[str], **properties: Any) -> Any:
        """Return what the crate says of something; it is said once."""
        if iri not in self._known:
            entity = DataEntity if "File" in kind or "Dataset" in kind else ContextEntity
            made = entity(self._crate, iri, {"@type": kind, **_said(properties)})
            self._known[iri] = self._crate.add(made)
        return self._known[iri]

    def _entity(self, entity: Entity) -> Any:
        return self._about(entity.iri, _TYPES[entity.kind], **self._content(entity))

    def _content(self, entity: Entity) -> dict[str, Any]:
        """Return what is said of all that has content."""
        found = self._source.whereabouts.get(entity.key, Whereabouts())
        told = {
            "name": printable(entity.path),
            "identifier": printable(entity.identifier),
            "contentSize": "" if entity.size is None else str(entity.size),
            "encodingFormat": _MEDIA_TYPES.guess_type(entity.path)[0],
            "contentUrl": list(found.urls),
            "archivedAt": [self._repository(uuid) for uuid in found.repositories],
        }
        return told | dict([entity.checksum] if entity.checksum else [])

    def _repository(self, uuid: str) -> Any:
        name = self._source.remotes.get(uuid, f"git-annex repository {uuid}")
        return self._about(f"urn:uuid:{uuid}", "DataCatalog", name=printable(name))

    def _script(self, script: Entity) -> Any:
        kind = "SoftwareSourceCode" if script.text else ["File", "SoftwareSourceCode"]
        version = script.checksum[1] if script.checksum else script.identifier
        more = {"text": printable(script.text), "version": version}
        return self._about(script.iri, kind, **self._content(script), **more)

    def _image(self, activity: Activity) -> Any:
        image = activity.image
        if image is None:
            return None
        more: dict[str, Any] = {"name": printable(str(activity.record.slurm["container"]))}
        if image.path.endswith((".sif", ".simg")):
            more["additionalType"] = {"@id": f"{_TERMS}#SIFImage"}
        return self._about(f"{image.iri}#image", "ContainerImage", **self._content(image) | more)

    def _person(self, person: Person) -> Any:
        author = self._about(person.iri, "Person", name=person.name, email=person.email)
        return self._authors.setdefault(person.iri, author)

    def _cluster(self, cluster: str) -> Any:
        if not cluster:
            return None
        name = f"Slurm cluster {printable(cluster)}"
        return self._about(f"#cluster-{quoted(cluster)}", "Place", name=name)

    def _resource(self, resource: Resource) -> Any:
        return self._about(
            # jobs that were given as much share an entity
            f"#{resource.field}-{quoted(str(resource.value))}",
            "PropertyValue",
            name=resource.name,
            value=resource.value,
            propertyID=SACCT + resource.field,
            unitCode=_UNITS + resource.unit if resource.unit else "",
        )


def _said(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties that have a value; a list of one is that one, as RO-Crate has it."""
    said = {name: value for name, value in properties.items() if value not in _NOTHING}
    return {n: v[0] if isinstance(v, list) and len(v) == 1 else v for n, v in said.items()}


def _read_by(activity: Activity) -> list[Entity]:
    """Return what a job has read: a configuration file counts for the profile as well."""
    return [*activity.used, *([activity.environment] if activity.environment else [])]


def _ending(activity: Activity) -> dict[str, str]:
    """Return how a job has ended, as far as that is known."""
    job = activity.job
    if job.state == "COMPLETED":
        return {"actionStatus": "http://schema.org/CompletedActionStatus"}
    if job.state == "UNKNOWN":
        return {}
    code = f", exit code {job.exit_code}" if job.exit_code else ""
    return {
        "actionStatus": "http://schema.org/FailedActionStatus",
        "error": printable(f"{job.state}{code}"),
    }
