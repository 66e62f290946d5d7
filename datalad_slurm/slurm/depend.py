"""What our sbatch calls where a job must wait for others: join that with what was typed.

Called as ``depend.py PLAN SAVED WORD...`` with the words behind sbatch's name.
Prints, for a shell to evaluate, the words to call sbatch with instead; nothing
when it is to be called as it was. Exits with 1, and says why, when it must not
be called at all.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from datalad_slurm.jobs.callbacks import python_call
from datalad_slurm.jobs.dependencies import joined, replaced
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.sbatch_options import (
    Call,
    chdir,
    clusters,
    directives,
    read_call,
    sbatch_calls,
    script_head,
    script_paths,
)

__all__ = ["Wanted", "depend", "main", "place", "typed_dependency"]


class Wanted(NamedTuple):
    """What is to become of the dependency of each job that a command submits."""

    #: ids of jobs that it must wait for, if they end well
    ids: Sequence[int] = ()
    #: cluster on which these are, by its name
    cluster: str = ""
    #: cluster to which jobs go by default
    own_cluster: str = ""
    #: ids in what was typed, and those that stand for them now
    stand_ins: Mapping[int, Sequence[int]] = MappingProxyType({})


def place(notes: Path, wanted: Wanted) -> None:
    """Tell our sbatch, by a file beside its notes, what to wait for."""
    told = json.dumps(wanted._asdict() | {"stand_ins": dict(wanted.stand_ins)})
    called = python_call(__name__, told)
    (notes / "depend").write_bytes(os.fsencode(f'exec {called} "$@"\n'))


def main() -> None:
    """Print the words for sbatch."""
    plan, saved, *words = sys.argv[1:]
    content = json.loads(plan)
    stand_ins = {int(old): new for old, new in content.pop("stand_ins").items()}
    try:
        print(depend(words, Wanted(**content, stand_ins=stand_ins), Path(saved)))
    except InvalidRequestError as exc:
        print(f"datalad-slurm: {exc}", file=sys.stderr)
        sys.exit(1)


def depend(words: Sequence[str], wanted: Wanted, saved: Path) -> str:
    """Return what a shell is to evaluate before it calls sbatch with its ``"$@"``.

    Parameters
    ----------
    words : sequence of str
        What sbatch was called with.
    wanted : Wanted
        What it is to wait for.
    saved : Path
        Where a script from standard input is put, which can be read only once.

    Raises
    ------
    InvalidRequestError
        When the dependencies cannot be joined, or the job goes to another
        cluster than that of the jobs it must wait for.
    """
    call = read_call(words)
    if call is not None and call.only_tells:
        return ""
    options, script = next(sbatch_calls(["sbatch", *words]))
    text, again = "", ""
    if call is not None and not call.script and call.wrapped is None:
        saved.write_bytes(sys.stdin.buffer.read())
        text, again = _text(saved), f"\nexec <{shlex.quote(str(saved))}"
    elif script:
        text = _script_text(options, script, str(Path.cwd()))
    typed = _typed(call, options, text) or ""
    dependency = replaced(typed, wanted.stand_ins)
    if wanted.ids:
        _refuse_other_cluster([*options, *directives(text)], wanted)
        dependency = joined(dependency, wanted.ids)
    if dependency == typed:
        return again.strip()
    option = f"--dependency={dependency}"
    if call is None:
        placed = [option, *words]
    else:
        # the last one counts
        known = [word for word in call.options if word != "--"]
        end = ["--"] if "--" in call.options else []
        wrapped = [] if call.wrapped is None else [f"--wrap={call.wrapped}"]
        rest = [call.script, *call.arguments] if call.script else []
        placed = [*known, *wrapped, option, *end, *rest]
    return f"set -- {shlex.join(placed)}{again}"


def typed_dependency(words: Sequence[str], directory: str) -> str:
    """Return what a call of sbatch says it waits for, by itself or in its script."""
    call = read_call(words)
    options, script = next(sbatch_calls(["sbatch", *words]))
    text = _script_text(options, script, directory) if script else ""
    try:
        return _typed(call, options, text) or ""
    except InvalidRequestError:
        return ""


def _typed(call: Call | None, options: Sequence[str], script: str) -> str | None:
    if call is None:
        _refuse_unread(options)
        return _dependency_in(script)
    return _dependency_in(script) if call.dependency is None else call.dependency


def _dependency_in(script: str) -> str | None:
    """Return what a job script says it waits for, or None; the last line that says it counts."""
    found = None
    for line in script_head(script):
        options = directives(line)
        call = read_call(options)
        if call is None:
            _refuse_unread(options)
        elif call.dependency is not None:
            found = call.dependency
    return found


def _refuse_unread(options: Sequence[str]) -> None:
    if any(word.startswith(("-d", "--dep")) for word in options):
        raise InvalidRequestError(
            "this call of sbatch has a dependency of its own that cannot be joined with another "
            "one, as its options are not such as datalad-slurm reads for certain; leave it out, "
            "or finish the jobs that it waits for first"
        )


def _script_text(options: Sequence[str], script: str, directory: str) -> str:
    search_path = os.environ.get("PATH", "")
    for path in script_paths(script, chdir(options), directory, search_path):
        if Path(path).is_file():
            return _text(Path(path))
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""  # sbatch will say so


def _refuse_other_cluster(options: Sequence[str], wanted: Wanted) -> None:
    named = {*clusters(options)}
    for variable in ("SBATCH_CLUSTERS", "SLURM_CLUSTERS"):
        named.update(filter(None, os.environ.get(variable, "").split(",")))
    goes_to = named or {wanted.own_cluster}
    if goes_to != {wanted.cluster}:
        ids = ", ".join(map(str, wanted.ids))
        raise InvalidRequestError(
            f"the job goes to cluster {' or '.join(sorted(goes_to))}, but an input is made by job "
            f"{ids} of cluster {wanted.cluster}, and Slurm cannot wait for jobs of another "
            "cluster; finish that job first"
        )
