"""Datasets that are the same for both tools, and jobs that write the same files."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from _bench.bulk import PLAIN
from _bench.measure import HERE
from _bench.processes import BenchError
from _bench.world import remove

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from _bench.environments import Tool
    from _bench.processes import Run
    from _bench.templates import Templates
    from _bench.world import World

#: seconds that `git gc`, which commits start in the background, may take
_GC_PATIENCE = 300.0


@dataclass(frozen=True)
class Shape:
    """How much there is to do, and how much there is already."""

    #: output files of a job
    outputs: int
    #: files in the dataset before any job
    files: int = 0
    #: percent of a job's outputs that go into git
    git_percent: int = 0
    #: whether files are declared as outputs, or their directory
    declare_files: bool = False
    #: of how many jobs outputs and logs are in one directory; of all, if this is 0
    together: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Datasets:
    """Makes datasets of one shape, and schedules jobs in them."""

    def __init__(self, world: World, templates: Templates, shape: Shape) -> None:
        self._world = world
        self._templates = templates
        self.shape = shape

    def new(self, name: str) -> Path:
        """Return a new dataset, in the state in which a user's would be."""
        template = self._templates.of(self.shape.files)
        path = self._world.root / f"{name}-{uuid.uuid4().hex[:8]}"
        self._world.run(["cp", "-a", "--", f"{template}/.", path])
        # The copy's files have other inodes than its index notes.
        self._world.run(["git", *PLAIN, "update-index", "-q", "--refresh"], path)
        # The first call in a copy brings git-annex's own databases up to date.
        self._world.run(["git", "annex", "add", "--quiet", "job.sh"], path)
        self._world.run(["git", "annex", "find", "job.sh"], path)
        # What was copied is not to be written back while something is measured.
        self._world.run(["sync", "--file-system", path])
        return path

    def settle(self, path: Path) -> None:
        """Wait until git no longer packs a dataset in the background."""
        deadline = time.monotonic() + _GC_PATIENCE
        while (path / ".git" / "gc.pid").exists() and time.monotonic() < deadline:
            time.sleep(0.5)

    def discard(self, path: Path) -> None:
        self.settle(path)
        remove(path)

    # -- jobs --------------------------------------------------------------------

    def command(self, number: int, *options: str) -> list[str]:
        """Return the command that submits a job."""
        shape = self.shape
        numbers = (number, shape.outputs, shape.git_percent)
        return ["sbatch", *options, "job.sh", self._directory(number), *map(str, numbers)]

    def outputs(self, number: int) -> list[str]:
        """Return what a job declares."""
        if not self.shape.declare_files:
            return [self._directory(number)]
        return [f"{self._directory(number)}/{name}" for name in self._file_names(number)]

    def _directory(self, number: int) -> str:
        """Return the output directory of a job."""
        if self.shape.together:
            return f"out/{number // self.shape.together:03d}/{number:05d}"
        return directory(number)

    def _logs(self, number: int) -> str:
        """Return the directory of a job's logs, if they are in one of their own."""
        return f"logs/{number // self.shape.together:03d}" if self.shape.together else ""

    def _file_names(self, number: int) -> Iterable[str]:
        percent = self.shape.git_percent
        for i in range(self.shape.outputs):
            n = number * self.shape.outputs + i
            into_git = (n + 1) * percent // 100 > n * percent // 100
            yield f"file{i}.{'txt' if into_git else 'dat'}"

    def schedule(
        self, tool: Tool, path: Path, numbers: Sequence[int], *options: str
    ) -> tuple[list[int], Run]:
        """Schedule jobs, each tool its quickest way; return their ids, and what it took.

        Here that is a table; the peer is called again and again in one process.
        """
        if tool.name == HERE:
            return self._schedule_table(tool, path, numbers, options)
        jobs = [{"command": self.command(n, *options), "outputs": self.outputs(n)} for n in numbers]
        answer = self._world.root / "scheduled.json"
        driver = os.path.join(os.path.dirname(__file__), "driver.py")  # noqa: PTH118, PTH120
        wanted = json.dumps({"dataset": str(path), "jobs": jobs})
        run = self._world.run_tool(tool, [tool.python, driver, answer], path, stdin=wanted)
        ids = json.loads(answer.read_text())
        answer.unlink()
        return ids, run

    def _schedule_table(
        self, tool: Tool, path: Path, numbers: Sequence[int], options: Sequence[str]
    ) -> tuple[list[int], Run]:
        table = self._world.root / "table.jsonl"
        for logs in {self._logs(number) for number in numbers} - {""}:
            (path / logs).mkdir(parents=True, exist_ok=True)  # Slurm does not make it
        run = self._world.run_tool(tool, self.table_command(tool, table, numbers, options), path)
        table.unlink()
        results = (json.loads(line) for line in run.output.splitlines())
        ids = [int(r["slurm_job_id"]) for r in results if "slurm_job_id" in r]
        return ids, run

    def table_command(
        self, tool: Tool, table: Path, numbers: Iterable[int], options: Sequence[str] = ()
    ) -> list[str | Path]:
        """Write a table of jobs, and return the command that schedules them."""
        with table.open("w") as rows:
            for number in numbers:
                outputs = {f"output{i}": path for i, path in enumerate(self.outputs(number))}
                row = {"directory": self._directory(number), "number": str(number), **outputs}
                row["logs"] = self._logs(number)
                rows.write(f"{json.dumps(row)}\n")
        declared = [word for name in outputs for word in ("-o", f"{{{name}}}")]
        how = [str(self.shape.outputs), str(self.shape.git_percent)]
        if self.shape.together:
            options = (*options, "--output={logs}/slurm-%j.out")
        sbatch = ["sbatch", *options, "job.sh", "{directory}", "{number}", *how]
        argv = [tool.datalad, "-f", "json", "slurm-schedule", "--table", table]
        return [*argv, *declared, *sbatch]

    # -- what came of it ----------------------------------------------------------

    def head(self, path: Path) -> str:
        return self._world.run(["git", "rev-parse", "HEAD"], path).output.strip()

    def check_finished(self, path: Path, before: str, jobs: int) -> str:
        """Check that each job is committed, and return a hash of their outputs.

        Raises
        ------
        BenchError
            When there are more or fewer commits, or a file is not committed.
        """
        git = self._world.run
        counted = git(["git", "rev-list", "--count", f"{before}..HEAD"], path).output.strip()
        if int(counted) != jobs:
            raise BenchError(f"{counted} commits of {jobs} jobs in {path}")
        changes = git(["git", "diff-tree", "-r", before, "HEAD"], path).output.splitlines()
        names = [line.split("\t", 1)[1] for line in changes]
        outputs = [line for line, name in zip(changes, names, strict=True) if "out/" in name]
        if len(outputs) != jobs * self.shape.outputs:
            raise BenchError(f"{len(outputs)} outputs of {jobs} jobs are committed in {path}")
        logs = [name for name in names if name.startswith(("slurm-", "logs/"))]
        if len(logs) != 2 * jobs:
            raise BenchError(f"{len(logs)} log files of {jobs} jobs are committed in {path}")
        left = git(["git", "status", "--short"], path).output.strip()
        if left:
            raise BenchError(f"{path} is not clean: {left.splitlines()[0]}")
        return hashlib.sha256("\n".join(outputs).encode()).hexdigest()


def directory(number: int) -> str:
    """Return the output directory of a job where those of all are side by side."""
    return f"out/{number:05d}"
