"""From the outcomes of a flow to DataLad's result records, and to the terminal."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datalad.interface.results import get_status_dict

from datalad_slurm.jobs.errors import DataladSlurmError, InvalidRequestError
from datalad_slurm.jobs.script import as_line, as_lines, told_after
from datalad_slurm.workflow.context import Context, Outcome, open_context

__all__ = ["render", "run_flow", "run_in", "show_dry_run", "show_log_ends", "show_recorded"]

lgr = logging.getLogger("datalad.slurm")

#: How many there are to be before Python looks for garbage.
_NEW_OBJECTS = 100_000


def run_flow(
    action: str, dataset: Any, flow: Callable[[Context], Iterable[Outcome]]
) -> Iterator[dict[str, Any]]:
    """Yield a result record for each outcome of a flow, and for what stops it.

    Parameters
    ----------
    action : str
        Name of the command, for the result of a failure.
    dataset : datalad.distribution.dataset.Dataset
        The dataset to work on.
    flow : callable
        Takes the context of the dataset and yields outcomes.
    """
    yield from run_in(action, dataset, lambda: flow(open_context(dataset)))


def run_in(
    action: str, dataset: Any, flow: Callable[[], Iterable[Outcome]]
) -> Iterator[dict[str, Any]]:
    """Yield a result record for each outcome of a flow that needs no context, as `run_flow`."""
    try:
        with _seldom_collecting():
            for outcome in flow():
                yield _record(dataset, outcome)
    except DataladSlurmError as exc:
        status = "impossible" if isinstance(exc, InvalidRequestError) else "error"
        yield _record(dataset, Outcome(action, status, str(exc)))
    except OSError as exc:
        named = f": {exc.filename}" if exc.filename else ""
        said = f"{exc.strerror or exc}{named}; mend that and run the command again"
        yield _record(dataset, Outcome(action, "error", said))


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Let Python look for garbage less often.

    It looks at all objects each time, which is a quarter of the time in which 10,000 jobs are
    listed. None of them are in cycles, the only ones that this is for.
    """
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], _NEW_OBJECTS) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _record(dataset: Any, outcome: Outcome) -> dict[str, Any]:
    # under the path by which the user knows the dataset, not where links lead
    where = str(Path(dataset.path) / outcome.path) if outcome.path else dataset.path
    result = get_status_dict(
        action=outcome.action,
        status=outcome.status,
        path=where,
        refds=dataset.path,
        logger=lgr,
        **outcome.details,
    )
    if outcome.message:
        result["message"] = outcome.message
    if outcome.type:
        result["type"] = outcome.type
    return dict(result)


def render(res: dict[str, Any]) -> None:
    """Print one result as DataLad does; results about jobs come without a path."""
    from datalad_next.commands import generic_result_renderer
    from datalad_next.uis import ui_switcher as ui

    about_job = res["action"] == "finish" or res["action"].startswith("slurm-")
    if about_job and res.get("path") == res.get("refds"):
        res = {key: value for key, value in res.items() if key not in ("path", "type")}
    if res["status"] == "notneeded" and res.get("message"):
        # the generic renderer is silent about these, but somebody has asked
        ui.message(f"{res['action']}({res['status']}): [{res['message']}]")
    else:
        generic_result_renderer(res)


def show_log_ends(res: Mapping[str, Any]) -> None:
    """Print how the logs of a job that has failed end, where that was asked for."""
    from datalad_next.uis import ui_switcher as ui

    for log in res.get("logs", ()):
        name = log["path"] or "there is no log"
        if "missing" in log:
            ui.message(f"  log of {log['task']}: {as_line(name)}: {log['missing']}")
            continue
        told = "the last lines:" if log["lines"] else "it is empty"
        lines = [f"  log of {log['task']}, {as_line(name)}, {told}"]
        ui.message("\n".join([*lines, *(f"    {line}".rstrip() for line in log["lines"])]))


def show_dry_run(res: dict[str, Any], what: str) -> None:
    """Print what would be submitted: all of it, or for "command" the command only."""
    from datalad_next.uis import ui_switcher as ui

    told = res["dry_run_info"]
    if what == "command":
        ui.message(told["cmd_expanded"])
        return
    fields = {"location": [told["pwd_full"]]}
    fields |= {"expanded inputs": told["inputs"], "expanded outputs": told["outputs"]}
    cmd = res["run_info"]["cmd"]
    fields |= {"depends on": told["depends_on"], "command": [cmd]}
    if told["cmd_expanded"] != cmd:
        fields |= {"expanded command": [told["cmd_expanded"]]}
    ui.message("\n".join([_emphasised("Dry run information"), *_field_lines(fields)]))


def show_recorded(res: dict[str, Any]) -> None:
    """Print a commit whose job would be run again, or is left out."""
    from datalad_next.uis import ui_switcher as ui

    commit = _emphasised(f"commit {res['commit'][:10]}")
    title = as_line(res["subject"].removeprefix("[DATALAD SLURM RUN] "))
    lines = [f"{commit} {title}"]
    if res["rerun_action"] == "skip":
        lines.append(f" left out: {as_line(res['message'])}")
    else:
        fields = {
            "recorded": [f"{res['author']}, {res['date']}"],
            "message": [res["run_message"]] if res["run_message"] else [],
            "location": [res["pwd"]],
            "inputs": res["inputs"],
            "outputs": res["outputs"],
            "depends on": told_after(res["after"]),
            "changed script": res["changed_scripts"],
            "command": [res["cmd"]],
        }
        lines += _field_lines(fields)
    ui.message("\n".join([*lines, ""]))


def _field_lines(fields: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield a line for each field, and more for one that needs them; none for one without value.

    What follows the first line is set in, so that no text can pose as a field.
    """
    for name, values in fields.items():
        lines = [line for value in values for line in as_lines(value)]
        if len(lines) == 1:
            yield f" {name}: {lines[0]}"
        elif lines:
            yield f" {name}:"
            yield from (f"   {line}".rstrip() for line in lines)


def _emphasised(text: str) -> str:
    from datalad.support import ansi_colors

    return str(ansi_colors.color_word(text, ansi_colors.BOLD))
