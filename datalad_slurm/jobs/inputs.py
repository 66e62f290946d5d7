"""What the inputs and the script of a job were at submission, and what has changed since.

An identity is a small JSON object that stands for content: ``{"key": ...}`` of
git-annex, ``{"blob": ...}`` as git hashes the bytes as they are, ``{"size": ...,
"mtime_ns": ...}`` of a file too large to be read for this, ``{"commit": ...}`` of
another repository, or what else there is: ``missing``, ``unreadable``,
``special``, ``directory``. A link adds ``link``, its target.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = [
    "MISSING",
    "Identity",
    "InputReport",
    "InputState",
    "digest",
    "is_same",
    "key_checksum",
    "key_size",
    "read_identity",
    "read_states",
    "same_key",
]

Identity = Mapping[str, Any]

MISSING: Identity = {"missing": True}
#: So many changes are named in a message.
_NAMED = 3
#: BACKEND[-sSIZE][-mMTIME][-SCHUNKSIZE-CCHUNK]--NAME (git-annex, "internals/key format")
_KEY = re.compile(r"([A-Z0-9_]+)((?:-[a-zA-Z]\d+)*)--(.*)", re.DOTALL)
#: backends of keys whose name is a checksum in common use
_CHECKSUM_BACKENDS = frozenset({"MD5", "SHA1", "SHA256", "SHA512"})


def key_size(key: str) -> int | None:
    """Return the size in bytes that a key of git-annex tells, if it does."""
    match = _KEY.fullmatch(key)
    size = re.search(r"-s(\d+)", match[2]) if match else None
    return int(size[1]) if size else None


def key_checksum(key: str) -> tuple[str, str] | None:
    """Return the checksum in a key of git-annex: its algorithm, such as ``md5``, and hex digits.

    None for a key that is made of something else, or with an algorithm that is seldom used.
    """
    match = _KEY.fullmatch(_plain(key))
    if match is None or match[1] not in _CHECKSUM_BACKENDS:
        return None
    return match[1].lower(), match[3]


def same_key(one: str, other: str) -> bool:
    """Return whether two keys of git-annex stand for the same content.

    Backends whose name ends in E add the file's extension to the checksum.
    """
    return _plain(one) == _plain(other)


def _plain(key: str) -> str:
    match = _KEY.fullmatch(key)
    if match is None or not match[1].endswith("E") or match[1] == "E":
        return key
    return f"{match[1][:-1]}{match[2]}--{match[3].partition('.')[0]}"


def is_same(one: Identity, other: Identity) -> bool:
    """Return whether two identities say by themselves that the content is the same."""
    if "key" in one and "key" in other:
        return same_key(one["key"], other["key"])
    return _content(one) == _content(other)


def _content(identity: Identity) -> Identity:
    """Return an identity without the link that leads to it, if that is not all there is."""
    return {k: v for k, v in identity.items() if k != "link"} or identity


def digest(files: Mapping[str, Identity]) -> str:
    """Return one checksum (SHA-256, hex) that stands for many paths and their identities."""
    total = hashlib.sha256()
    for path in sorted(files):
        content = json.dumps(_content(files[path]), sort_keys=True)
        total.update(path.encode(errors="surrogateescape") + b"\0" + content.encode() + b"\0")
    return total.hexdigest()


class InputState(NamedTuple):
    """One input or script: what it was at submission, and, where that differs, what it is now."""

    #: relative to the root, absolute elsewhere; empty for a script that had no file
    path: str
    noted: Identity
    #: what it is now, when it is not as noted, or that cannot be told
    now: Identity | None = None
    #: how: committed, modified, changed (either), removed, new; empty when it has not changed,
    #: or nobody can tell
    change: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the input as a record has it."""
        content = {"path": self.path or ".", **self.noted}
        if self.now is not None:
            content["now"] = dict(self.now)
        return content | ({"change": self.change} if self.change else {})


class InputReport(NamedTuple):
    """The inputs and scripts of one job, at its finish."""

    inputs: Sequence[InputState] = ()
    scripts: Sequence[InputState] = ()

    @property
    def changed_inputs(self) -> list[InputState]:
        """The inputs that are known to have changed."""
        return [state for state in self.inputs if state.change]

    @property
    def changed_scripts(self) -> list[InputState]:
        """The scripts that are known to have changed."""
        return [state for state in self.scripts if state.change]

    def to_json(self) -> dict[str, Any]:
        """Return what a record holds of them; nothing where nothing was noted."""
        content: dict[str, Any] = {}
        if self.inputs:
            content["inputs"] = [state.to_json() for state in self.inputs]
        scripts = [_script_json(state) for state in self.scripts]
        if scripts:
            content["script"] = scripts[0] if len(scripts) == 1 else scripts
        return content

    def details(self) -> dict[str, Any]:
        """Return what a result holds of the changes, one entry for each."""
        content = {
            "changed_inputs": [state.to_json() for state in self.changed_inputs],
            "changed_scripts": [_script_json(state) for state in self.changed_scripts],
        }
        return {key: value for key, value in content.items() if value}

    def message(self) -> str:
        """Return one sentence that names what has changed, or nothing."""
        parts = []
        if inputs := self.changed_inputs:
            noun = "this input has" if len(inputs) == 1 else f"{len(inputs)} inputs have"
            parts.append(f"{noun} changed since the submission: {_named(inputs)}")
        if scripts := self.changed_scripts:
            noun = "the script has" if len(scripts) == 1 else f"{len(scripts)} scripts have"
            parts.append(
                f"{noun} changed since the submission, the job ran what was submitted: "
                f"{_named(scripts)}"
            )
        return "; ".join(parts)


#: What an identity may hold: a hexadecimal checksum, a text, a number, or just the word.
_CHECKSUMS = frozenset({"blob", "commit", "tree", "digest", "sha256"})
_TEXTS = frozenset({"key", "link", "archived", "text"})
_NUMBERS = frozenset({"size", "mtime_ns", "files", "more_than"})
_FLAGS = frozenset(
    {"missing", "unreadable", "special", "directory", "wrap", "stdin", "as_recorded"}
)


def read_identity(content: object) -> Identity:
    """Return what is well-formed of an identity that somebody may have written by hand."""
    if not isinstance(content, dict):
        return {}
    return {key: value for key, value in content.items() if _is_valid(key, value)}


def _is_valid(key: object, value: object) -> bool:
    if isinstance(value, str):
        is_hex = re.fullmatch(r"[0-9a-f]{40,64}", value) is not None
        return (key in _CHECKSUMS and is_hex) or (key in _TEXTS and "\0" not in value)
    if isinstance(value, bool):
        return value and key in _FLAGS
    return isinstance(value, int) and key in _NUMBERS


def read_states(content: object, is_inside: Callable[[str], bool]) -> Iterator[InputState]:
    """Yield the inputs or scripts that a record holds, as far as they are well-formed.

    A path that leads out of the dataset is left out, so that nobody follows it.
    """
    for entry in content if isinstance(content, list) else [content]:
        noted = read_identity(entry)
        if not isinstance(entry, dict) or not noted:
            continue
        path, change = entry.get("path"), entry.get("change")
        yield InputState(
            path if isinstance(path, str) and is_inside(path) else "",
            noted,
            read_identity(entry["now"]) if "now" in entry else None,
            change if isinstance(change, str) and change in _WORDS else "",
        )


def _script_json(state: InputState) -> dict[str, Any]:
    content = state.to_json()
    return content if state.path else {k: v for k, v in content.items() if k != "path"}


_WORDS = {
    "committed": "a new version was committed",
    "modified": "not committed",
    "changed": "it has another content",
    "removed": "it is gone",
    "new": "it was not there",
}


def _named(states: Iterable[InputState]) -> str:
    listed = list(states)
    names = [f"'{_printable(s.path)}' ({_WORDS[s.change]})" for s in listed[:_NAMED]]
    more = len(listed) - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def _printable(path: str) -> str:
    return path.encode(errors="surrogateescape").decode(errors="replace") or "."
