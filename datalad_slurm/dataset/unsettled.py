"""Set right what a killed process has left of files that it was adding to the annex.

Between the move of a file into the annex and the note in its location log there are
moments in which nothing but the link tells of it; once that is committed, nobody looks
at it again. So the files are noted before the first is moved.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from datalad_slurm.dataset.files import plain_stat
from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.indexed import key_of
from datalad_slurm.dataset.notes import write_note
from datalad_slurm.dataset.presence import set_present

__all__ = ["forget_adding", "give_back", "note_adding", "settle_adding"]

_NAME = "adding.json"


def note_adding(repo: Repo, before: Mapping[str, tuple[int, int, int] | None]) -> None:
    """Note files that are about to be added: size, modification time (ns) and inode by path.

    Raises
    ------
    DatasetError
        When that cannot be written.
    """
    write_note(repo, _NAME, {path: each for path, each in before.items() if each})


def forget_adding(repo: Repo) -> None:
    """Remove the note: all is added, and known to git-annex."""
    (repo.state_dir / _NAME).unlink(missing_ok=True)


def settle_adding(repo: Repo) -> None:
    """Let git-annex know of all that a process was adding when it ended.

    A file that was written to after it was moved is given back.
    Only for the one process that finishes jobs.

    Raises
    ------
    DatasetError
        When git-annex fails; the note stays.
    """
    try:
        noted = json.loads((repo.state_dir / _NAME).read_bytes())
    except FileNotFoundError:
        return
    except ValueError:  # killed while it wrote this, so nothing was moved yet
        noted = {}
    objects = (repo.common_dir / "annex" / "objects").resolve()
    held: dict[str, Path] = {}
    for path, before in noted.items():
        link = repo.root / path
        with suppress(OSError):
            content = link.resolve(strict=True)
            if not link.is_symlink() or not content.is_relative_to(objects):
                continue
            now = plain_stat(content.stat())
            if now is not None and now[2] == before[2] and list(now) != before:
                give_back(repo, path, key_of(content.name))
            else:
                held[key_of(content.name)] = content
    # what was given back is no longer there; git-annex splits lines at spaces
    present = [key for key, content in held.items() if content.exists() and " " not in key]
    set_present(repo, present)
    forget_adding(repo)


def give_back(repo: Repo, path: str, key: str) -> None:
    """Move content that does not fit its key out of the store, to where it was."""
    link = repo.root / path
    content = link.resolve()
    for each in (content.parent, content):
        each.chmod(each.stat().st_mode | stat.S_IWUSR)
    content.replace(link)
    uuid = repo.ask("config", "annex.uuid")
    if uuid:
        repo.run("annex", "setpresentkey", key, uuid, "0")
