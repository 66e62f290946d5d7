"""Whether git-annex stores files in a repository as it does by default."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from datalad_slurm.dataset.git import Repo
from datalad_slurm.dataset.presence import read_common_settings

__all__ = ["AnnexSettings", "read_annex_settings"]

_VERSIONS = ("8", "9", "10")
#: Settings that change how git-annex stores a file, and the values that do not.
_MUST_BE = {
    "annex.addunlocked": ("false",),
    "annex.alwayscommit": ("true",),
    "annex.crippledfilesystem": ("false",),
    "annex.dbdir": ("",),
    "annex.freezecontent-command": ("",),
    "annex.genmetadata": ("false",),
    "annex.merge-annex-branches": ("true",),
    "annex.pidlock": ("false",),
    "annex.private": ("false",),
    "annex.secure-erase-command": ("",),
    "annex.securehashesonly": ("false",),
    "annex.thawcontent-command": ("",),
    "core.bare": ("false",),
    "core.sharedrepository": ("false", "umask"),
    "core.symlinks": ("true",),
}
_HOOKS = ("freezecontent-annex", "thawcontent-annex", "secure-erase-annex")
#: What decides, besides attributes, which files are annexed.
_CHOOSING = frozenset({"annex.addsmallfiles", "annex.largefiles"})


@dataclass(frozen=True)
class AnnexSettings:
    """What the configuration says of how git-annex adds files."""

    #: why it may store them in another way than by default; empty where it does not
    obstacle: str = ""
    #: whether attributes alone tell which files it annexes
    attributes_decide: bool = False


def read_annex_settings(repo: Repo) -> AnnexSettings:
    """Return how git-annex adds files.

    By default it keeps content in directories of the non-bare layout, read-only, shares
    nothing, and puts links into the working tree.

    Raises
    ------
    DatasetError
        When git or git-annex fails.
    """
    listed = repo.run("config", "-z", "--list").split(b"\0")
    pairs = (os.fsdecode(entry).partition("\n") for entry in listed if entry)
    config = {name: value if separator else "true" for name, separator, value in pairs}
    common = read_common_settings(repo)
    obstacle = next(_obstacles(repo, config, common), "")
    return AnnexSettings(obstacle, _CHOOSING.isdisjoint(config.keys() | common))


def _obstacles(repo: Repo, config: Mapping[str, str], common: frozenset[str]) -> Iterator[str]:
    for name, harmless in _MUST_BE.items():
        if name in config and config[name].lower() not in harmless:
            yield f"{name} is {config[name]}"
    for name in config:
        if name.startswith("annex.tune."):
            yield f"{name} is set"
    if not config.get("annex.uuid"):
        yield "annex.uuid is not set"
    if config.get("annex.version") not in _VERSIONS:
        yield f"the annex has version {config.get('annex.version')}"
    if repo.git_dir != repo.root / ".git" or repo.git_dir.is_symlink():
        yield ".git is no directory"
    if (repo.ask("symbolic-ref", "-q", "HEAD") or "").startswith("refs/heads/adjusted/"):
        yield "an adjusted branch is checked out"
    yield from _in_files(repo, config)
    for name in sorted(common & _MUST_BE.keys()):
        yield f"{name} is set in `git annex config`"


def _in_files(repo: Repo, config: Mapping[str, str]) -> Iterator[str]:
    given = config.get("core.hookspath")
    hooks = repo.root / Path(given).expanduser() if given else repo.git_dir / "hooks"
    for name in _HOOKS:
        if (hooks / name).exists():
            yield f"there is a hook {name}"
    try:
        names = os.listdir(repo.git_dir / "annex" / "objects")  # noqa: PTH208 - names suffice
    except FileNotFoundError:
        return  # nothing was annexed yet
    if any(len(name) == len("0f3") for name in names):
        yield "the annex has content where a bare repository keeps it"
