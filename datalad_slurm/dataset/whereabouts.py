"""Where the files of a dataset can be had, as git-annex and git's configuration tell."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit

from datalad_slurm.dataset.git import Repo
from datalad_slurm.jobs.source import Whereabouts

__all__ = ["find_whereabouts", "public_addresses", "special_remotes"]

#: git-annex's remote for addresses in the web (its Logs.Web, webUUID)
_WEB = "00000000-0000-0000-0000-000000000001"
_FIELD = re.compile(r"(name|type)=(\S+)")


def find_whereabouts(repo: Repo, keys: Iterable[str]) -> dict[str, Whereabouts]:
    """Return where the contents of keys can be had; no entry, where git-annex does not tell.

    One process for any number of keys, and no network.
    """
    asked = [key for key in dict.fromkeys(keys) if "\n" not in key]
    if not asked or not repo.has_annex:
        return {}
    told = repo.run(
        "annex", "whereis", "--json", "--batch-keys",
        input=b"".join(os.fsencode(key) + b"\n" for key in asked), ok_codes=(0, 1),
    )  # fmt: skip
    found = {}
    for line in filter(None, told.splitlines()):
        entry = json.loads(line)
        holders = [*entry.get("whereis", ()), *entry.get("untrusted", ())]
        urls = (_without_user(url) for each in holders for url in each["urls"])
        uuids = (each["uuid"] for each in holders)
        found[entry["key"]] = Whereabouts(
            tuple(dict.fromkeys(urls)), tuple(uuid for uuid in uuids if uuid != _WEB)
        )
    return found


def special_remotes(repo: Repo) -> dict[str, str]:
    """Return name and type of each special remote, such as ``archive (S3)``, by UUID.

    Other repositories are described by names of hosts and users, which is nobody's business.
    Source: git-annex, "internals", remote.log.
    """
    if not repo.has_annex:
        return {}
    told = os.fsdecode(repo.run("cat-file", "-p", "git-annex:remote.log", ok_codes=(0, 128)))
    remotes = {}
    for line in told.splitlines():
        uuid, _, settings = line.partition(" ")
        fields = dict(_FIELD.findall(settings))
        remotes[uuid] = f"{fields.get('name', uuid)} ({fields.get('type', 'special remote')})"
    return remotes


def public_addresses(repo: Repo) -> list[str]:
    """Return the addresses in the web from which the dataset can be cloned."""
    told = repo.run("config", "-z", "--get-regexp", r"^remote\..*\.url$", ok_codes=(0, 1))
    urls = (os.fsdecode(entry.partition(b"\n")[2]) for entry in told.split(b"\0"))
    return list(dict.fromkeys(map(_without_user, filter(_is_in_web, urls))))


def _is_in_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _without_user(url: str) -> str:
    """Return an address without the name and password that may stand before its host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
