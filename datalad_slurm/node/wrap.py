"""What our sbatch calls where endings are to be noted: put a runner around the script.

Called as ``wrap.py PLACE ENDINGS WORD...`` with the words behind sbatch's name.
Prints, for a shell to evaluate, the words to call sbatch with instead; nothing
when it is to be called as it was.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from datalad_slurm.jobs.sbatch_options import Call, read_call, script_paths, wrapped_script
from datalad_slurm.node.runner import IN_CONTAINER, build, cannot_be_wrapped

__all__ = ["main", "place"]

#: What starts this file from a shell, without the package being installed.
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); "
_START += "from datalad_slurm.node.wrap import main; main()"


def place(notes: Path, endings: Path) -> None:
    """Tell our sbatch, by a file beside its notes, to wrap what it submits."""
    package = Path(__file__).resolve().parents[2]
    # isolated: what the user's command sets for its own Python must not matter here
    argv = [sys.executable, "-I", "-S", "-c", _START, str(package)]
    text = f'place=$1; shift\nexec {shlex.join(argv)} "$place" {shlex.quote(str(endings))} "$@"\n'
    (notes / "wrap").write_bytes(os.fsencode(text))


def main() -> None:
    """Write the runner and print the words for sbatch."""
    place, endings, *words = sys.argv[1:]
    wrapped = wrap(words, Path(place), Path(endings))
    if wrapped is not None:
        sys.stdout.buffer.write(b"set -- " + os.fsencode(shlex.join(wrapped)))


def wrap(words: Sequence[str], place: Path, endings: Path) -> list[str] | None:
    """Return the words to call sbatch with, or None to leave them alone.

    Parameters
    ----------
    words : sequence of str
        What sbatch was called with.
    place : Path
        Directory to make for the runner. It has the name of the user's script,
        which sbatch takes for the job's.
    endings : Path
        Where the runner is to leave its notes.
    """
    call = read_call(words)
    if call is None:
        _say("the command is not one that datalad-slurm reads for certain")
        return None
    if call.only_tells:
        return None
    name, script, is_gone = _script(call)
    if script is None:
        return None  # sbatch will say so
    problem = cannot_be_wrapped(script)
    if "SBATCH_CONTAINER" in os.environ or any(w.startswith("--container") for w in call.options):
        problem = problem or IN_CONTAINER
    if problem:
        _say(problem)
        if not is_gone:
            return None
    place.mkdir()
    runner = place / name
    runner.write_bytes(script if problem else build(script, endings, words))
    return [*call.options, str(runner), *call.arguments]


def _script(call: Call) -> tuple[str, bytes | None, bool]:
    """Return name and text of the job script, and whether reading it has used it up."""
    if call.wrapped is not None:
        return "wrap", os.fsencode(wrapped_script(call.wrapped)), False
    if not call.script:
        return "sbatch", sys.stdin.buffer.read(), True
    path = _found(call)
    try:
        is_gone = not stat.S_ISREG(path.stat().st_mode)
        return path.name, path.read_bytes(), is_gone
    except OSError:
        return path.name, None, False


def _found(call: Call) -> Path:
    """Return the file that sbatch will read; where there is none, the first that it tries."""
    search_path = os.environ.get("PATH", os.defpath)
    paths = [*map(Path, script_paths(call.script, call.directory, search_path=search_path))]
    return next((p for p in paths if os.access(p, os.R_OK) and not p.is_dir()), paths[0])


def _say(why: str) -> None:
    print(
        f"datalad-slurm: the job is submitted as it is ({why}); how it ends must be learned "
        "from slurmctld, before that forgets it",
        file=sys.stderr,
    )
