"""Read a table of jobs: CSV, TSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import PurePath
from typing import Any

from datalad_slurm.jobs.errors import InvalidRequestError

__all__ = ["Row", "Table", "read_table", "table_of"]

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_JSON_LINES = (".jsonl", ".ndjson", ".jsonlines")


@dataclass(frozen=True)
class Row:
    """One row; it is going to be one job."""

    #: in the file, from 1; of rows that are given as objects the number of the row
    line: int
    #: by the names of the columns, as text
    values: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """A table of jobs."""

    #: how messages name it
    name: str
    rows: tuple[Row, ...]

    def where(self, line: int) -> str:
        """Return how messages name a line."""
        return f"line {line} of {self.name}"


def read_table(content: bytes, name: str) -> Table:
    """Return the table that a file holds.

    What it is, the file's suffix tells: ``.csv``, ``.tsv`` or ``.jsonl``. With
    another one, as on standard input, the first line tells.

    Parameters
    ----------
    content : bytes
        UTF-8, with or without a byte order mark.
    name : str
        The file's name.

    Raises
    ------
    InvalidRequestError
        When it cannot be read; names the line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise _wrong(name, line, "it is not UTF-8") from exc
    suffix = PurePath(name).suffix.lower()
    first = next((line for line in text.splitlines() if line.strip()), "")
    if suffix in _JSON_LINES or (suffix not in _DELIMITERS and first.lstrip().startswith("{")):
        return Table(name, tuple(_json_lines(text, name)))
    delimiter = _DELIMITERS.get(suffix) or ("\t" if "\t" in first else ",")
    return Table(name, tuple(_separated(text, delimiter, name)))


def table_of(rows: Iterable[object]) -> Table:
    """Return the table that a list of objects is.

    Raises
    ------
    InvalidRequestError
        When one of them is no mapping from texts to texts or numbers.
    """
    name = "the table"
    found = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping) or not all(isinstance(key, str) for key in row):
            raise _wrong(name, number, "it is not a mapping from names of columns to values")
        found.append(Row(number, {key: _text(name, number, key, row[key]) for key in row}))
    return Table(name, tuple(found))


def _wrong(name: str, line: int, why: str) -> InvalidRequestError:
    return InvalidRequestError(f"line {line} of {name}: {why}; nothing was submitted")


def _separated(text: str, delimiter: str, name: str) -> Iterator[Row]:
    """Yield the rows below a header; lines without anything are passed over."""
    # line ends inside of quotes are the value's own
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as exc:
            raise _wrong(name, line, f"it cannot be read ({exc})") from exc
        if cells is None:
            return
        if len(cells) < 2 and not "".join(cells).strip():
            continue
        if header is None:
            header = _header(cells, name, line)
            continue
        if len(cells) != len(header):
            said = f"it has {_counted(len(cells))}, and the header has {len(header)}"
            raise _wrong(name, line, said)
        values = zip(header, cells, strict=True)
        yield Row(line, {key: _text(name, line, key, cell) for key, cell in values})


def _counted(cells: int) -> str:
    return "1 cell" if cells == 1 else f"{cells} cells"


def _header(cells: Sequence[str], name: str, line: int) -> list[str]:
    """Return the names of columns; one without a name may stand for what nobody uses."""
    header = [cell.strip() for cell in cells]
    twice = [column for column, times in Counter(filter(None, header)).items() if times > 1]
    if twice:
        raise _wrong(name, line, f"there are several columns '{twice[0]}'")
    return header


def _json_lines(text: str, name: str) -> Iterator[Row]:
    # str.splitlines also splits at characters that may stand in a JSON text
    for line, each in enumerate(text.split("\n"), 1):
        if not each.strip():
            continue
        try:
            # numbers stay as they are written
            pairs = json.loads(
                each,
                object_pairs_hook=_Pairs,
                parse_int=str,
                parse_float=str,
                parse_constant=str,
            )
        except (ValueError, RecursionError) as exc:
            raise _wrong(name, line, f"it is not JSON ({exc})") from exc
        if not isinstance(pairs, _Pairs):
            raise _wrong(name, line, "it is not a JSON object")
        _header([key for key, _ in pairs], name, line)
        yield Row(line, {key.strip(): _text(name, line, key, value) for key, value in pairs})


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it is written, names that come twice included."""


def _text(name: str, line: int, column: str, value: object) -> str:
    """Return a value as text; nothing for null."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return ""
    if not isinstance(value, str | Real | PurePath):
        raise _wrong(name, line, f"'{column}' is neither text nor number")
    text = str(value)
    if "\0" in text:
        raise _wrong(name, line, f"'{column}' holds a null character")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _wrong(name, line, f"'{column}' holds what is no character")
    return text
