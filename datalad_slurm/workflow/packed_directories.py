"""Output directories that are committed as one archive each, from their packing to the end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from datalad_slurm.dataset.pack_members import PackedFile
from datalad_slurm.dataset.packed_tree import Found, Packed, note_packed, take_away_packed
from datalad_slurm.jobs.packs import archive_of, can_be_located, manifest_of
from datalad_slurm.workflow.context import Context, lgr

__all__ = ["PackedDirectory", "note_packed_in", "take_away"]


@dataclass(frozen=True)
class PackedDirectory:
    """A directory whose archive and manifest were written; paths are relative to the root."""

    path: str
    backend: str
    #: of the archive, with the algorithm of the backend
    digest: str
    files: tuple[PackedFile, ...]
    #: other links than those of annexed files, with their texts
    links: Mapping[str, str] = field(default_factory=dict)
    #: links of annexed files whose content is not here: of what was packed before
    stale: Mapping[str, str] = field(default_factory=dict)
    #: whether the members are left out of the tree
    is_only: bool = False

    @property
    def archive(self) -> str:
        """Where the archive is."""
        return archive_of(self.path)

    @property
    def manifest(self) -> str:
        """Where the manifest is."""
        return manifest_of(self.path)

    @property
    def registered(self) -> tuple[PackedFile, ...]:
        """The files that are committed as files of their own, but stored in the archive only."""
        if self.is_only:
            return ()
        return tuple(file for file in self.files if can_be_located(file.member.name))

    @property
    def in_tree(self) -> tuple[str, ...]:
        """What the commit holds below the directory."""
        return () if self.is_only else (*(file.path for file in self.files), *self.links)


def note_packed_in(
    context: Context,
    packed: Iterable[PackedDirectory],
    names: Iterable[str],
    committed: Collection[str],
) -> None:
    """Note what goes from the working trees once it is committed.

    Parameters
    ----------
    context : Context
        The dataset.
    packed : iterable of PackedDirectory
        What is to be committed.
    names : iterable of str
        All repositories concerned. What was noted in them before is dropped.
    committed : collection of str
        Everything that the commits will hold, relative to the root. What an archive alone is to
        hold stays where it is if it is among these, such as a log.

    Raises
    ------
    DatasetError
        When that cannot be written.
    """
    by_name: dict[str, list[Packed]] = {name: [] for name in names}
    for each in packed:
        name = context.hierarchy.holder(each.archive)
        by_name[name].append(_as_noted(context, name, each, committed))
    for name, noted in by_name.items():
        note_packed(context.hierarchy.repo(name), noted)


def _as_noted(
    context: Context, name: str, packed: PackedDirectory, committed: Collection[str]
) -> Packed:
    def within(found: Mapping[str, Found]) -> dict[str, Found]:
        return {context.hierarchy.within(name, path): what for path, what in found.items()}

    registered = {file.path: file.found for file in packed.registered}
    dropped: dict[str, Found] = dict(packed.stale)
    if packed.is_only:
        dropped.update({file.path: file.found for file in packed.files if file.found})
        dropped.update(packed.links)
    return Packed(
        context.hierarchy.within(name, packed.path),
        context.hierarchy.within(name, packed.archive),
        within(registered),
        within({path: what for path, what in dropped.items() if path not in committed}),
    )


def take_away(context: Context, name: str, *, is_checked_out: bool) -> None:
    """Take away, in one repository, the files of archives that were committed.

    Parameters
    ----------
    context : Context
        The dataset.
    name : str
        The repository.
    is_checked_out : bool
        Whether the branch with the commit is.
    """
    for directory in take_away_packed(context.hierarchy.repo(name), is_checked_out=is_checked_out):
        path = f"{name}/{directory}" if name else directory
        lgr.warning(
            "'%s' is committed as an archive, but something there has changed since or could not "
            "be replaced; `git checkout -- %s` brings it to what is committed",
            path,
            path,
        )
