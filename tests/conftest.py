"""Fixtures for all tests.

No test sees the user's own cluster, home, or git configuration: Slurm's
programs find a configuration only through the fixture `slurm`, which stands
for the one-machine testbed.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import processes

pytest.register_assert_rewrite("tests.slurm.array_tasks", "tests.slurm.disk", "tests.slurm.sweeps")

ROOT = Path(__file__).resolve().parent.parent
TESTBED = ROOT / "tools" / "testbed"
DATALAD = str(Path(sys.executable).parent / "datalad")
#: Commands of its own, which prepare what a test is about.
#: Commands that are run by a process that has imported them; `-l` starts them again.
_PRELOADED = (
    *("clone", "create", "get", "rerun", "run", "save"),
    *("slurm-finish", "slurm-reschedule", "slurm-schedule"),
)
_REDIRECTING = re.compile(r"(SLURM|SBATCH|SQUEUE|SACCT|SCONTROL|GIT|DATALAD)_")


@pytest.fixture(autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if _REDIRECTING.match(name) and not name.startswith("DATALAD_SLURM_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SLURM_CONF", str(home / "there-is-no-slurm.conf"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "A Scientist")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "scientist@example.org")
    bin_dir = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{bin_dir}{os.pathsep}{os.environ['PATH']}")


#: What the tests marked as `faults` count, in the order in which it is told.
_FAULTS = ("crash points", "full-disk points", "concurrent processes", "bad inputs")


@pytest.fixture
def count_faults(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """Return a function that notes how many faults of a kind a test has tried."""

    def count(kind: str, number: int) -> None:
        assert kind in _FAULTS
        record_property(kind, number)

    return count


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Count the inputs that hypothesis finds for a test marked as `faults`."""
    handle = getattr(getattr(item, "obj", None), "hypothesis", None)
    if handle is None or item.get_closest_marker("faults") is None:
        return (yield)
    inner_test = handle.inner_test
    tried = 0

    @functools.wraps(inner_test)
    def counting(*args: object, **kwargs: object) -> object:
        nonlocal tried
        tried += 1
        return inner_test(*args, **kwargs)

    handle.inner_test = counting
    try:
        return (yield)
    finally:
        handle.inner_test = inner_test
        item.user_properties.append(("bad inputs", tried))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how many faults were tried and survived."""
    survived: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        survived.update(
            {kind: number for kind, number in report.user_properties if kind in _FAULTS}
        )
    if survived:
        told = ", ".join(f"{survived[kind]:,} {kind}" for kind in _FAULTS if survived[kind])
        terminalreporter.write_line(f"faults: {told}")


@pytest.fixture(scope="session")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the directory of a running one-machine Slurm."""
    given = os.environ.get("DATALAD_SLURM_TESTBED")
    if given:
        yield Path(given)
        return
    if shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        if os.environ.get("DATALAD_SLURM_REQUIRE_TESTBED"):
            pytest.fail("Slurm is not installed; tools/install-packages installs it")
        pytest.skip("Slurm is not installed")
    directory = tmp_path_factory.mktemp("testbed")
    command = [sys.executable, str(TESTBED)]
    subprocess.run([*command, "up", "--dir", str(directory)], check=True)
    yield directory
    subprocess.run([*command, "down", "--dir", str(directory)], check=True)


@dataclass(frozen=True)
class Slurm:
    """The real Slurm of the testbed, seen from outside the package."""

    directory: Path
    has_accounting: bool = True

    def run(self, *argv: str) -> str:
        """Run one of Slurm's programs and return what it prints."""
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def sbatch(self, *args: str) -> int:
        """Submit a job and return its id."""
        return int(self.run("sbatch", "--parsable", *args).partition(";")[0])

    def state(self, job_id: int | str) -> str:
        """Return the accounting's word for a job."""
        said = self.run("sacct", "-nXP", "-j", str(job_id), "-o", "State")
        return said.splitlines()[0].split()[0] if said else ""

    def wait(
        self,
        *job_ids: int | str,
        until: Callable[[str], bool] | None = None,
        is_accounted: bool = True,
    ) -> None:
        """Wait until slurmctld says that jobs have ended, or are in a given state.

        Of jobs that have ended, the accounting is waited for, too: on a busy machine it
        may know it many seconds later.
        """
        done = until or (lambda word: word not in _OPEN)
        for job_id in job_ids:
            wait_until(lambda job_id=job_id: self._is(job_id, done), what=f"job {job_id}")
        if job_ids and until is None and is_accounted and self.has_accounting:
            wait_until(lambda: self._is_accounted(job_ids), what=f"the accounting of {job_ids}")

    def _is(self, job_id: int | str, done: Callable[[str], bool]) -> bool:
        asked = ["squeue", "-h", "-t", "all", "-o", "%T", "-j", str(job_id)]
        said = subprocess.run(asked, check=False, capture_output=True, text=True)
        words = said.stdout.split()
        return bool(words and all(map(done, words))) or "Invalid job id" in said.stderr

    def _is_accounted(self, job_ids: Collection[int | str]) -> bool:
        ids = ",".join(map(str, job_ids))
        said = self.run("sacct", "-nXP", "-j", ids, "-o", "JobID,State,End")
        rows = [line.split("|") for line in said.splitlines()]
        known = {_job_id(name) for name, _, _ in rows}
        return known == {_job_id(name) for name in job_ids} and all(
            state.split()[0] not in _OPEN and end != "Unknown" for _, state, end in rows
        )


def _job_id(name: int | str) -> str:
    """Return the id of a job, or that of the array to which a task belongs."""
    return re.match(r"\d+", str(name))[0]


def _growing() -> Iterator[float]:
    """Yield times to sleep (seconds): others want the processor meanwhile."""
    pause = 0.05
    while True:
        yield pause
        pause = min(pause * 1.3, 0.5)


def wait_until(condition: Callable[[], object], seconds: float = 300, what: str = "") -> None:
    """Wait for a condition, and fail when it does not come true in time."""
    deadline = time.monotonic() + seconds
    for pause in _growing():
        if condition():
            return
        assert time.monotonic() < deadline, what
        time.sleep(pause)


_OPEN = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "STAGE_OUT"}


@pytest.fixture
def slurm(testbed: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """Return the real Slurm; its programs work as long as the test runs."""
    monkeypatch.setenv("SLURM_CONF", str(testbed / "etc" / "slurm.conf"))
    return Slurm(testbed)


@dataclass(frozen=True)
class Box:
    """A dataset to work in."""

    path: Path

    def git(self, *args: str) -> str:
        """Run git and return what it prints."""
        done = subprocess.run(
            ["git", *args], cwd=self.path, check=True, capture_output=True, text=True
        )
        return done.stdout.rstrip("\n")

    def subjects(self, count: int = 1) -> list[str]:
        """Return the subjects of the latest commits, the newest first."""
        return self.git("log", f"-{count}", "--format=%s").splitlines()

    def files_in_last_commit(self, revision: str = "HEAD") -> set[str]:
        """Return the paths that a commit changes, without what every job has archived."""
        listed = self.git("show", "--format=", "--name-only", "-z", "--no-renames", revision)
        paths = filter(None, listed.split("\0"))
        return {path for path in paths if not path.startswith(".datalad/slurm/archive/")}

    def script(self, body: str, name: str = "job.sh", *, save: bool = True) -> str:
        """Write a job script, commit it, and return its name."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        if save:
            # without git-annex, which would be started three times for it
            filters = [f"filter.annex.{each}=" for each in ("clean", "smudge", "process")]
            without = [word for each in filters for word in ("-c", each)]
            self.git(*without, "add", name)
            self.git(*without, "commit", "--no-verify", "-qm", f"add {name}", "--", name)
        return name

    def cli(
        self, *args: str, cwd: Path | None = None, code: int | None = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run datalad as a user would; with `code`, insist on the exit status."""
        if args[0] in _PRELOADED and "-l" not in args and not env:
            done = processes.datalad(args, cwd or self.path)
        else:
            done = subprocess.run(
                [DATALAD, *args],
                cwd=cwd or self.path,
                capture_output=True,
                text=True,
                env=os.environ | env,
                check=False,
            )
        if code is not None:
            assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def tracked(self) -> list[int]:
        """Return the ids of the open jobs."""
        from datalad.api import slurm_finish

        found = slurm_finish(
            dataset=self.path, list_open_jobs=True, result_renderer="disabled", on_failure="ignore"
        )
        return [res["slurm_job_id"] for res in found if res["status"] == "ok"]

    def status(self) -> str:
        """Return what `git status` says, untracked files included."""
        return self.git("status", "--porcelain=v1", "-uall")


@pytest.fixture(scope="session")
def _template_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a dataset once; tests work on copies of it."""
    path = tmp_path_factory.mktemp("template") / "ds"
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "SLURM_"))
    }
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "A Scientist", f"GIT_{role}_EMAIL": "scientist@example.org"}
    env["HOME"] = str(tmp_path_factory.mktemp("template-home"))
    subprocess.run(
        [DATALAD, "create", str(path)], check=True, env=env,
        capture_output=True,
    )  # fmt: skip
    return path


@pytest.fixture
def box(_template_dataset: Path, tmp_path: Path) -> Box:
    """Return a new dataset."""
    path = tmp_path / "ds"
    copy_dataset(_template_dataset, path)
    return Box(path.resolve())


def copy_dataset(source: Path, target: Path) -> None:
    """Copy a dataset, and let git-annex believe that its inodes are what they were.

    When they have all changed, as by the inode of this file, it takes files of
    one size and second for each other.
    """
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
    sentinel = target / ".git/annex/sentinal"
    cache = sentinel.with_suffix(".cache")
    cache.write_text(f"{sentinel.stat().st_ino} {cache.read_text().partition(' ')[2]}")
