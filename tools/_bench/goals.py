"""What must be reached, and whether it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from _bench.measure import BARE, HERE

if TYPE_CHECKING:
    from _bench.measure import Row

#: whether it is reached, and what was found
Judgement = tuple[bool, str]
Judge = Callable[["Row", Sequence["Row"]], Judgement]

#: how much more a job may cost in a large dataset, or after many others
_FLAT = 1.2
_MEGABYTE = 1024


@dataclass(frozen=True)
class Goal:
    """One goal: which row it is about, and how that is judged."""

    number: int
    work: str
    text: str
    scenario: str
    #: of the row
    size: Mapping[str, Any]
    judge: Judge
    part: str = ""

    def row(self, rows: Sequence[Row]) -> Row | None:
        """Return the row that the goal is about; of another size where there is no such one."""
        same = [
            row
            for row in rows
            if (row.scenario, row.part) == (self.scenario, self.part) and HERE in row.series
        ]
        exact = [row for row in same if self.is_size_of(row)]
        if exact:
            return exact[0]
        alike = [row for row in same if bool(row.size["files"]) == bool(self.size.get("files"))]
        return max(alike, key=lambda row: row.size.get("jobs", 0), default=None)

    def is_size_of(self, row: Row) -> bool:
        return all(row.size.get(name) == value for name, value in self.size.items())


@dataclass(frozen=True)
class Verdict:
    """A goal, and what came of it."""

    number: int
    scenario: str
    work: str
    goal: str
    #: "yes" or "no", "not measured", or one of the first with the size that was measured
    reached: str
    found: str
    #: what the row is, to look it up
    what: str = ""

    @property
    def is_reached(self) -> bool:
        return self.reached == "yes"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def judged(rows: Sequence[Row]) -> list[Verdict]:
    """Return for each goal whether it is reached, and what was found."""
    verdicts = []
    for goal in GOALS:
        row = goal.row(rows)
        about = (goal.number, goal.scenario, goal.work, goal.text)
        if row is None:
            verdicts.append(Verdict(*about, "not measured", ""))
            continue
        is_reached, found = goal.judge(row, rows)
        reached = "yes" if is_reached else "no"
        if not goal.is_size_of(row):
            measured = (f"{row.size[name]:,} {name}" for name in ("jobs", "files") if name in
                        goal.size and row.size.get(name))  # fmt: skip
            reached += f", at {' and '.join(measured)}"
        verdicts.append(Verdict(*about, reached, found, row.what))
    return verdicts


# -- how goals are judged -------------------------------------------------------


def _all_of(*judges: Judge) -> Judge:
    def judge(row: Row, rows: Sequence[Row]) -> Judgement:
        answers = [each(row, rows) for each in judges]
        return all(reached for reached, _ in answers), "; ".join(found for _, found in answers)

    return judge


def _times_less(times: float) -> Judge:
    def judge(row: Row, _: Sequence[Row]) -> Judgement:
        if row.ratio is None:
            return False, "the peer was not measured"
        word = "fewer" if row.unit == "calls" else "as fast"
        return row.ratio >= times, f"{row.ratio:.3g} x {word}"

    return judge


def _within_bare(factor: float, seconds: float) -> Judge:
    """Judge by what the same takes without us, pair by pair."""

    def judge(row: Row, _: Sequence[Row]) -> Judgement:
        excess = row.excess_over(factor)
        if excess is None:
            return False, "bare Slurm was not measured"
        bare = row.series[BARE].median
        found = f"{row.series[HERE].median:.2f} s beside {bare:.2f} s"
        return excess <= seconds, f"{found} ({row.series[HERE].median / bare:.2f} x)"

    return judge


def _memory_below(megabytes: int) -> Judge:
    def judge(row: Row, _: Sequence[Row]) -> Judgement:
        most = max(run["memory_kb"] for run in row.series[HERE].runs) / _MEGABYTE
        return most < megabytes, f"{most:.0f} MB"

    return judge


def _wall_below(seconds: float) -> Judge:
    def judge(row: Row, _: Sequence[Row]) -> Judgement:
        most = max(run["wall"] for run in row.series[HERE].runs)
        return most < seconds, f"{most / 60:.1f} minutes"

    return judge


def _flat_beside(of: str, find: Callable[[Row, Row], bool]) -> Judge:
    """Judge by another row's cost a job."""

    def judge(row: Row, rows: Sequence[Row]) -> Judgement:
        other = next((o for o in rows if o.scenario == row.scenario and find(row, o)), None)
        if other is None or HERE not in other.series:
            return False, f"{of} was not measured"
        times = row.series[HERE].median / other.series[HERE].median
        return times <= _FLAT, f"{times:.2f} x the cost {of}"

    return judge


def _is_small(row: Row, other: Row) -> bool:
    return (other.part, other.size) == (row.part, {**row.size, "files": 0})


def _last_thousand(row: Row, rows: Sequence[Row]) -> Judgement:
    first, last = (row.part.replace("all", part) for part in ("first", "last"))
    found = next((o for o in rows if (o.scenario, o.part) == (row.scenario, last)), None)
    if found is None:
        return False, "the last thousand was not measured"
    return _flat_beside("of the first thousand", lambda _, o: o.part == first)(found, rows)


_FASTER_AND_FLAT = _all_of(_times_less(100), _flat_beside("in the small dataset", _is_small))
_FINISH = {"jobs": 1000, "outputs": 4, "git_percent": 50}

GOALS = (
    Goal(1, "one `slurm-schedule` call", "at most the peer's time", "schedule", {},
         _times_less(1)),
    Goal(2, "1,000 jobs through `--table`",
         "at most 2 x a bare loop of `sbatch` + 1 s; under 200 MB",
         "table", {"jobs": 1000}, _all_of(_within_bare(2, 1), _memory_below(200))),
    Goal(3, "`-l` with 1,000 open jobs", "at most 2 x one `sacct` + 1 s",
         "list", {"jobs": 1000}, _within_bare(2, 1)),
    Goal(3, "`-l` with 10,000 open jobs", "at most 2 x one `sacct` + 1 s",
         "list", {"jobs": 10_000}, _within_bare(2, 1)),
    Goal(4, "finish 1,000 jobs x 4 outputs, small dataset", "50 x as fast",
         "finish", {**_FINISH, "files": 0}, _times_less(50)),
    Goal(5, "the same among 100,000 files", "100 x as fast; at most 1.2 x the small dataset's cost",
         "finish", {**_FINISH, "files": 100_000}, _FASTER_AND_FLAT),
    Goal(5, "the same among 250,000 files (142,000 annexed)",
         "100 x as fast; at most 1.2 x the small dataset's cost",
         "finish", {**_FINISH, "files": 250_000}, _FASTER_AND_FLAT),
    Goal(6, "finish 10,000 jobs x 12 outputs",
         "under 15 minutes and 400 MB; last thousand at most 1.2 x the first's cost",
         "scale", {"jobs": 10_000, "outputs": 12},
         _all_of(_wall_below(900), _memory_below(400), _last_thousand), part="all"),
    Goal(6, "the same, outputs and logs of 100 jobs in a directory",
         "last thousand at most 1.2 x the first's cost",
         "scale", {"jobs": 10_000, "outputs": 12}, _last_thousand, part="all, spread"),
    Goal(7, "file system calls a job on the dataset: `--table` and finish", "20 x fewer",
         "syscalls", {"jobs": 1000}, _times_less(20), part="bulk"),
    Goal(7, "the same, each job scheduled by a call of its own", "20 x fewer",
         "syscalls", {"jobs": 1000}, _times_less(20), part="both"),
)  # fmt: skip
