"""From the outcomes of a flow to DataLad's result records."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from datalad.interface.results import get_status_dict

from datalad_slurm.jobs.errors import DataladSlurmError, InvalidRequestError
from datalad_slurm.workflow.context import Context, Outcome, open_context

__all__ = ["run_flow"]

lgr = logging.getLogger("datalad.slurm")


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
    try:
        context = open_context(dataset)
        for outcome in flow(context):
            yield _record(dataset, outcome)
    except DataladSlurmError as exc:
        status = "impossible" if isinstance(exc, InvalidRequestError) else "error"
        yield _record(dataset, Outcome(action, status, str(exc)))
    except OSError as exc:
        named = f": {exc.filename}" if exc.filename else ""
        said = f"{exc.strerror or exc}{named}; mend that and run the command again"
        yield _record(dataset, Outcome(action, "error", said))


def _record(dataset: Any, outcome: Outcome) -> dict[str, Any]:
    # under the path by which the user knows the dataset, not where links lead
    where = Path(dataset.path) / outcome.path if outcome.path else Path(dataset.path)
    result = get_status_dict(
        action=outcome.action,
        status=outcome.status,
        path=str(where),
        refds=dataset.path,
        logger=lgr,
        **outcome.details,
    )
    if outcome.message:
        result["message"] = outcome.message
    if outcome.type:
        result["type"] = outcome.type
    return dict(result)
