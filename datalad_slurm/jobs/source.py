"""The dataset from which jobs are exported, and where its files can be had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Source", "Whereabouts"]


@dataclass(frozen=True)
class Whereabouts:
    """Where the content of a key can be had."""

    urls: tuple[str, ...] = ()
    #: UUIDs of repositories and special remotes
    repositories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A dataset whose jobs are exported."""

    dsid: str
    name: str
    #: which jobs
    description: str
    #: when the newest of their commits was made (ISO 8601)
    date: str
    #: the newest of their commits
    commit: str
    #: addresses in the web from which the dataset can be cloned
    addresses: Sequence[str] = ()
    #: by key
    whereabouts: Mapping[str, Whereabouts] = field(default_factory=dict)
    #: names of special remotes, by UUID
    remotes: Mapping[str, str] = field(default_factory=dict)
