"""Datasets that are the same for both tools, and jobs that write the same files."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from _bench.bulk import PLAIN, add_files
from _bench.processes import BenchError
from _bench.world import remove

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from _bench.environments import Tool
    from _bench.world import World

_SCRIPT = r"""#!/bin/bash
#SBATCH --job-name=bench
# Writes COUNT files of 3 kB into DIRECTORY, PERCENT of them for git.
set -e
directory=$1 number=$2 count=$3 percent=$4
mkdir -p "$directory"
for ((i = 0; i < count; i++)); do
    n=$((number * count + i))
    suffix=dat
    if (((n + 1) * percent / 100 > n * percent / 100)); then
        suffix=txt
    fi
    printf '%03000d\n' "$n" >"$directory/file$i.$suffix"
done
echo "job $number wrote $count files"
"""
_ATTRIBUTES = """
*.sh annex.largefiles=nothing
*.txt annex.largefiles=nothing
"""
#: seconds that `git gc`, which commits start in the background, may take
_GC_PATIENCE = 300.0


@dataclass(frozen=True)
class Shape:
    """How much there is to do, and how much there is already."""

    #: output files of a job
    outputs: int
    #: files in the dataset before any job
    files: int = 0
    #: percent of a job's outputs, and of the files, that go into git
    git_percent: int = 0
    #: whether files are declared as outputs, or their directory
    declare_files: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Datasets:
    """Makes one dataset, and copies of it."""

    def __init__(self, world: World, maker: Tool, shape: Shape) -> None:
        self._world = world
        self._maker = maker
        self.shape = shape
        self._template: Path | None = None

    def new(self, name: str) -> Path:
        """Return a new copy, in the state in which a user's dataset would be."""
        template = self._template or self._create()
        path = self._world.root / f"{name}-{uuid.uuid4().hex[:8]}"
        self._world.run(["cp", "-a", "--", template, path])
        # The copy's files have other inodes than its index notes.
        self._world.run(["git", *PLAIN, "update-index", "-q", "--refresh"], path)
        # The first call in a copy brings git-annex's own databases up to date.
        self._world.run(["git", "annex", "add", "--quiet", "job.sh"], path)
        self._world.run(["git", "annex", "find", "job.sh"], path)
        return path

    def _create(self) -> Path:
        path = self._world.root / "template"
        say = self._world.say
        say(f"making a dataset of {self.shape.files} files" if self.shape.files else "")
        tool = self._maker
        self._world.run_tool(tool, [tool.datalad, "create", path], self._world.root)
        with (path / ".gitattributes").open("a") as attributes:
            attributes.write(_ATTRIBUTES)
        (path / "job.sh").write_text(_SCRIPT)
        (path / "job.sh").chmod(0o755)
        self._world.run_tool(tool, [tool.datalad, "save", "-m", "Add the job"], path)
        if self.shape.files:
            add_files(self._world, path, self.shape.files, self.shape.git_percent)
        self._template = path
        return path

    def discard(self, path: Path) -> None:
        """Remove a copy, when git no longer packs it in the background."""
        deadline = time.monotonic() + _GC_PATIENCE
        while (path / ".git" / "gc.pid").exists() and time.monotonic() < deadline:
            time.sleep(0.5)
        remove(path)

    # -- jobs --------------------------------------------------------------------

    def command(self, number: int, *options: str) -> list[str]:
        """Return the command that submits a job."""
        shape = self.shape
        numbers = (number, shape.outputs, shape.git_percent)
        return ["sbatch", *options, "job.sh", directory(number), *map(str, numbers)]

    def outputs(self, number: int) -> list[str]:
        """Return what a job declares."""
        if not self.shape.declare_files:
            return [directory(number)]
        return [f"{directory(number)}/{name}" for name in self._file_names(number)]

    def _file_names(self, number: int) -> Iterable[str]:
        percent = self.shape.git_percent
        for i in range(self.shape.outputs):
            n = number * self.shape.outputs + i
            into_git = (n + 1) * percent // 100 > n * percent // 100
            yield f"file{i}.{'txt' if into_git else 'dat'}"

    def schedule(
        self, tool: Tool, path: Path, numbers: Iterable[int], *options: str
    ) -> tuple[list[int], list[float]]:
        """Schedule jobs in one process; return their ids, and the seconds of each call."""
        jobs = [{"command": self.command(n, *options), "outputs": self.outputs(n)} for n in numbers]
        answer = self._world.root / "scheduled.json"
        driver = os.path.join(os.path.dirname(__file__), "driver.py")  # noqa: PTH118, PTH120
        argv = [tool.python, driver, answer]
        wanted = json.dumps({"dataset": str(path), "jobs": jobs})
        self._world.run_tool(tool, argv, path, stdin=wanted)
        given = json.loads(answer.read_text())
        answer.unlink()
        return given["ids"], given["seconds"]

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
        listed = git(["git", "ls-tree", "-r", "--name-only", "HEAD"], path).output.splitlines()
        names = set(listed)
        if sum(name.startswith("out/") for name in listed) != jobs * self.shape.outputs:
            raise BenchError(f"not all outputs are committed in {path}")
        logs = [name for name in names if name.startswith("slurm-")]
        if len(logs) != 2 * jobs:
            raise BenchError(f"{len(logs)} log files of {jobs} jobs are committed in {path}")
        left = git(["git", "status", "--short"], path).output.strip()
        if left:
            raise BenchError(f"{path} is not clean: {left.splitlines()[0]}")
        tree = git(["git", "ls-tree", "-r", "HEAD", "out"], path).output
        return hashlib.sha256(tree.encode()).hexdigest()


def directory(number: int) -> str:
    """Return the output directory of a job."""
    return f"out/{number:05d}"
