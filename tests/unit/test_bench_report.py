"""What the benchmark prints, keeps, and writes into the document."""

from __future__ import annotations

import pytest
from _bench import report
from _bench.bulk import annexed_of
from _bench.document import DOCUMENT, filled, regions
from _bench.finishing import Finished
from _bench.goals import judged
from _bench.measure import Row, Series
from _bench.processes import BenchError, Run
from _bench.results import Results


def run(wall):
    return Run(wall, 0.0, 0, 0.0, 0, "")


def calls(part, here, peer):
    made = Row("syscalls", part, {"jobs": 10, "files": 0}, part, unit="calls")
    made.series.update(here=Series([here]), peer=Series([peer]))
    return made


def test_calls_are_priced_by_the_job():
    table = report.prices([calls("both", 30.0, 7000.0)], milliseconds=1.0, jobs=10_000)
    assert table[1] == ["both", "30", "7,000", "5 minutes", "19.4 hours"]


def test_only_calls_are_priced():
    other = Row("list", "list", {"files": 0}, series={"here": Series([1.0])})
    assert len(report.prices([other], 1.0, 10)) == 1


@pytest.mark.parametrize(
    ("value", "text"), [(0.0012, "1.2 ms"), (0.25, "250 ms"), (12.345, "12.35 s")]
)
def test_seconds_are_written_for_people(value, text):
    row = Row("list", "list", {"files": 0}, series={"here": Series([value])})
    assert report.measurements([row])[1][1] == text


def test_a_cell_has_the_median_and_the_spread():
    row = Row("list", "list", {"files": 0})
    row.series.update(here=Series([1.0, 3.0, 2.0]), peer=Series([2.0, 9.0, 2.0]))
    cells = report.measurements([row])[1]
    assert cells[1] == "2.00 s (1.00 s-3.00 s)"
    assert cells[4] == "1 (1-3)"


def test_the_same_start_up_is_spread_over_as_many_jobs_for_both():
    sample = Finished(jobs=10, schedule=run(0), finish=run(21.0), idle=1.0)
    assert sample.per_job(1000) == pytest.approx(2.001)
    whole = Finished(jobs=1000, schedule=run(0), finish=run(21.0), idle=1.0)
    assert whole.per_job(1000) == pytest.approx(0.021)


def test_rows_of_a_scenario_replace_those_of_an_earlier_run(tmp_path):
    results = Results({"cores": 2}, [calls("both", 1.0, 2.0)])
    results.rows.append(Row("list", "list", {"files": 0, "jobs": 1}))
    results.replace([calls("both", 3.0, 4.0)], ["list", "syscalls"])
    results.write(tmp_path / "results.json")
    again = Results.read(tmp_path / "results.json")
    assert again == results
    assert [row.scenario for row in again.rows] == ["list", "syscalls"]
    assert again.rows[1].ratio == pytest.approx(4 / 3)


def test_a_file_that_is_no_result_is_refused(tmp_path):
    (tmp_path / "x.json").write_text('{"rows": []}')
    with pytest.raises(BenchError, match=r"x\.json"):
        Results.read(tmp_path / "x.json")


def test_only_the_regions_of_the_document_are_filled():
    text = "a\n<!-- bench: goals -->\nold\n<!-- bench: end -->\nb\n"
    new = filled(text, {"goals": r"new \1"})
    assert new == "a\n<!-- bench: goals -->\n\nnew \\1\n\n<!-- bench: end -->\nb\n"
    assert filled(new, {"goals": r"new \1"}) == new


def test_a_document_without_a_region_is_refused():
    with pytest.raises(BenchError, match="goals"):
        filled("nothing\n", {"goals": "x"})


def test_the_document_has_a_place_for_all_there_is_to_say():
    names = ("file_system", "system", "kernel", "python", "git", "git-annex", "slurm", "strace")
    numbers = dict.fromkeys(("cores", "processor", "memory_mb", "file_ms", "sync_ms"), 2)
    machine = {**dict.fromkeys(names, "x"), **numbers, "installed": {"here": {"datalad": "1.0"}}}
    text = filled(DOCUMENT.read_text(), regions(Results(machine, [calls("both", 1.0, 40.0)])))
    assert "| here | datalad 1.0 |" in text
    assert "| both | 1 | 40 |" in text
    assert text.count("not measured") >= 9


def test_goals_and_measurements_are_tables_of_markdown():
    rows = [calls("both", 1.0, 40.0)]
    for table in (report.goals(judged(rows), rows), report.measurements(rows)):
        widths = {line.count("|") for line in report.markdown(table).splitlines()}
        assert widths == {len(table[0]) + 1}


def test_in_the_terminal_long_columns_go_below_their_line():
    text = report.plain([["what", "n", "notes"], ["a", "1", "long"], ["bb", "2", ""]], ["notes"])
    assert text == "what  n\na     1\n      notes: long\nbb    2"


def test_of_250000_files_142000_are_annexed():
    assert annexed_of(250_000) == 142_000
