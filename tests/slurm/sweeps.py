"""What the sweeps over faults have in common: what is set up, and what must hold in the end."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Never

import pytest
from datalad.api import slurm_finish

from tests.conftest import Box, Slurm, copy_dataset
from tests.slurm.test_schedule import finish, schedule

QUIET = {"result_renderer": "disabled", "on_failure": "ignore"}


class Killed(BaseException):
    """Ends a command in the middle, as SIGKILL would: nothing of ours catches it."""


def killed(*args: object) -> Never:
    """Stand in for a function before which a command is killed."""
    raise Killed


def finish_killed_at(
    box: Box, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, **kwargs: object
) -> None:
    """Finish, and be killed before a function of a module is called."""
    with monkeypatch.context() as patch:
        patch.setattr(module, name, killed)
        with pytest.raises(Killed):
            finish(box, **kwargs)


def copy(source: Path, target: Path) -> None:
    """Put a copy of a dataset in the place of another one."""
    if target.exists():
        # annexed files are read-only
        subprocess.run(["chmod", "-R", "u+w", target], check=True)
        shutil.rmtree(target)
    copy_dataset(source, target)


def jobs_in_history(box: Box) -> list[int]:
    subjects = box.git("log", "--format=%s").splitlines()
    return sorted(int(s.split()[5].rstrip(":")) for s in subjects if "[DATALAD SLURM RUN]" in s)


def claims(box: Box) -> list[str]:
    with sqlite3.connect(box.path / ".git/datalad-slurm/tracking.sqlite") as database:
        return [row[0].decode() for row in database.execute("select path from claims")]


def noted_jobs(box: Box) -> list[int]:
    """Return the ids in the database, which costs less than to ask a command for them."""
    with sqlite3.connect(box.path / ".git/datalad-slurm/tracking.sqlite") as database:
        return [row[0] for row in database.execute("select job_id from slurm_jobs order by id")]


def assert_sound(box: Box, where: str) -> None:
    """Assert that nothing is damaged, and nothing of ours is left lying about."""
    box.git("fsck", "--strict", "--no-dangling")
    for line in box.git("annex", "fsck", "--json").splitlines():
        found = json.loads(line)
        # what is wrong in a location log, it mends and counts as a success
        assert found["success"], (where, found)
        assert "location log" not in found.get("note", ""), (where, found)
    assert box.git("for-each-ref", "refs/datalad-slurm/") == "", where
    state = box.path / ".git/datalad-slurm"
    names = ("*.marks", "submissions/*", "staging.index*", "adding.json", "*.sqlite-journal")
    left = [path for name in names for path in state.glob(name)]
    assert left == [], where
    assert list((box.path / ".git").glob("index.lock")) == [], where
    with sqlite3.connect(state / "tracking.sqlite") as database:
        needed = "select sha256 from kept join jobs on kept.job = jobs.id"
        unneeded = f"select count(*) from contents where sha256 not in ({needed})"
        assert database.execute(unneeded).fetchone() == (0,), where


def steps_of_adding(steps: Sequence[str]) -> dict[int, str]:
    """Return the steps, by number, in which files are added at once.

    Of what is done for each file, only the first and the last.
    """
    (first, last) = (at for at, step in enumerate(steps, 1) if "adding.json" in step)
    chosen: dict[int, str] = {}
    of_files: dict[str, list[int]] = {}
    for at in range(first, last + 1):
        kind, _, about = steps[at - 1].partition(" ")
        if kind == "before":
            chosen[at] = about
        elif kind != "after":
            of_files.setdefault(kind, []).append(at)
    for numbers in of_files.values():
        chosen |= {at: steps[at - 1] for at in (numbers[0], numbers[-1])}
    assert any("calckey" in step for step in chosen.values()), steps
    assert any("os.link" in step for step in chosen.values()), steps
    return dict(sorted(chosen.items()))


class FinishScenario:
    """Jobs that have ended, in a dataset in which the user is at work as well.

    One job makes annexed and other files, one is an array, one replaces and
    removes what is committed, and one has failed and stays open.

    Parameters
    ----------
    box : Box
        A new dataset.
    slurm : Slurm
        Runs the jobs.
    original : Path
        Where a copy is kept.
    """

    def __init__(self, box: Box, slurm: Slurm, original: Path) -> None:
        self.box = box
        self._original = original
        self._make_files()
        self._jobs = [
            schedule(box, _wrap("mkdir o; echo 1 > o/data; echo 2 > o/note.txt"), ["o"]),
            schedule(
                box,
                _wrap("echo $SLURM_ARRAY_TASK_ID > a_$SLURM_ARRAY_TASK_ID", "--array=1-2"),
                ["a_1", "a_2"],
            ),
            schedule(
                box,
                _wrap(
                    "echo new > old/data; rm old/note.txt; rm -r tree; echo file > tree; rm file; "
                    "mkdir file; echo in > file/in"
                ),
                ["old", "tree", "file"],
            ),
        ]
        self._failed = schedule(box, _wrap("echo half > bad; exit 1"), ["bad"])
        self._change_files()
        slurm.wait(*self._jobs, self._failed)
        copy(box.path, original)
        self.check("not at all")
        self._expected = self._outcome()
        assert self._user_files() == _USER_FILES, self.box.status()

    def prepare(self) -> Callable[[], object]:
        """Make everything as it was before the first finish."""
        # in place: the jobs know the path
        copy(self._original, self.box.path)
        return lambda: slurm_finish(dataset=self.box.path)

    def check(self, where: str) -> None:
        """Finish, and assert that everything is as if nothing had happened."""
        results = finish(self.box)
        open_jobs = [res for res in results if res["status"] not in ("ok", "notneeded")]
        assert [res["slurm_job_id"] for res in open_jobs] == [self._failed], (where, results)
        assert "FAILED" in open_jobs[0]["message"], (where, open_jobs)
        assert jobs_in_history(self.box) == self._jobs, where
        assert noted_jobs(self.box) == [self._failed], where
        assert claims(self.box) == ["bad"], where
        assert_sound(self.box, where)
        if hasattr(self, "_expected"):
            assert self._outcome() == self._expected, where

    def _outcome(self) -> tuple[str, str, str]:
        """Return all of HEAD, of the index, and of what differs from it."""
        box = self.box
        return box.git("rev-parse", "HEAD^{tree}"), box.git("ls-files", "-s"), box.status()

    def _make_files(self) -> None:
        box = self.box
        with (box.path / ".gitattributes").open("a") as attributes:
            attributes.write("*.txt annex.largefiles=nothing\n")
        for name in ("old/data", "old/note.txt", "tree/leaf", "file", *_TRACKED):
            (box.path / name).parent.mkdir(exist_ok=True)
            (box.path / name).write_text(f"{name}\n")
        box.cli("save", "-m", "files of the user's")

    def _change_files(self) -> None:
        box = self.box
        (box.path / "new.txt").write_text("new\n")
        (box.path / "modified.txt").write_text("modified and staged\n")
        box.git("add", "new.txt", "modified.txt")
        box.git("rm", "-q", "--cached", "removed.txt")
        (box.path / "removed.txt").unlink()
        (box.path / "edited.txt").write_text("not staged\n")
        (box.path / "untracked").write_text("untracked\n")

    def _user_files(self) -> set[str]:
        lines = self.box.status().splitlines()
        return {line for line in lines if "bad" not in line and str(self._failed) not in line}


_TRACKED = ("modified.txt", "removed.txt", "edited.txt")
_USER_FILES = {
    "A  new.txt", "M  modified.txt", "D  removed.txt", " M edited.txt", "?? untracked",
}  # fmt: skip


def _wrap(script: str, *options: str) -> list[str]:
    return ["sbatch", *options, "--wrap", script]


class SubmissionScenario:
    """A command that submits a job, stopped each time in a dataset of its own.

    Parameters
    ----------
    box : Box
        The dataset.
    slurm : Slurm
        Runs the jobs.
    submit : callable
        Takes a dataset, submits the job, and returns results.
    copies : Path
        Directory for the copies of the dataset.
    are_held : bool
        Whether the jobs wait to be released, which happens when all are there.
    """

    def __init__(
        self,
        box: Box,
        slurm: Slurm,
        submit: Callable[..., list[Mapping[str, object]]],
        copies: Path,
        *,
        are_held: bool = False,
    ) -> None:
        self._are_held = are_held
        self._original = box.path
        self._slurm = slurm
        self._submit = submit
        # resolved: Slurm tells of directories without links
        self.copies = copies.resolve()
        (box.path / "untracked").write_text("u\n")
        (box.path / "staged").write_text("s\n")
        box.git("-c", "annex.largefiles=nothing", "add", "staged")
        self._jobs_before = jobs_in_history(box)
        self._boxes: list[tuple[Box, str, int]] = []
        self._box = box

    def prepare(self) -> Callable[[], object]:
        """Make a new copy of the dataset."""
        path = self.copies / f"{len(self._boxes):04}"
        copy(self._original, path)
        self._box = Box(path)
        return lambda: self._submit(self._box)

    def run_again(self, where: str) -> None:
        """Run the command again, and assert that there is one job, and a claim of it."""
        results = self._submit(self._box, **QUIET)
        refused = [res for res in results if res["status"] != "ok"]
        (job,) = noted_jobs(self._box)
        assert not refused or f"conflicts with job {job}" in str(refused), (where, results)
        assert claims(self._box) == ["out"], where
        self._boxes.append((self._box, where, job))

    def finish_all(self) -> None:
        """Wait for all jobs, finish them, and assert that each is there once."""
        if self._are_held:
            self._slurm.run("scontrol", "release", ",".join(str(job) for _, _, job in self._boxes))
        self._slurm.wait(*(job for _, _, job in self._boxes))
        tracked = {(str(box.path), job) for box, _, job in self._boxes}
        submitted = list(self._submitted())
        assert set(submitted) == tracked
        assert len(submitted) == len(tracked)
        for box, where, job in self._boxes:
            results = finish(box)
            assert {res["status"] for res in results} == {"ok"}, (where, results)
            assert jobs_in_history(box) == sorted([*self._jobs_before, job]), where
            assert claims(box) == [], where
            assert set(box.status().splitlines()) == {"A  staged", "?? untracked"}, where
            assert (box.path / "out").read_text() == "new\n", where
            assert_sound(box, where)

    def _submitted(self) -> Iterator[tuple[str, int]]:
        """Yield directory and id of all jobs that Slurm has of these datasets."""
        for line in self._slurm.run("squeue", "-h", "-t", "all", "-o", "%A|%Z").splitlines():
            job, _, directory = line.partition("|")
            if Path(directory).parent == self.copies:
                yield directory, int(job)
