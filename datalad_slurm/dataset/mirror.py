"""Which files a directory must hold, so that a job finds in it what it finds in the dataset."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from datalad_slurm.jobs.claims import ancestors, is_below
from datalad_slurm.jobs.errors import InvalidRequestError

__all__ = ["Mirror"]


@dataclass
class Mirror:
    """What a mirror of parts of a dataset holds.

    A file arrives as a file, wherever a link in its place leads. A link to a
    directory of the dataset stays a link, and what it leads to is mirrored as
    well; one that leads out of the dataset becomes a directory. Git directories
    are left out.

    Parameters
    ----------
    root : Path
        Top of the dataset, links resolved. All paths are relative to it.
    """

    root: Path
    #: with the plain file that holds the content
    files: dict[str, Path] = field(default_factory=dict)
    #: links to directories, with the text of the link
    links: dict[str, str] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)
    #: what was added as a whole, links on the way followed
    tops: set[str] = field(default_factory=set)
    _walked: set[str] = field(default_factory=set)

    def add(self, path: str) -> None:
        """Add a file, or a directory with all that is in it.

        Raises
        ------
        InvalidRequestError
            When there is nothing, or something that cannot be copied.
        """
        if ".git" in path.split("/"):
            raise InvalidRequestError(f"'{path}' is inside a git directory")
        here, source = "", self.root
        for name in filter(None, path.split("/")):
            step = self._enter(f"{here}/{name}" if here else name, source / name)
            if step is None:
                self.tops.add(f"{here}/{name}" if here else name)
                return
            here, source = step
        self._add_directory(here, source)

    def add_way(self, path: str) -> None:
        """Add the directories and links to a path, and the path itself if it is a directory."""
        here, source = "", self.root
        for name in filter(None, path.split("/")):
            following = f"{here}/{name}" if here else name
            if not (source / name).is_dir():
                break
            here, source = self._enter(following, source / name) or (following, source / name)
        self.directories.add(here)

    def add_directory(self, path: str) -> None:
        """Add a directory, whether there is one in the dataset or not."""
        self.directories.add(path)

    def all_directories(self) -> list[str]:
        """Return the directories with those above them, these first."""
        held = {above for path in self.directories for above in ancestors(path)}
        for path in (*self.files, *self.links):
            held.update(ancestors(path.rpartition("/")[0]))
        return sorted(held - {""}, key=lambda path: (path.count("/"), path))

    def _add_directory(self, path: str, source: Path) -> None:
        pending: list[tuple[str, Path, tuple[str, ...]]] = [(path, source, ())]
        while pending:
            here, source, above = pending.pop()
            if here in self._walked:
                continue
            self._walked.add(here)
            real = os.path.realpath(source)
            if real in above:
                raise InvalidRequestError(f"'{here}' leads round in a circle; it cannot be copied")
            self.directories.add(here)
            if not any(is_below(here, top) for top in self.tops):
                self.tops.add(here)
            try:
                names = sorted(os.listdir(source))  # noqa: PTH208 - names, not paths
            except OSError as exc:
                raise InvalidRequestError(f"'{here}' cannot be read: {exc.strerror}") from exc
            for name in names:
                if name == ".git":
                    continue
                child = f"{here}/{name}" if here else name
                step = self._enter(child, source / name)
                is_loop = child in self.links and step is not None and is_below(child, step[0])
                if step is not None and not is_loop:
                    pending.append((*step, (*above, real)))

    def _enter(self, path: str, source: Path) -> tuple[str, Path] | None:
        """Note what is at a path; return the directory that it is, or leads to, if any."""
        try:
            is_link = source.is_symlink()
            mode = source.stat().st_mode
        except OSError as exc:
            if not source.is_symlink():
                raise InvalidRequestError(f"'{path}' is not there, or not readable") from exc
            raise InvalidRequestError(
                f"'{path}' is a link to nothing; if its content is annexed, `datalad get` it"
            ) from exc
        real = os.path.realpath(source)
        if stat.S_ISREG(mode):
            self.files[path] = Path(real)
            return None
        if not stat.S_ISDIR(mode):
            raise InvalidRequestError(f"'{path}' is neither a file nor a directory")
        target = os.path.relpath(real, self.root)
        is_within = target != ".." and not target.startswith("../")
        if is_link and is_within and ".git" not in target.split("/"):
            target = "" if target == "." else target
            self.links[path] = os.path.relpath(target or ".", os.path.dirname(path) or ".")  # noqa: PTH120
            self.directories.add(target)
            return target, Path(real)
        self.directories.add(path)
        return path, Path(real)
