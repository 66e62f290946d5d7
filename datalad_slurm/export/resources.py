"""What a job was given and has used, in the words of ``sacct``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from datalad_slurm.jobs.provenance import Activity, printable

__all__ = ["SACCT", "Resource", "resources_of"]

#: Where the fields of sacct are explained; with the name of one it is that field's IRI.
SACCT = "https://slurm.schedmd.com/sacct.html#OPT_"
_SECONDS, _BYTES = "SEC", "BYTE"


@dataclass(frozen=True)
class Resource:
    """One field of sacct."""

    field: str
    name: str
    value: int | float | str
    #: as QUDT has it (https://qudt.org/vocab/unit/), empty for what has none
    unit: str = ""


def resources_of(activity: Activity) -> Iterator[Resource]:
    """Yield what is known of what a job was given, and has used; of several attempts the last."""
    job, slurm = activity.job, activity.record.slurm
    told = (
        Resource("AllocCPUS", "allocated CPUs", job.cpus or ""),
        Resource("NodeList", "nodes", str(slurm.get("nodes", ""))),
        Resource("Partition", "partition", str(slurm.get("partition", ""))),
        Resource("ReqMem", "requested memory", job.memory_asked or "", _BYTES),
        Resource("Timelimit", "time limit", str(slurm.get("time_limit", ""))),
        Resource("ElapsedRaw", "time it ran", _known(job.ran), _SECONDS),
        Resource("CPUTimeRAW", "allocated CPU time", _known(job.last.allocated), _SECONDS),
        Resource("TotalCPU", "CPU time used", _known(job.last.used), _SECONDS),
        Resource("MaxRSS", "peak of memory", _known(job.memory_used), _BYTES),
    )
    for each in told:
        if each.value != "":
            value = printable(each.value) if isinstance(each.value, str) else each.value
            yield Resource(each.field, each.name, value, each.unit)


def _known(value: float | None) -> float | str:
    return "" if value is None else value
