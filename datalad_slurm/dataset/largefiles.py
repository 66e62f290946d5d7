"""Ask git and git-annex which files git-annex would annex, and with which backend."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence

from datalad_slurm.dataset.git import IN_ORDER, Repo, nul_joined
from datalad_slurm.dataset.keys import BACKENDS

__all__ = ["UNSPECIFIED", "decide", "read_attributes"]

#: What git says of an attribute that is not given.
UNSPECIFIED = "unspecified"
#: Of these it is plain whether they match (git-annex-matching-expression).
_PLAIN_EXPRESSIONS = {UNSPECIFIED: True, "anything": True, "nothing": False}
#: With more of them, git-annex is not started for each.
_MOST_EXPRESSIONS = 20
#: What git-annex says of a file that goes into git (Command.Add, startSmall).
_INTO_GIT = "non-large file; adding content to git repository"


def read_attributes(repo: Repo, paths: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return backend and annex.largefiles of paths, each as git writes it.

    Paths with a backend that is not in `BACKENDS` are left out.

    Raises
    ------
    DatasetError
        When git fails.
    """
    names = ("annex.backend", "annex.largefiles")
    told = repo.run("check-attr", "-z", "--stdin", *names, input=nul_joined(paths))
    fields = list(map(os.fsdecode, told.split(b"\0")))
    # of each path: path, name, value for the one and for the other
    rows = zip(fields[::6], fields[2::6], fields[5::6], strict=False)
    return {
        path: (backend, largefiles)
        for path, backend, largefiles in rows
        if backend in BACKENDS or backend == UNSPECIFIED
    }


def decide(
    repo: Repo,
    attributes: Mapping[str, tuple[str, str]],
    env: dict[str, str],
    *,
    attributes_decide: bool,
) -> dict[str, bool]:
    """Return, for each path, whether git-annex would annex it; where that is certain.

    Parameters
    ----------
    repo : Repo
        A repository with git-annex.
    attributes : mapping
        What `read_attributes` returned.
    env : dict
        Names an index that does not exist, so that no other is looked at.
    attributes_decide : bool
        Whether the configuration leaves that to attributes.

    Raises
    ------
    DatasetError
        When git-annex fails.
    """
    decided: dict[str, bool] = {}
    asked: dict[str, list[str]] = {}
    for path, (_, expression) in attributes.items():
        is_dotfile = path.startswith(".") or "/." in path
        if not attributes_decide or is_dotfile:
            asked.setdefault("", []).append(path)
        elif expression in _PLAIN_EXPRESSIONS:
            decided[path] = _PLAIN_EXPRESSIONS[expression]
        else:
            asked.setdefault(expression, []).append(path)
    if len(asked) > _MOST_EXPRESSIONS:
        asked = {"": [path for paths in asked.values() for path in paths]}
    if asked:
        answers: dict[str, bool] = {}
        for expression, paths in asked.items():
            # git-annex reads one of the configuration once, and those of attributes for each file,
            # with libmagic's whole database where it asks for a mimetype (Annex.FileMatcher)
            configured = ("-c", f"annex.largefiles={expression}") if expression else ()
            answers |= _ask_annex(repo, paths, env, *configured)
        large = [path for path, is_large in answers.items() if is_large]
        # of a git-annex that does not say what goes into git, nobody knows what it would annex
        options = ("-c", "annex.largefiles=nothing", "-c", "annex.addsmallfiles=true")
        probe = _ask_annex(repo, large[:1], env, *options)
        if probe == dict.fromkeys(large[:1], False):
            decided |= answers
    return decided


def _ask_annex(
    repo: Repo, paths: Sequence[str], env: dict[str, str], *options: str
) -> dict[str, bool]:
    """Return, for each path that git-annex tells it of, whether it would annex it.

    What it says in another way than known here is no answer.
    """
    if not paths:
        return {}
    command = ("add", "--dry-run", "--batch", "-z", "--json", "--no-check-gitignore")
    # 1: some it would not add, each line says so
    said = repo.run(
        *options, *IN_ORDER, "annex", *command,
        input=nul_joined(paths), env=env, ok_codes=(0, 1),
    )  # fmt: skip
    lines = said.split(b"\n")
    if len(lines) != len(paths) + 1:
        return {}
    answers: dict[str, bool] = {}
    for path, line in zip(paths, lines, strict=False):
        try:
            answer = json.loads(line) if line.strip() else {}
        except ValueError:
            return {}
        # with annex.jobs the order may be another (git-annex-add(1))
        if answer.get("input", [path]) != [path] and path.isprintable():
            return {}
        note = answer.get("note")
        if answer.get("success") and note in (None, _INTO_GIT):
            answers[path] = note is None
    return answers
