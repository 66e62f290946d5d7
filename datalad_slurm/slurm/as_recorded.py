"""What our sbatch calls where recorded scripts are to be submitted in the place of others.

Called as ``as_recorded.py DIRECTORY ROOT PLACE WORD...`` with the words behind
sbatch's name. Prints, for a shell to evaluate, the words to call sbatch with
instead. Exits with 1, and says why, where it is not certain which script takes
the place of which: then nothing must be submitted.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datalad_slurm.jobs.callbacks import python_call
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.sbatch_options import Call, read_call, script_paths

__all__ = ["Substitute", "main", "place", "substituted"]

_LIST = "recorded.json"


@dataclass(frozen=True)
class Substitute:
    """A script that is to be submitted."""

    #: of the file in whose place it is, relative to the root or absolute; empty for none
    path: str
    #: whether it is in the place of the one that sbatch makes of ``--wrap``
    is_wrapped: bool
    content: bytes


def place(notes: Path, root: Path, scripts: Sequence[Substitute]) -> None:
    """Tell our sbatch, by files beside its notes, what to submit.

    Parameters
    ----------
    notes : Path
        An existing directory.
    root : Path
        Of the dataset, or of the directory that stands for it.
    scripts : sequence of Substitute
        The scripts.
    """
    listed = []
    for number, script in enumerate(scripts):
        (notes / f"recorded.{number}").write_bytes(script.content)
        listed.append([script.path, script.is_wrapped])
    (notes / _LIST).write_text(json.dumps(listed))
    called = python_call(__name__, str(notes), str(root))
    (notes / "recorded").write_bytes(os.fsencode(f'exec {called} "$@"\n'))


def main() -> None:
    """Print the words for sbatch."""
    notes, root, beside, *words = sys.argv[1:]
    scripts = [
        Substitute(path, is_wrapped, (Path(notes) / f"recorded.{number}").read_bytes())
        for number, (path, is_wrapped) in enumerate(json.loads((Path(notes) / _LIST).read_text()))
    ]
    try:
        found = substituted(words, Path(root), scripts, Path(beside))
    except InvalidRequestError as exc:
        print(f"datalad-slurm: {exc}", file=sys.stderr)
        sys.exit(1)
    sys.stdout.buffer.write(b"set -- " + os.fsencode(shlex.join(found)))


def substituted(
    words: Sequence[str], root: Path, scripts: Sequence[Substitute], beside: Path
) -> list[str]:
    """Return the words with which sbatch submits a recorded script.

    Parameters
    ----------
    words : sequence of str
        What sbatch was called with.
    root : Path
        As for `place`.
    scripts : sequence of Substitute
        What there is to choose from.
    beside : Path
        Directory to make for the script. It has the name of the one in whose
        place it is, which sbatch takes for the job's.

    Raises
    ------
    InvalidRequestError
        When it is not certain which script is meant.
    """
    call = read_call(words)
    if call is None:
        raise InvalidRequestError(
            "nothing is submitted: which script `sbatch "
            f"{shlex.join(words)}` submits is not read for certain, so the recorded one cannot "
            "take its place; run it again without --as-recorded"
        )
    if call.only_tells:
        return list(words)
    name = "wrap" if call.wrapped is not None else "sbatch"
    path = _found(call) if call.script else ""
    script = _chosen(call, path, root, scripts)
    if script is None:
        what = f"the script '{call.script}'" if call.script else "this script"
        raise InvalidRequestError(
            f"nothing is submitted: {what} is not one that the record names; run it again "
            "without --as-recorded"
        )
    beside.mkdir()
    target = beside / (os.path.basename(path) or name)  # noqa: PTH119 - any name that sbatch takes
    target.write_bytes(script.content)
    return [*call.options, str(target), *call.arguments]


def _chosen(call: Call, path: str, root: Path, scripts: Sequence[Substitute]) -> Substitute | None:
    """Return the one that was in the same place, else the only one that has no certain place."""
    same = [
        script
        for script in scripts
        if script.path and path and os.path.realpath(root / script.path) == os.path.realpath(path)
    ]
    if same:
        return same[0]
    is_wrapped = call.wrapped is not None
    # of files elsewhere wrappers make new ones each time
    others = [
        script
        for script in scripts
        if script.is_wrapped == is_wrapped and (not script.path or script.path.startswith("/"))
    ]
    return others[0] if len(others) == 1 and len(scripts) == 1 else None


def _found(call: Call) -> str:
    """Return the file that sbatch would read; where there is none, the first that it tries."""
    search_path = os.environ.get("PATH", os.defpath)
    paths = list(script_paths(call.script, call.directory, str(Path.cwd()), search_path))
    return next((path for path in paths if os.path.isfile(path)), paths[0])  # noqa: PTH113
