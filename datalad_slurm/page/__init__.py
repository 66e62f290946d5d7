"""One page for a browser, with all that is known of some jobs; it needs nothing else.

The page is written as its jobs come: none of them is kept. They are lines of JSON, compressed,
in an element that no browser interprets; what draws them (``page.js`` and the files beside it)
sets them as text. By its content security policy no other script runs in the page, and
nothing is loaded.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from importlib.resources import files
from typing import IO, Any

__all__ = ["PageWriter"]

_SCRIPTS = ("page.js", "details.js", "graph.js", "start.js")
#: gzip's header, which browsers ask for (zlib.compressobj)
_GZIP = 31


class PageWriter:
    """Writes a page.

    Parameters
    ----------
    file : binary file
        To be written to.
    head : mapping
        What the page says of itself: ``name``, ``selection``, ``made`` (s since the epoch).
    """

    def __init__(self, file: IO[bytes], head: Mapping[str, Any]) -> None:
        script = "\n".join(_asset(name) for name in _SCRIPTS)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        page = _asset("page.html").replace("@HASH@", digest).replace("@STYLE@", _asset("page.css"))
        before, _, after = page.replace("@SCRIPT@", script).partition("@DATA@")
        self._file = file
        self._after = after
        self._zip = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
        self._rest = b""
        #: bytes of the page so far, some still on their way
        self.size = len(before) + len(after)
        file.write(before.encode())
        self._add(head)

    def add(self, job: Mapping[str, Any]) -> None:
        """Write a job; the newest comes first.

        Raises
        ------
        ValueError
            When it holds a number that JSON has not.
        """
        self._add(job)

    def close(self) -> None:
        """Write the end of the page; the file stays open."""
        self._write(self._zip.flush(), is_last=True)
        self._file.write(self._after.encode())

    def _add(self, content: Mapping[str, Any]) -> None:
        # names that are no UTF-8 hold surrogates, which are escaped
        text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        self._write(self._zip.compress(f"{text}\n".encode()))

    def _write(self, raw: bytes, *, is_last: bool = False) -> None:
        raw = self._rest + raw
        # base64 stands for three bytes at a time
        whole = len(raw) if is_last else len(raw) - len(raw) % 3
        self._rest = raw[whole:]
        encoded = base64.b64encode(raw[:whole])
        self.size += len(encoded)
        self._file.write(encoded)


def _asset(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8").rstrip("\n")
