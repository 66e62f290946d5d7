"""The file of the tracking database: made whole, migrated, and what is said when it is broken."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from datalad_slurm.jobs.errors import AlreadyTrackedError, DatabaseError
from datalad_slurm.jobs.logs import LogName
from datalad_slurm.jobs.model import SlurmJob, TrackedJob
from datalad_slurm.jobs.process import Process
from datalad_slurm.jobs.tasks import TaskId
from datalad_slurm.tracking import publications
from datalad_slurm.tracking.contents import read_contents
from datalad_slurm.tracking.finisher import only_finisher
from datalad_slurm.tracking.many import note_all
from datalad_slurm.tracking.schema import SCHEMA_VERSION
from datalad_slurm.tracking.store import FILE_NAME, Tracker
from tests.processes import at_once, killed_at_each_statement

DATA = Path(__file__).parent.parent / "data"
VERSION_1, VERSION_2, VERSION_3 = (
    DATA / f"tracking-version-{number}.sqlite" for number in (1, 2, 3)
)
#: `box` has its database here
IN_DATASET = Path(".git/datalad-slurm") / FILE_NAME


def job(*outputs: str, token: str = "t") -> TrackedJob:
    return TrackedJob(
        id=0, token=token, cmd="sbatch x", pwd=".", dsid="d", outputs=outputs,
        identities={"in.csv": "key"},
    )  # fmt: skip


# --- creation


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_a_new_database_follows_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        Tracker(tmp_path / "d").claim(job("o"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o777 & ~umask
    assert stat.S_IMODE((tmp_path / "d" / FILE_NAME).stat().st_mode) == 0o666 & ~umask
    assert [p.name for p in (tmp_path / "d").iterdir()] == [FILE_NAME]


def test_creation_killed_anywhere_leaves_a_whole_database_or_none(tmp_path):
    directory = tmp_path / "d"
    for _ in killed_at_each_statement(Tracker, directory):
        path = directory / FILE_NAME
        assert not path.exists() or path.stat().st_size > 0
        Tracker(directory).claim(job("o"))
        shutil.rmtree(directory)


def test_leftovers_of_creations_that_were_killed_go(tmp_path):
    Tracker(tmp_path)
    path = tmp_path / FILE_NAME
    same, old, new = (tmp_path / f"{FILE_NAME}.{name}.new" for name in ("same", "old", "new"))
    os.link(path, same)
    for left in (old, new):
        left.touch()
    os.utime(old, (0, 0))
    Tracker(tmp_path).claim(job("o"))
    assert set(tmp_path.iterdir()) == {path, new}
    assert path.stat().st_nlink == 1


def _claim_one(directory, *, has_links=True):
    if not has_links:
        os.link = _refuse
    Tracker(directory).claim(job(f"o{os.getpid()}", token=f"t{os.getpid()}"))


def _refuse(*_, **__):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("has_links", [True, False])
def test_processes_that_make_the_database_at_once_lose_no_claim(tmp_path, has_links):
    for attempt in range(5):
        directory = tmp_path / str(attempt)
        at_once(8, partial(_claim_one, has_links=has_links), directory)
        assert len(Tracker(directory).claims_without_job()) == 8
        assert [p.name for p in directory.iterdir()] == [FILE_NAME]


def test_a_database_that_is_taken_away_is_not_made_by_the_way(tmp_path):
    tracker = Tracker(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    with pytest.raises(DatabaseError, match="removed meanwhile; run the command again"):
        tracker.claim(job("o"))
    assert list(tmp_path.iterdir()) == []


# --- versions


@pytest.fixture
def version_1(tmp_path):
    """Return a directory with a database of version 1, as that version wrote it."""
    shutil.copy(VERSION_1, tmp_path / FILE_NAME)
    return tmp_path


def dump(path):
    """Return all rows of all tables."""
    with sqlite3.connect(path) as database:
        tables = database.execute("select name from sqlite_master where type = 'table'").fetchall()
        found = {
            name: database.execute(f"select * from {name} order by 1").fetchall()
            for (name,) in tables
        }
        assert not (found.pop("contents", None) or found.pop("kept", None))  # since version 4
        return found


def version(path):
    with sqlite3.connect(path) as database:
        return database.execute("PRAGMA user_version").fetchone()[0]


def test_version_1_is_migrated_and_every_row_survives(version_1):
    path = version_1 / FILE_NAME
    before = dump(path)
    assert version(path) == 1
    assert [len(rows) for rows in before.values()] == [3, 1, 1, 4, 3]
    tracker = Tracker(version_1)
    after = dump(path)
    assert version(path) == SCHEMA_VERSION
    assert after.pop("jobs") == [(*row, "{}", "[]") for row in before.pop("jobs")]
    assert after.pop("publications") == [(*row, b"", "[]") for row in before.pop("publications")]
    assert after.pop("claims") == [(*row, row[2] + b"/") for row in before.pop("claims")]
    assert after == before
    array, het = tracker.open_jobs()
    assert array.outputs == ("sub/out", "ü \udcff")
    assert array.extra == {"removed_outputs": ["sub/out/old"]}
    assert array.claimed_by == Process(
        "login1", "7c1f0000-0000-4000-8000-000000000001", 4242, 123456
    )
    (slurm_job,) = array.slurm_jobs
    assert slurm_job.tasks == tuple(TaskId(4711, index) for index in (1, 2, 3))
    assert slurm_job.logs[1] == LogName("/data/ds/sub/slurm-4711_1.out", 1)
    assert [(j.job_id, j.cluster) for j in het.slurm_jobs] == [(4720, "other"), (4722, "")]
    assert [claim.outputs for claim in tracker.claims_without_job()] == [("unsure",)]
    assert [p.jobs for p in publications.pending(tracker.database)] == [(1, 2)]
    with (
        pytest.raises(DatabaseError, match="process 4242 on login1"),
        only_finisher(tracker.database, 0, print),
    ):
        raise AssertionError("entered")


def test_version_2_is_migrated_and_percent_signs_stay_what_they_are(tmp_path):
    path = tmp_path / FILE_NAME
    shutil.copy(VERSION_2, path)
    before = dump(path)
    assert version(path) == 2
    tracker = Tracker(tmp_path)
    after = dump(path)
    assert version(path) == SCHEMA_VERSION
    (array, plain, unsure) = before.pop("jobs")
    declared = '["out", "100%%a.csv", "../[*]x"]'
    changed = [declared if value == declared.replace("%%", "%") else value for value in array]
    assert changed != [*array]
    assert after.pop("jobs") == [(*changed, "[]"), (*plain, "[]"), (*unsure, "[]")]
    assert after.pop("publications") == [(*row, "[]") for row in before.pop("publications")]
    assert after == before
    job, _ = tracker.open_jobs()
    assert job.declared_outputs == ("out", "100%%a.csv", "../[*]x")
    assert job.outputs == ("sub/out", "sub/100%a.csv", "[*]x")
    assert job.templates == ()
    assert [p.parts for p in publications.pending(tracker.database)] == [{}, {}]


@pytest.mark.parametrize("earlier", [VERSION_1, VERSION_2, VERSION_3], ids=["1", "2", "3"])
def test_a_migrated_database_has_the_schema_of_a_new_one(earlier, tmp_path):
    version_1 = tmp_path / "earlier"
    version_1.mkdir()
    shutil.copy(earlier, version_1 / FILE_NAME)
    Tracker(version_1)
    Tracker(tmp_path / "new")

    def schema(path):
        with sqlite3.connect(path) as database:
            made = dict(database.execute("select name, type from sqlite_master"))
            names = list(made)
            return made, {
                name: [
                    # the number in front is that of their making
                    {row[1:] for row in database.execute(f"PRAGMA {what}('{name}')")}
                    for what in ("table_info", "index_list", "index_info", "foreign_key_list")
                ]
                for name in names
            }

    assert schema(version_1 / FILE_NAME) == schema(tmp_path / "new" / FILE_NAME)


def test_version_3_is_migrated_and_every_row_survives(tmp_path):
    path = tmp_path / FILE_NAME
    shutil.copy(VERSION_3, path)
    before = dump(path)
    assert version(path) == 3
    assert [len(rows) for rows in before.values()] == [2, 2, 2, 0, 0]
    tracker = Tracker(tmp_path)
    assert version(path) == SCHEMA_VERSION
    assert dump(path) == before
    assert [each.label for each in tracker.open_jobs()] == ["7", "8"]


def kept(tracker):
    with sqlite3.connect(tracker.database.path) as database:
        return {row[0]: row[1] for row in database.execute("select sha256, content from contents")}


def test_what_jobs_have_in_common_is_kept_once_and_goes_with_the_last(tmp_path):
    tracker = Tracker(tmp_path)
    one, two, three = (
        tracker.claim(replace(job(name, token=name), contents={"s": b"\0script", name: b"own"}))
        for name in ("a", "b", "c")
    )
    assert kept(tracker) == {"s": b"\0script", "a": b"own", "b": b"own", "c": b"own"}
    assert read_contents(tracker.database, ["s", "none"]) == {"s": b"\0script"}
    tracker.note_submission(one.id, [SlurmJob(1)], contents={"s": b"\0script", "e": b"env"})
    tracker.note_submission(two.id, [SlurmJob(2, tasks=(TaskId(2, 1), TaskId(2, 2)))])
    note_all(tracker, contents={two.id: {"e": b"env"}, 99: {"lost": b""}})
    tracker.forget([one.id])
    assert kept(tracker) == {"s": b"\0script", "b": b"own", "c": b"own", "e": b"env"}
    tracker.free(three.id)
    assert kept(tracker) == {"s": b"\0script", "b": b"own", "e": b"env"}
    tracker.release({two.id: [TaskId(2, 1)]})
    assert kept(tracker) == {"s": b"\0script", "b": b"own", "e": b"env"}
    tracker.release({two.id: [TaskId(2, 2)]})
    assert kept(tracker) == {}


def test_identities_are_claimed_noted_and_read_back(version_1):
    tracker = Tracker(version_1)
    assert {j.identities == {} for j in tracker.open_jobs()} == {True}
    claim = tracker.claim(job("o"))
    assert claim.identities == {"in.csv": "key"}
    tracker.note_submission(claim.id, [SlurmJob(1)])
    tracker.note_identities(claim.id, {"job.sh": {"blob": "\udcff"}})
    assert Tracker(version_1).open_jobs()[-1].identities == {"job.sh": {"blob": "\udcff"}}


def test_a_newer_version_is_refused_with_both_versions(version_1):
    with sqlite3.connect(version_1 / FILE_NAME) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(DatabaseError, match=rf"of version 99, .* up to {SCHEMA_VERSION}"):
        Tracker(version_1)
    assert version(version_1 / FILE_NAME) == 99


def test_migration_killed_anywhere_leaves_either_version(tmp_path):
    found = set()
    directory = tmp_path / "d"
    directory.mkdir()
    path = directory / FILE_NAME
    shutil.copy(VERSION_1, path)
    for _ in killed_at_each_statement(Tracker, directory):
        found.add(version(path))
        columns = {1: 14, SCHEMA_VERSION: 16}[version(path)]
        assert {len(row) for row in dump(path)["jobs"]} == {columns}
        assert len(Tracker(directory).open_jobs()) == 2
        shutil.copy(VERSION_1, path)
    assert found == {1, SCHEMA_VERSION}


def test_processes_that_migrate_at_once_lose_nothing(tmp_path):
    for attempt in range(5):
        directory = tmp_path / str(attempt)
        directory.mkdir()
        shutil.copy(VERSION_1, directory / FILE_NAME)
        at_once(8, _claim_one, directory)
        assert version(directory / FILE_NAME) == SCHEMA_VERSION
        assert len(Tracker(directory).claims_without_job()) == 1 + 8
        assert len(Tracker(directory).open_jobs()) == 2


# --- adoption


def _adopt_one(directory):
    try:
        Tracker(directory).adopt(job(f"o{os.getpid()}", token=f"t{os.getpid()}"), SlurmJob(5))
    except AlreadyTrackedError as exc:
        assert "job 5 is tracked already" in str(exc)


def test_of_processes_that_adopt_one_job_one_does(tmp_path):
    for attempt in range(3):
        directory = tmp_path / str(attempt)
        at_once(8, _adopt_one, directory)
        (adopted,) = Tracker(directory).open_jobs()
        assert adopted.job_id == 5
        assert Tracker(directory).claims_without_job() == []


def test_a_job_of_another_cluster_is_another_job(tmp_path):
    tracker = Tracker(tmp_path)
    tracker.adopt(job("a", token="a"), SlurmJob(5), "home")
    tracker.adopt(job("b", token="b"), SlurmJob(5, "away"), "home")
    for slurm_job in (SlurmJob(5), SlurmJob(5, "home"), SlurmJob(5, "away")):
        with pytest.raises(AlreadyTrackedError):
            tracker.adopt(job("c", token="c"), slurm_job, "home")


# --- faults


def filled(box):
    """Fill the database of a dataset, so that it has some hundred pages."""
    tracker = Tracker(box.path / IN_DATASET.parent)
    for number in range(20):
        tracker.claim(job(*(f"o{number}/{file}" * 9 for file in range(200)), token=f"t{number}"))
    return box.path / IN_DATASET


def test_a_file_cut_short_anywhere_is_said_to_be_damaged(box):
    path = filled(box)
    whole = path.read_bytes()
    for length in (0, 1, 16, 99, 100, 511, 512, 4095, 4096, 8192, 40960, len(whole) - 4096):
        path.write_bytes(whole[:length])
        with pytest.raises(DatabaseError, match=r"tracking\.sqlite is damaged .*--job-id"):
            Tracker(path.parent).open_jobs()
        assert path.stat().st_size == length


def test_whatever_is_overwritten_never_ends_in_another_error(tmp_path):
    tracker = Tracker(tmp_path)
    for number in range(3):
        claim = tracker.claim(job(f"o{number}", token=str(number)))
        tracker.note_submission(claim.id, [SlurmJob(number + 1, name="n", facts={"k": "v"})])
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    damaged = 0
    for place in range(0, len(whole), 61):
        path.write_bytes(whole[:place] + b"\xee{\0" + whole[place + 3 :])
        try:
            Tracker(tmp_path, 0.1).open_jobs()
        except DatabaseError:
            damaged += 1
    assert damaged > 5


def cli_says(box, *args):
    """Return the one line of a command that fails."""
    done = box.cli(*args, "slurm-finish", "--list-open-jobs", code=1)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert len(lines) == 1, lines
    return lines[0]


def _empty(path):
    path.write_bytes(b"")


def _garbage(path):
    path.write_bytes(b"garbage" * 1000)


def _half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _directory(path):
    path.unlink()
    path.mkdir()


def _dangling(path):
    path.unlink()
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_empty, "is damaged (it is empty, or its header is lost); move it away"),
        (_garbage, "is damaged (file is not a database); move it away"),
        (_half, "is damaged (database disk image is malformed); move it away"),
        (_directory, "a directory is in the place of the tracking database"),
        (_dangling, "is a link to nowhere, which is not there"),
    ],
)
def test_a_broken_database_is_one_clear_sentence(box, spoil, said):
    path = filled(box)
    spoil(path)
    line = cli_says(box)
    assert line.startswith("finish(error): ")
    assert said in line
    assert str(path) in line


def test_a_locked_database_is_one_clear_sentence(box):
    path = filled(box)
    with sqlite3.connect(path, isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        line = cli_says(box, "-c", "datalad.slurm.database-timeout=0.3")
    assert "has been locked by another process for more than 0.3 s; try again when" in line


_FORGET = """
import sys
from functools import partial
from pathlib import Path
from datalad_slurm.jobs.errors import AlreadyTrackedError, DatabaseError
from datalad_slurm.tracking.store import Tracker
try:
    tracker = Tracker(Path(sys.argv[1]))
    tracker.tokens()
    print('read')
    tracker.forget([1])
except DatabaseError as exc:
    print(exc)
"""


@pytest.mark.parametrize(
    ("modes", "said"),
    [
        (
            {FILE_NAME: 0o000},
            "needs permission to read and write {dir}/tracking.sqlite; `chmod u+rw`",
        ),
        (
            {FILE_NAME: 0o444},
            "needs permission to read and write {dir}/tracking.sqlite; `chmod u+rw`",
        ),
        ({".": 0o555}, "needs permission to read and write {dir}; `chmod u+rwx`"),
        (
            {".": 0o000},
            "cannot make the tracking database {dir}/tracking.sqlite: Permission denied",
        ),
    ],
)
def test_a_permission_that_lacks_is_named(tmp_path, modes, said):
    directory = tmp_path / "d"
    Tracker(directory).claim(job("o"))
    # root may do everything, except without these two capabilities
    command = [sys.executable, "-c", _FORGET, str(directory)]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root without setpriv cannot give up its rights")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    for name, mode in modes.items():
        (directory / name).chmod(mode)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        directory.chmod(0o755)
    *before, line = done.stdout.splitlines()
    assert said.format(dir=directory) in line
    # who may not write may still look
    may_read = modes.get(FILE_NAME) == 0o444 or modes.get(".") == 0o555
    assert before == ["read"] * may_read


_WRITE_AND_DIE = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE jobs SET cmd = '\\"lost\\"', dsid = hex(zeroblob(9000))")
database.execute("DELETE FROM claims")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_journal_of_a_killed_writer_is_rolled_back(box):
    path = filled(box)
    whole = path.read_bytes()
    before = dump(path)
    subprocess.run([sys.executable, "-c", _WRITE_AND_DIE, str(path)], check=False)
    journal = path.with_name(f"{FILE_NAME}-journal")
    assert journal.stat().st_size > 0
    assert path.read_bytes() != whole  # half of it is written already
    claims = Tracker(path.parent).claims_without_job()
    assert {claim.cmd for claim in claims} == {"sbatch x"}
    assert dump(path) == before
    assert not journal.exists()
