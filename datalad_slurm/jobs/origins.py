"""Which jobs have made a file, from what, and what has made that, back to where no job has.

Commits are looked at from the newest to the oldest, each once. What is looked for is a path
that somebody wants: the user, or a job that has read it. The first commit that has changed it
is where it comes from; if that is the commit of a job, what that job has read is looked for
from there on.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from datalad_slurm.jobs.claims import ancestors, covers, is_below
from datalad_slurm.jobs.inputs import Identity
from datalad_slurm.jobs.record import RunRecord, is_inside

__all__ = ["Origin", "Read", "Search", "reads_of"]

_OF_MANY = frozenset({"files", "more_than"})
_WILDCARDS = frozenset("*?[")


@dataclass
class Read:
    """Something that a job has read, or that the user asks for."""

    path: str
    #: input, script, or target
    role: str
    #: what it was at submission, see `jobs.inputs`
    identity: Identity = field(default_factory=dict)
    #: whether the path may be a glob, as typed
    is_pattern: bool = False
    #: the files in question, by the commit each comes from
    sources: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Origin:
    """A commit from which files come that are looked for."""

    commit: str
    record: RunRecord | None
    makes: list[str]
    #: what the job has read; nothing, where no job has made the files
    reads: list[Read]


def reads_of(record: RunRecord) -> list[Read]:
    """Return what a job has read: its inputs, each file where that was noted, and its scripts."""
    reads = [
        # of many files, what was typed is noted, and how many there were
        Read(s.path, "input", s.noted, is_pattern=not s.noted.keys().isdisjoint(_OF_MANY))
        for s in record.noted_inputs
        if s.path
    ]
    known = bool(reads)
    for typed in dict.fromkeys((*record.inputs, *record.extra_inputs)):
        path = posixpath.normpath(posixpath.join(record.pwd, typed))
        if not known or not is_inside(path):
            reads.append(Read(path, "input", is_pattern=True))
    reads += (Read(state.path, "script", state.noted) for state in record.scripts if state.path)
    return list({(read.path, read.role): read for read in reads}.values())


class Search:
    """Looks for the origins of a path.

    Parameters
    ----------
    target : str
        Path of a file or directory, relative to the root.
    """

    def __init__(self, target: str) -> None:
        self.target = Read(target, "target")
        #: what is still looked for, by path; a directory, or a glob, stays till the end
        self._wanted: dict[str, list[tuple[Read, set[str]]]] = {}
        self._globs: dict[str, None] = {}
        self._want(self.target)

    @property
    def is_done(self) -> bool:
        """Whether nothing is looked for any more."""
        return not self._wanted

    def _want(self, read: Read) -> None:
        if not is_inside(read.path):
            return
        path = "" if read.path == "." else read.path
        self._wanted.setdefault(path, []).append((read, set()))
        if read.is_pattern and not _WILDCARDS.isdisjoint(path):
            self._globs[path] = None

    def feed(
        self,
        commit: str,
        changed: Sequence[str],
        record: RunRecord | None,
        subdatasets: Sequence[str],
    ) -> Origin | None:
        """Look at the next older commit; return it when something comes from there.

        Parameters
        ----------
        commit : str
            Its id.
        changed : sequence of str
            Paths that it has added or changed.
        record : RunRecord, optional
            That of the job whose commit it is.
        subdatasets : sequence of str
            Those of the paths at which it has another dataset.
        """
        makes: dict[str, None] = {}
        for path in (*changed, *self._below(subdatasets, record)):
            for wanted in list(self._names_of(path)):
                makes |= dict.fromkeys(self._found(wanted, path, commit))
        if not makes:
            return None
        reads = reads_of(record) if record else []
        for read in reads:
            self._want(read)
        return Origin(commit, record, list(makes), reads)

    def _names_of(self, path: str) -> Iterator[str]:
        yield from (name for name in ancestors(path) if name in self._wanted)
        yield from (glob for glob in self._globs if covers(glob, path) and glob != path)

    def _below(self, subdatasets: Iterable[str], record: RunRecord | None) -> Iterator[str]:
        """Yield what is wanted of subdatasets of which a commit has another version."""
        for name in subdatasets:
            for path in list(self._wanted):
                if path != name and path not in self._globs and is_below(path, name):
                    outputs = record.outputs if record else (path,)
                    if any(is_below(path, output) or output == "." for output in outputs):
                        yield path

    def _found(self, wanted: str, path: str, commit: str) -> Iterator[str]:
        for read, done in self._wanted[wanted]:
            if path not in done:
                done.add(path)
                read.sources.setdefault(commit, []).append(path)
                yield path
        if wanted == path:
            del self._wanted[wanted]
            self._globs.pop(wanted, None)
