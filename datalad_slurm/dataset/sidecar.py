"""Records too large for a commit message, in files of their own as `datalad run` keeps them."""

from __future__ import annotations

import hashlib
import lzma
from pathlib import PurePosixPath

from datalad_slurm.dataset.git import Repo
from datalad_slurm.jobs.errors import RecordError
from datalad_slurm.jobs.record import Sidecar, is_inside

__all__ = ["place_record", "read_sidecar"]

_DEFAULT_DIRECTORY = ".datalad/runinfo"
#: Commit messages are read by people: a longer record makes way (characters).
_LONGEST_INLINE = 16_384
#: No record is this large; a file that claims so is not one (bytes).
_MOST_BYTES = 256 * 2**20


def place_record(repo: Repo, record: str) -> tuple[str, list[str]]:
    """Return the text for the commit message, and the files to commit with it.

    ``datalad.run.record-sidecar`` decides; unset, only a long record gets a
    file of its own.
    """
    wanted = repo.config("datalad.run.record-sidecar")
    use = len(record) > _LONGEST_INLINE if wanted is None else wanted.lower() in _TRUE
    if not use:
        return record, []
    raw = record.encode(errors="surrogateescape")
    name = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    path = _directory(repo) / name
    target = repo.root / path
    if not target.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        # one record a line, compressed, as datalad's own reader expects
        target.write_bytes(lzma.compress(_one_line(record).encode()))
    return f'"{name}"', [str(path)]


_TRUE = ("1", "true", "yes", "on")


def _one_line(record: str) -> str:
    import json

    return json.dumps(json.loads(record)) + "\n"


def read_sidecar(repo: Repo, sidecar: Sidecar) -> str:
    """Return the text of a record that has a file of its own.

    Raises
    ------
    RecordError
        When the file is not there, or holds no record.
    """
    path = repo.root / _directory(repo) / sidecar.name
    try:
        content = lzma.LZMADecompressor().decompress(path.read_bytes(), _MOST_BYTES)
        return content.decode()
    except FileNotFoundError as exc:
        raise RecordError(
            f"the record is in the file {path}, which is not here; get it with `datalad get`"
        ) from exc
    except (OSError, lzma.LZMAError, UnicodeDecodeError) as exc:
        raise RecordError(f"the record in {path} cannot be read: {exc}") from exc


def _directory(repo: Repo) -> PurePosixPath:
    configured = repo.config("datalad.run.record-directory") or _DEFAULT_DIRECTORY
    if not is_inside(configured):
        raise RecordError(f"datalad.run.record-directory is outside the dataset: {configured}")
    return PurePosixPath(configured)
