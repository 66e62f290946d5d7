"""What git-annex says of keys: their names, and where it keeps what belongs to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from datalad_slurm.dataset.git import Repo
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["BACKENDS", "OBJECTS", "is_key_of", "keys_of_digests", "places_of"]

#: Where git-annex keeps content, by default, relative to the root.
OBJECTS = ".git/annex/objects/"
#: Backends whose keys depend on nothing but content and name, as git-annex names them.
BACKENDS = frozenset(
    name + extension
    for name in ("MD5", "SHA1", "SHA224", "SHA256", "SHA384", "SHA512")
    for extension in ("", "E")
)


def places_of(repo: Repo, keys: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return where git-annex keeps content, below its objects, and its location log.

    Keys of which it does not tell that are left out.
    """
    asked = list(dict.fromkeys(keys))
    if not asked:
        return {}
    form = "--format=${hashdirmixed}${key}/${key} ${hashdirlower}${key}.log\\n"
    told = repo.run("annex", "examinekey", "--batch", form, input="\n".join(asked).encode())
    places = {}
    for key, line in zip(asked, told.decode().split("\n"), strict=False):
        place, _, log = line.partition(" ")
        if place.split("/")[2:] == [key, key] and log.split("/")[2:] == [f"{key}.log"]:
            places[key] = (place, log)
    return places


def is_key_of(key: str, backend: str, digest: str) -> bool:
    """Return whether a key is the one of a content, whatever extension it has."""
    name, _, rest = key.partition("--")
    return name.startswith(f"{backend}-s") and rest.partition(".")[0] == digest


def keys_of_digests(
    repo: Repo, backend: str, contents: Sequence[tuple[str, int, str]]
) -> list[str]:
    """Return the keys that git-annex gives to files of which digest, size and path are known.

    Parameters
    ----------
    repo : Repo
        The repository.
    backend : str
        One of `BACKENDS`.
    contents : sequence of tuples
        Digest, size (bytes), and path without line breaks.

    Raises
    ------
    DatasetError
        When git-annex does not tell them all.

    Notes
    -----
    The extension, where the backend keeps it, comes from ``git annex examinekey
    --migrate-to-backend`` (git-annex-examinekey(1)).
    """
    plain = backend.removesuffix("E")
    lines = [
        f"{plain}-s{size}--{digest} {PurePosixPath(path).name}" for digest, size, path in contents
    ]
    command = ("examinekey", "--batch", f"--migrate-to-backend={backend}", "--format=${key}\\n")
    told = repo.run("annex", *command, input="\n".join(lines).encode())
    keys = told.decode().splitlines()
    wanted = [f"{backend}-s{size}--{digest}" for digest, size, _ in contents]
    if len(keys) != len(wanted) or not all(map(str.startswith, keys, wanted)):
        raise DatasetError("git-annex does not tell the keys of the files of a packed directory")
    return keys
