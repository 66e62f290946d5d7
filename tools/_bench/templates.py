"""The datasets that are copied: those with many files are kept between runs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from _bench.bulk import add_files
from _bench.world import remove

if TYPE_CHECKING:
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
#: changes when kept datasets would have to be made anew
_EDITION = 1


class Templates:
    """Makes datasets to copy.

    Parameters
    ----------
    world : World
        Small ones live as long as it does.
    maker : Tool
        Creates them.
    cache : Path
        Where those with files are kept; made when needed.
    """

    def __init__(self, world: World, maker: Tool, cache: Path) -> None:
        self._world = world
        self._maker = maker
        self._cache = cache
        self._small: Path | None = None

    def of(self, files: int) -> Path:
        """Return a dataset that holds the job's script, and so many files."""
        if not files:
            if self._small is None:
                self._small = self._create(self._world.root / "template")
            return self._small
        version = self._world.run(["git-annex", "version", "--raw"]).output.strip()
        kept = self._cache / f"{files}-files-annex-{version}-{_EDITION}"
        if not kept.exists():
            self._world.say(f"making a dataset of {files} files, which is kept")
            self._cache.mkdir(parents=True, exist_ok=True)
            new = Path(tempfile.mkdtemp(prefix="new.", dir=self._cache))
            try:
                path = self._create(new / "dataset")
                add_files(self._world, path, files)
                path.rename(kept)
            finally:
                remove(new)
        return kept

    def _create(self, path: Path) -> Path:
        tool = self._maker
        self._world.run_tool(tool, [tool.datalad, "create", path], self._world.root)
        with (path / ".gitattributes").open("a") as attributes:
            attributes.write(_ATTRIBUTES)
        (path / "job.sh").write_text(_SCRIPT)
        (path / "job.sh").chmod(0o755)
        self._world.run_tool(tool, [tool.datalad, "save", "-m", "Add the job"], path)
        return path
