"""The special remote that has git-annex take content out of archives.

It is datalad-next's ``archivist``: it stores nothing, and gets a key out of the archive
that its URL names.
"""

from __future__ import annotations

import os
import uuid as uuids
from collections.abc import Iterator

from datalad_slurm.dataset.annex_branch import bring_up_to_date
from datalad_slurm.dataset.git import Repo

__all__ = ["archivist_uuid"]

_TYPE = "archivist"
#: The same in all clones, also where two have made the remote before they knew of each other;
#: of two remotes of the same name, git-annex enables one only. Made as datalad-core makes those
#: of its special remotes (datalad.consts).
_UUID = str(uuids.uuid5(uuids.NAMESPACE_URL, f"http://datalad.org/specialremotes/{_TYPE}"))
_LOG = "refs/heads/git-annex:remote.log"


def archivist_uuid(repo: Repo) -> str:
    """Return the UUID of the special remote, which is made, or enabled, where it is not.

    Clones enable it by themselves (``autoenable``).

    Raises
    ------
    DatasetError
        When git-annex cannot start it.
    """
    bring_up_to_date(repo)
    remotes = dict(_remotes(repo))
    known = [uuid for uuid, config in remotes.items() if config.get("externaltype") == _TYPE]
    enabled = _enabled(repo)
    usable = [uuid for uuid in known if uuid in enabled.values()]
    if usable:
        return usable[0]
    if known:
        repo.run("annex", "enableremote", known[0])
        return known[0]
    taken = {config.get("name") for config in remotes.values()} | enabled.keys()
    names = (_TYPE if number == 1 else f"{_TYPE}-{number}" for number in range(1, len(taken) + 2))
    name = next(each for each in names if each not in taken)
    options = ("type=external", f"externaltype={_TYPE}", "encryption=none", "autoenable=true")
    repo.run("annex", "initremote", name, *options, f"uuid={_UUID}")
    return _UUID


def _remotes(repo: Repo) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield UUID and configuration of all special remotes (git-annex, "internals")."""
    if repo.ask("rev-parse", "--verify", "-q", _LOG) is None:
        return
    for line in os.fsdecode(repo.run("cat-file", "blob", _LOG)).splitlines():
        uuid, *words = line.split(" ")
        yield uuid, dict(word.split("=", 1) for word in words if "=" in word)


def _enabled(repo: Repo) -> dict[str, str]:
    """Return the UUIDs of the remotes that are configured here, by name."""
    pattern = r"^remote\..*\.(annex-uuid|url)$"
    told = repo.run("config", "-z", "--get-regexp", pattern, ok_codes=(0, 1))
    pairs = (os.fsdecode(entry).partition("\n") for entry in told.split(b"\0") if entry)
    found: dict[str, str] = {}
    for name, _, value in pairs:
        remote, _, variable = name.removeprefix("remote.").rpartition(".")
        found[remote] = value if variable == "annex-uuid" else found.get(remote, "")
    return found
