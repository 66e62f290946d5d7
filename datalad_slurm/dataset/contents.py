"""Read files as commits hold them, in git or in the annex, as far as the content is here."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.indexed import identity_of, key_in
from datalad_slurm.dataset.objects import ObjectReader
from datalad_slurm.jobs.inputs import Identity, key_size

__all__ = ["Contents"]

#: Longer blobs are no links into the annex (bytes).
_LONGEST_LINK = 32_768
_OBJECTS = b"annex/objects/"
#: no file can have this name
_NOT_HERE = ".git/annex/objects/./."


class Contents:
    """Reads any number of files through one ``git cat-file``; nothing is kept.

    To be used as a context manager.

    Parameters
    ----------
    repo : Repo
        The repository.
    """

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._objects = ObjectReader(repo)

    def __enter__(self) -> Contents:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._objects.__exit__(kind, error, trace)

    def read(self, name: str, most: int) -> bytes | None:
        """Return the end of a file, or None when it, or its content, is not here.

        Parameters
        ----------
        name : str
            ``commit:path``, or the id of a blob.
        most : int
            So many bytes at most.
        """
        blob = self._blob(name)
        if blob is None or len(blob) > _LONGEST_LINK or _OBJECTS not in blob:
            return blob if blob is None else blob[-most:]
        path = self._object(blob)
        if path is None:
            return blob[-most:]  # a text that only speaks of the annex
        try:
            with path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - most))
                return file.read(most)
        except OSError:
            return None

    def size(self, mode: str, blob: str) -> int | None:
        """Return the size of a file in bytes, or None when neither git nor its key tells."""
        return self.identify(mode, blob)[1]

    def identify(self, mode: str, blob: str) -> tuple[Identity, int | None]:
        """Return what stands for the content of a file or link, and its size.

        Nothing stands for one that git does not have; the size (bytes) is None when neither
        git nor the key tells it.

        Parameters
        ----------
        mode : str
            Git's mode.
        blob : str
            Id of the blob.
        """
        content = self._blob(blob)
        if content is None:
            return {}, None
        identity = identity_of(mode, blob, content)
        return identity, key_size(identity["key"]) if "key" in identity else len(content)

    def _blob(self, name: str) -> bytes | None:
        if "\n" in name:
            return None  # older versions of git read one name a line
        found = self._objects.read(name)
        return found.content if found and found.kind == "blob" else None

    def _object(self, blob: bytes) -> Path | None:
        """Return where the annex keeps the content of what git holds; None if git holds it all."""
        key = key_in(blob)
        if key:
            found = self._repo.run("annex", "contentlocation", key, ok_codes=(0, 1))
            return self._repo.root / (os.fsdecode(found.rstrip(b"\n")) or _NOT_HERE)
        parts = os.fsdecode(blob).rpartition("annex/objects/")[2].split("/")
        if len(parts) != 4 or parts[2] != parts[3] or ".." in parts or "\n" in parts[3]:
            return None
        return self._repo.common_dir.joinpath("annex", "objects", *parts)
