"""Tables of jobs are read as they are written, or refused with the line."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.table import read_table, table_of

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
names = st.lists(texts.map(str.strip).filter(bool), min_size=2, max_size=4, unique=True)


def rows(content, name="t.csv"):
    return [(row.line, dict(row.values)) for row in read_table(content.encode(), name).rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "a,b\n1,2\n3,4\n"),
        ("t.csv", "\ufeffa,b\r\n1,2\r\n3,4"),
        ("t.csv", '"a", b \n"1",2\n3,4\n'),
        ("t.tsv", "a\tb\n1\t2\n3\t4\n"),
        ("-", "a\tb\n1\t2\n3\t4\n"),
        ("table.txt", "a,b\n1,2\n3,4\n"),
        ("t.jsonl", '{"a": 1, "b": "2"}\n{"a": "3", "b": 4}'),
        ("-", '{"a": 1, "b": 2}\n{"b": "4", "a": "3"}\n'),
    ],
)
def test_rows_are_read_whatever_the_format(name, content):
    values = [values for _, values in rows(content, name)]
    assert values == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_lines_are_those_of_the_file():
    assert [line for line, _ in rows('a,b\n\n"1\n1",2\n\n3,4\n')] == [3, 6]
    assert [line for line, _ in rows('{"a": 1}\n\n{"a": 2}\n', "t.jsonl")] == [1, 3]


def test_values_stay_as_they_are_written():
    assert rows("a,b\n1.50, x \n")[0][1] == {"a": "1.50", "b": " x "}
    written = '{"a": 1.50, "b": 1e3, "c": true, "d": null, "e": 12345678901234567890, "f": NaN}'
    assert rows(written, "t.jsonl")[0][1] == {
        "a": "1.50", "b": "1e3", "c": "true", "d": "", "e": "12345678901234567890", "f": "NaN",
    }  # fmt: skip


def test_a_column_without_a_name_is_allowed():
    assert rows(",a\n1,2\n")[0][1] == {"": "1", "a": "2"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "a,b\n1\n", "line 2 of t.csv: it has 1 cell, and the header has 2"),
        ("t.csv", "a,b\n1,2\n1,2,3\n", "line 3 of t.csv: it has 3 cells"),
        ("t.csv", "a,b,a\n1,2,3\n", "line 1 of t.csv: there are several columns 'a'"),
        ("t.csv", 'a,b\n1,2\n"1,2\n', "line 3 of t.csv: it cannot be read"),
        ("t.csv", 'a,b\n"1"x,2\n', "line 2 of t.csv: it cannot be read"),
        ("t.csv", "a,b\n1,\0\n", "line 2 of t.csv: 'b' holds a null character"),
        ("t.jsonl", '{"a": 1}\n{"a": \n', "line 2 of t.jsonl: it is not JSON"),
        ("t.jsonl", '[{"a": 1}]\n', "line 1 of t.jsonl: it is not a JSON object"),
        ("t.jsonl", '{"a": 1, "a": 2}\n', "line 1 of t.jsonl: there are several columns 'a'"),
        ("t.jsonl", '{"a": [1]}\n', "line 1 of t.jsonl: 'a' is neither text nor number"),
        ("t.jsonl", '{"a": "\\ud800"}\n', "line 1 of t.jsonl: 'a' holds what is no character"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(name, content, said):
    with pytest.raises(InvalidRequestError, match=said.replace("[", r"\[")):
        rows(content, name)


def test_bytes_that_are_not_utf8_are_refused_with_their_line():
    with pytest.raises(InvalidRequestError, match=r"line 3 of t\.csv: it is not UTF-8"):
        read_table(b"a,b\n1,2\n\xff,4\n", "t.csv")
    with pytest.raises(InvalidRequestError, match=r"line 1 of t\.csv: it is not UTF-8"):
        read_table("a,b\n1,2\n".encode("utf-16"), "t.csv")


def test_tables_without_rows_are_empty():
    assert rows("") == rows("a,b\n") == rows("\n\n") == rows("", "t.jsonl") == []


def test_objects_are_rows():
    table = table_of([{"a": 1, "b": "x"}, {"a": 0.5}])
    assert [dict(row.values) for row in table.rows] == [{"a": "1", "b": "x"}, {"a": "0.5"}]
    assert table.where(table.rows[1].line) == "line 2 of the table"
    for wrong in ([1], [{1: 2}], [{"a": []}]):
        with pytest.raises(InvalidRequestError, match="line 1 of the table"):
            table_of(wrong)


@pytest.mark.faults
@given(names, st.lists(st.lists(texts, min_size=4, max_size=4), max_size=4), st.sampled_from(",\t"))
def test_what_a_csv_writer_writes_is_read_again(header, values, delimiter):
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerow(header)
    wanted = [dict(zip(header, row, strict=False)) for row in values]
    writer.writerows(list(row.values()) for row in wanted)
    suffix = {",": "csv", "\t": "tsv"}[delimiter]
    assert [found for _, found in rows(stream.getvalue(), f"t.{suffix}")] == wanted


@pytest.mark.faults
@given(st.lists(st.dictionaries(texts.map(str.strip), texts, min_size=1), max_size=4))
def test_what_a_json_writer_writes_is_read_again(wanted):
    content = "\n".join(map(json.dumps, wanted))
    assert [found for _, found in rows(content, "t.jsonl")] == wanted


@pytest.mark.faults
@given(st.binary(), st.sampled_from(["t.csv", "t.tsv", "t.jsonl", "-"]))
def test_any_bytes_are_read_or_refused(content, name):
    try:
        table = read_table(content, name)
    except InvalidRequestError as exc:
        assert "line " in str(exc)
    else:
        assert all("\0" not in value for row in table.rows for value in row.values.values())
