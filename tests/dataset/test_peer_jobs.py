"""Open jobs of datalad-slurm 0.2 are taken over once, and none is lost on the way.

The databases are made from tests/data/datalad-slurm-0.2.8.sql, a dump of one
that datalad-slurm 0.2.8 wrote.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from pathlib import Path

import pytest
from datalad.api import Dataset

from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.tracking.store import FILE_NAME
from datalad_slurm.workflow import take_over
from datalad_slurm.workflow.context import open_context
from tests.processes import at_once, killed_after, killed_at_each_statement

DUMP = Path(__file__).parent.parent / "data" / "datalad-slurm-0.2.8.sql"


def _as_if_slurm_knew_nothing(*_):
    """Replace what asks slurmctld; without a configuration that takes a minute to fail."""


@pytest.fixture(autouse=True)
def _without_slurm(monkeypatch):
    monkeypatch.setattr(take_over, "_describe", _as_if_slurm_knew_nothing)


@pytest.fixture
def dataset(box):
    (box.path / "sub").mkdir()
    return Dataset(box.path)


def earlier_path(dataset):
    return dataset.pathobj / ".git" / f"{dataset.id}.db"


def place(dataset, *statements):
    """Put a database of the earlier version into a dataset, and change it."""
    path = earlier_path(dataset)
    for left in path.parent.glob(f"{path.name}*"):
        left.unlink()
    with sqlite3.connect(path) as database:
        database.executescript(DUMP.read_text())
        for statement in statements:
            database.execute(statement)
    return path


def left_in(path):
    with sqlite3.connect(path) as database:
        tables = ("open_jobs", "locked_names", "locked_prefixes")
        return [
            {job for (job,) in database.execute(f"select slurm_job_id from {table}")}
            for table in tables
        ]


def open_ids(dataset):
    jobs = open_context(dataset).tracker.open_jobs()
    return [job.job_id for job in jobs]


def open_at(path):
    take_over._describe = _as_if_slurm_knew_nothing
    open_context(Dataset(path))


def claim(path, token="t"):
    return TrackedJob(id=0, token=token, cmd="x", pwd=".", dsid="d", outputs=(path,))


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_open_jobs_are_taken_over_with_all_that_was_kept_of_them(dataset, caplog):
    path = place(dataset, "update open_jobs set chain = '[\"abc\"]' where slurm_job_id = 54")
    with caplog.at_level(logging.INFO):
        context = open_context(dataset)
    first, array = context.tracker.open_jobs()
    assert first.cmd == "sbatch job.sh a.txt"
    assert first.pwd == "sub"
    assert first.message == "first of the peer's"
    assert first.inputs == ("in.csv",)
    assert first.outputs == ("sub/out",)
    assert first.declared_outputs == ("out",)
    assert first.chain == ("abc",)
    assert first.dsid == dataset.id
    root = os.path.realpath(dataset.path)
    (slurm_job,) = first.slurm_jobs
    assert (slurm_job.job_id, slurm_job.cluster) == (54, "")
    assert [log.pattern for log in slurm_job.logs] == [f"{root}/sub/slurm-54.out"]
    assert array.outputs == ("arr",)
    assert [log.pattern for log in array.slurm_jobs[0].logs] == [
        f"{root}/slurm-55_{index}.out" for index in (1, 2, 3)
    ]
    # the earlier version has nothing left to commit, but for the job that it must copy back
    assert left_in(path) == [{56}] * 3
    assert "took over open job(s) 54, 55 of an earlier datalad-slurm (0.2.x)" in caplog.text
    (warning,) = warnings(caplog)
    assert "job 56: it ran in the directory" in warning
    assert open_ids(dataset) == [54, 55]


def test_without_such_a_database_one_look_at_the_file_system_is_all(dataset, monkeypatch):
    looked = []
    exists = Path.exists

    def look(path, *args, **kwargs):
        looked.append(path.name)
        return exists(path, *args, **kwargs)

    monkeypatch.setattr(Path, "exists", look)
    monkeypatch.setattr("datalad_slurm.tracking.earlier.read", None)
    open_context(dataset)
    assert looked.count(f"{dataset.id}.db") == 1


def test_a_dataset_without_an_id_has_a_database_of_a_fixed_name(dataset):
    path = place(dataset)
    path.rename(path.with_name("datalad-slurm.db"))
    dataset.config.unset("datalad.dataset.id", scope="branch")
    assert dataset.id is None
    assert open_ids(dataset) == [54, 55]


def test_killed_at_each_statement_every_job_is_tracked_once(dataset):
    database = dataset.pathobj / ".git/datalad-slurm" / FILE_NAME
    open_context(dataset)
    place(dataset)
    for _ in killed_at_each_statement(open_at, dataset.path):
        assert open_ids(dataset) == [54, 55]
        assert left_in(earlier_path(dataset)) == [{56}] * 3
        earlier_path(dataset).unlink()
        database.unlink()
        open_context(dataset)
        place(dataset)


def test_killed_at_any_moment_every_job_is_tracked_once(dataset):
    """SQLite's commit to two files is many system calls, and may be cut between any two."""
    database = dataset.pathobj / ".git/datalad-slurm" / FILE_NAME
    open_context(dataset)
    place(dataset)
    begin = time.monotonic()
    open_at(dataset.path)
    longest = time.monotonic() - begin
    trials = 60
    killed = 0
    for trial in range(trials):
        earlier_path(dataset).unlink()
        database.unlink()
        open_context(dataset)
        place(dataset)
        # other processes make this one faster and slower
        seconds = longest * (trial % 20 + 1) / 20
        if killed_after(seconds, open_at, dataset.path):
            killed += 1
        else:
            longest = seconds
        assert open_ids(dataset) == [54, 55]
        assert left_in(earlier_path(dataset)) == [{56}] * 3
    assert killed > trials / 4


def test_processes_at_once_take_over_every_job_once(dataset):
    database = dataset.pathobj / ".git/datalad-slurm" / FILE_NAME
    for _ in range(5):
        database.unlink(missing_ok=True)
        path = place(dataset)
        at_once(6, open_at, dataset.path)
        assert open_ids(dataset) == [54, 55]
        assert left_in(path) == [{56}] * 3


def test_a_job_whose_output_is_claimed_waits_and_is_named(dataset, caplog):
    tracker = open_context(dataset).tracker
    holder = tracker.claim(claim("sub"))
    tracker.note_submission(holder.id, [SlurmJob(7)])
    path = place(dataset)
    assert open_ids(dataset) == [7, 55]
    assert left_in(path) == [{54, 56}] * 3
    assert "job 54: output 'sub/out' conflicts with job 7, which claims 'sub'" in caplog.text
    tracker.forget([holder.id])
    assert open_ids(dataset) == [55, 54]


def test_a_job_that_is_tracked_already_is_not_tracked_again(dataset):
    tracker = open_context(dataset).tracker
    tracker.adopt(claim("elsewhere"), SlurmJob(54))
    path = place(dataset)
    assert open_ids(dataset) == [54, 55]
    assert left_in(path) == [{56}] * 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("outputs = '[\"../x\"]'", "'../x', which is outside the dataset"),
        ("outputs = '[\"/etc\"]'", "'/etc', which is outside the dataset"),
        ("outputs = '[\"link/x\"]'", "output 'link/x' is outside the dataset"),
        ("outputs = '[\".git/config\"]'", "'.git/config' is inside the git directory"),
        ("outputs = '[]'", None),  # its locked name is known
        ("outputs = '\"x\"'", "'outputs' in the record is not a list of texts"),
        ("outputs = '[1]'", "'outputs' in the record is not a list of texts"),
        ("inputs = '[\"../../x\"]'", "its input '../../x' is outside the dataset"),
        ("extra_inputs = '[\"/etc/passwd\"]'", "its input '/etc/passwd' is outside the dataset"),
        ("pwd = '..'", "'..', which is outside the dataset"),
        ("pwd = 'link'", "it ran in 'link', which is outside the dataset"),
        ("cmd = ''", "holds no command"),
        ("cmd = NULL", "holds no command"),
        ("slurm_job_id = -1", "holds no Slurm job id"),
        ("slurm_job_id = 'x'", "holds no Slurm job id"),
        ("slurm_outputs = '[\"../../../log\"]'", None),
        ("message = x'ff00'", None),
    ],
)
def test_nothing_outside_the_dataset_is_accepted(dataset, caplog, tmp_path, change, said):
    (dataset.pathobj / "link").symlink_to(tmp_path)
    place(dataset, f"update open_jobs set {change} where slurm_job_id = 54")
    context = open_context(dataset)
    jobs = {job.job_id: job for job in context.tracker.open_jobs()}
    if said is None:
        assert set(jobs) == {54, 55}
        root = os.path.realpath(dataset.path)
        assert all(log.pattern.startswith(root) for log in jobs[54].slurm_jobs[0].logs)
        return
    assert set(jobs) == {55}
    (warning,) = warnings(caplog)
    assert said in warning


def test_a_locked_name_counts_as_an_output(dataset):
    place(dataset, "insert into locked_names values (54, 'sub/more')")
    context = open_context(dataset)
    (job, _) = context.tracker.open_jobs()
    assert job.outputs == ("sub/out", "sub/more")


def _truncate(path):
    path.write_bytes(path.read_bytes()[:5000])


def _directory(path):
    path.unlink()
    path.mkdir()


def _drop(statement):
    def change(path):
        with sqlite3.connect(path) as database:
            database.execute(statement)

    return change


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(b"garbage" * 1000), "file is not a database"),
        (_truncate, "malformed"),
        (_directory, "unable to open database file"),
        (_drop("drop table locked_names"), "has not the tables"),
        (_drop("alter table open_jobs rename column cmd to command"), "has not the columns"),
    ],
)
def test_a_database_that_cannot_be_read_is_one_warning_and_stops_nothing(
    dataset, caplog, spoil, said
):
    spoil(place(dataset))
    assert open_ids(dataset) == []
    (warning,) = warnings(caplog)
    assert said in warning
    assert "could not be taken over" in warning


def test_a_locked_database_is_left_for_the_next_command(dataset, caplog, monkeypatch):
    monkeypatch.setattr("datalad_slurm.tracking.earlier._BUSY_TIMEOUT", 0.2)
    path = place(dataset)
    with sqlite3.connect(path, isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert open_ids(dataset) == []
        holder.execute("ROLLBACK")
    (warning,) = warnings(caplog)
    assert "database is locked; the next command tries again" in warning
    assert open_ids(dataset) == [54, 55]


@pytest.mark.parametrize("make", [lambda path: path.touch(), _drop("create table x (y)")])
def test_a_database_in_which_nothing_was_scheduled_is_not_spoken_of(dataset, caplog, make):
    make(earlier_path(dataset))
    assert open_ids(dataset) == []
    assert warnings(caplog) == []


def test_an_id_that_is_a_path_leads_nowhere(dataset, tmp_path):
    path = place(dataset)
    path.rename(tmp_path / "x.db")
    dataset.config.set("datalad.dataset.id", f"../../{tmp_path.name}/x", scope="branch")
    assert open_ids(dataset) == []
