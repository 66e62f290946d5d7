"""Notes in the git directory of what is being done, for whoever comes after a crash."""

from __future__ import annotations

import json
import os

from datalad_slurm.dataset.git import Repo
from datalad_slurm.jobs.errors import DatasetError

__all__ = ["write_note"]


def write_note(repo: Repo, name: str, content: object) -> None:
    """Write a note, and see it to the disk; what it said before is gone.

    Parameters
    ----------
    repo : Repo
        The repository.
    name : str
        Of the file, below the directory of this extension.
    content : object
        What JSON can hold.

    Raises
    ------
    DatasetError
        When that cannot be written.
    """
    try:
        with repo.state_file(name).open("w") as note:
            note.write(json.dumps(content))  # quicker than json.dump
            note.flush()
            os.fsync(note.fileno())
    except OSError as exc:
        raise DatasetError(f"{repo.state_dir / name} cannot be written: {exc.strerror}") from exc
