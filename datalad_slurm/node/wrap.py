"""What our sbatch calls where endings are to be noted: put a runner around the script.

Called as ``wrap.py PLACE ENDINGS PLAN WORD...`` with the words behind sbatch's name.
Prints, for a shell to evaluate, the words to call sbatch with instead; nothing
when it is to be called as it was. PLAN is empty, or a file about what more
the runner is to do; when that cannot be, nothing must be submitted: exit status 3.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from datalad_slurm.jobs.callbacks import python_call
from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.jobs.runner_options import (
    ONE_JOB,
    RunnerOptions,
    asked_of_sbatch,
    further_options,
    read_limit,
    why_not,
)
from datalad_slurm.jobs.sbatch_options import Call, read_call, script_paths, wrapped_script
from datalad_slurm.node.runner import IN_CONTAINER, NodePlan, Stage, build, cannot_be_wrapped

__all__ = ["main", "place"]

#: Exit status that tells our sbatch to submit nothing.
_REFUSED = 3


def place(notes: Path, endings: Path, plan: NodePlan | None = None) -> None:
    """Tell our sbatch, by a file beside its notes, to wrap what it submits.

    Parameters
    ----------
    notes : Path
        Where our sbatch looks.
    endings : Path
        Where runners are to leave notes.
    plan : NodePlan, optional
        For jobs that must not be submitted otherwise.
    """
    told = ""
    if plan:
        told = str(notes / "plan.json")
        nested = {
            "options": plan.options.to_json(),
            "stage": plan.stage._asdict() if plan.stage else None,
        }
        Path(told).write_text(json.dumps(plan._asdict() | nested))
    rest = f"{shlex.quote(str(endings))} {shlex.quote(told)}"
    # whatever goes wrong there, such a job must not be submitted as it is
    failing = f" || exit {_REFUSED}" if plan else ""
    text = f'place=$1; shift\n{python_call(__name__)} "$place" {rest} "$@"{failing}\n'
    (notes / "wrap").write_bytes(os.fsencode(text))


def main() -> None:
    """Write the runner and print the words for sbatch."""
    place, endings, told, *words = sys.argv[1:]
    try:
        wrapped = wrap(words, Path(place), Path(endings), _read(told))
    except InvalidRequestError as exc:
        print(f"datalad-slurm: {exc}", file=sys.stderr)
        sys.exit(_REFUSED)
    if wrapped is not None:
        sys.stdout.buffer.write(b"set -- " + os.fsencode(shlex.join(wrapped)))


def _read(told: str) -> NodePlan | None:
    if not told:
        return None
    content = json.loads(Path(told).read_text())
    stage = Stage(**content["stage"]) if content["stage"] else None
    return NodePlan(**content | {"options": RunnerOptions.read(content["options"]), "stage": stage})


def wrap(
    words: Sequence[str], place: Path, endings: Path, plan: NodePlan | None = None
) -> list[str] | None:
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
    plan : NodePlan, optional
        What more the runner is to do.

    Raises
    ------
    InvalidRequestError
        When it cannot do that.
    """
    call = read_call(words)
    if call is None:
        why = "the command is not one that datalad-slurm reads for certain"
        if plan:
            _refuse(why, plan)
        _say(why)
        return None
    if call.only_tells:
        return None
    name, script, is_gone = _script(call)
    if script is None:
        return None  # sbatch will say so
    problem = cannot_be_wrapped(script)
    if "SBATCH_CONTAINER" in os.environ or any(w.startswith("--container") for w in call.options):
        problem = problem or IN_CONTAINER
    options = call.options
    if plan and problem:
        _refuse(problem, plan)
    if plan and plan.options.checkpoint and _is_another_there(place.parent):
        raise InvalidRequestError(f"the command has submitted a job already, and {ONE_JOB}")
    if plan:
        options, plan = _fitted(call, script, plan)
    if problem:
        _say(problem)
        if not is_gone:
            return None
    place.mkdir()
    runner = place / name
    runner.write_bytes(script if problem else build(script, endings, words, plan))
    return [*options, str(runner), *call.arguments]


def _fitted(call: Call, script: bytes, plan: NodePlan) -> tuple[tuple[str, ...], NodePlan]:
    """Return the options for sbatch, and the plan with what they tell of the job."""
    asked = asked_of_sbatch(call, os.fsdecode(script), os.environ)
    problem = why_not(plan.options, asked)
    if problem:
        raise InvalidRequestError(problem)
    where = os.path.relpath(os.path.realpath(asked.get("--chdir", ".")), plan.root)
    if plan.stage and (where == ".." or where.startswith("../")):
        raise InvalidRequestError(
            f"the job would run in {os.path.realpath(asked['--chdir'])}, which is outside the "
            "dataset, and so in no directory that --node-local could put in its place"
            if "--chdir" in asked
            else "sbatch is called outside the dataset, where --node-local cannot be used"
        )
    more = further_options(plan.options, asked)
    end = call.options[-1:] == ("--",)
    options = (*(call.options[:-1] if end else call.options), *more, *(("--",) if end else ()))
    limit = read_limit(asked.get("--time", ""))
    return options, plan._replace(pwd=where, limit=limit)


def _is_another_there(notes: Path) -> bool:
    """Return whether another call of our sbatch has submitted a job, or may be about to."""
    printed = (begun.with_suffix(".printed") for begun in notes.glob("*.begun"))
    return any(not path.exists() or path.stat().st_size > 1 for path in printed)


def _refuse(why: str, plan: NodePlan) -> NoReturn:
    raise InvalidRequestError(f"the job cannot be submitted with {plan.options}: {why}")


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
