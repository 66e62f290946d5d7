"""Records too large for a commit message, in files of their own as `datalad run` keeps them."""

from __future__ import annotations

import hashlib
import json
import lzma
from pathlib import PurePosixPath

from datalad_slurm.dataset.git import Repo
from datalad_slurm.jobs.errors import DatasetError, RecordError
from datalad_slurm.jobs.record import Sidecar

__all__ = ["place_record", "read_sidecar"]

#: Commit messages are read by people: a longer record makes way (characters).
_LONGEST_INLINE = 16_384
#: No record is this large; a file that claims so is not one (bytes).
_MOST_BYTES = 256 * 2**20


def place_record(
    repo: Repo, record: str, directory: str, *, use_sidecar: bool | None
) -> tuple[str, list[str]]:
    """Return the text for the commit message, and the files to commit with it.

    Parameters
    ----------
    repo : Repo
        The repository.
    record : str
        JSON text.
    directory : str
        Where such files lie, relative to the root.
    use_sidecar : bool, optional
        Whether to use a file; when not given, only a long record gets one.
    """
    if not (len(record) > _LONGEST_INLINE if use_sidecar is None else use_sidecar):
        return record, []
    raw = record.encode(errors="surrogateescape")
    name = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    path = PurePosixPath(directory) / name
    target = repo.root / path
    if not target.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        # one record a line, compressed, as datalad's own reader expects
        target.write_bytes(lzma.compress(_one_line(record).encode()))
    return f'"{name}"', [str(path)]


def _one_line(record: str) -> str:
    return json.dumps(json.loads(record)) + "\n"


def read_sidecar(repo: Repo, sidecar: Sidecar, directory: str, commit: str) -> str:
    """Return the text of a record that has a file of its own.

    Parameters
    ----------
    repo : Repo
        The repository.
    sidecar : Sidecar
        What the commit's message names.
    directory : str
        Where such files lie, relative to the root.
    commit : str
        Holds the file if the working tree does not.

    Raises
    ------
    RecordError
        When the file is not there, or holds no record.
    """
    path = repo.root / directory / sidecar.name
    try:
        if path.is_symlink() or path.exists():
            raw = path.read_bytes()
        else:
            name = (PurePosixPath(directory) / sidecar.name).as_posix()
            raw = repo.run("cat-file", "blob", f"{commit}:{name}")
        content = lzma.LZMADecompressor().decompress(raw, _MOST_BYTES)
        return content.decode()
    except FileNotFoundError as exc:
        raise RecordError(
            f"the record is in the file {path}, which is not here; get it with `datalad get`"
        ) from exc
    except (OSError, DatasetError, lzma.LZMAError, UnicodeDecodeError) as exc:
        raise RecordError(f"the record in {path} cannot be read: {exc}") from exc
