"""Draw cost a job against number of jobs, and against files in the dataset.

Runs in an environment with matplotlib; reads rows of the results as JSON on
stdin, writes the picture into the file that is its argument.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib
from matplotlib import pyplot

_NAMES = {"here": "this package", "peer": "datalad-slurm 0.2.8"}
_COLOURS = {"here": "#1b6ca8", "peer": "#c8553d"}
_MARKERS = {4: "o", 12: "s"}


def _points(rows: list[dict[str, Any]], name: str, x: str) -> list[tuple[float, dict[str, Any]]]:
    return sorted(((row["size"][x], row[name]) for row in rows if name in row), key=lambda p: p[0])


def _draw(axes: Any, rows: list[dict[str, Any]], x: str) -> None:
    outputs = sorted({row["size"]["outputs"] for row in rows})
    for each in outputs:
        chosen = [row for row in rows if row["size"]["outputs"] == each]
        for name, label in _NAMES.items():
            points = _points(chosen, name, x)
            if not points:
                continue
            middles = [known["median"] for _, known in points]
            below = [known["median"] - known["min"] for _, known in points]
            above = [known["max"] - known["median"] for _, known in points]
            axes.errorbar(
                [place for place, _ in points],
                middles,
                yerr=[below, above],
                label=f"{label}, {each} outputs a job",
                color=_COLOURS[name],
                marker=_MARKERS.get(each, "^"),
                linestyle="-" if len(points) > 1 else "none",
                capsize=3,
            )
    axes.set_yscale("log")
    axes.grid(visible=True, which="major", alpha=0.3)


def main() -> None:
    rows = json.load(sys.stdin)
    # the same results give the same file
    matplotlib.rcParams["svg.hashsalt"] = "bench"
    matplotlib.rcParams["svg.fonttype"] = "none"
    finish = [row for row in rows if row["scenario"] == "finish" and not row["part"]]
    least = min((row["size"]["files"] for row in finish), default=0)
    most = max((row["size"]["jobs"] for row in finish), default=0)
    by_jobs = [row for row in finish if row["size"]["files"] == least]
    by_jobs += [row for row in rows if row["scenario"] == "scale" and row["part"] == "all"]
    by_files = [row for row in finish if row["size"]["jobs"] == most]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.6), sharey=True)
    _draw(left, by_jobs, "jobs")
    left.set_xscale("log")
    left.set_xlabel("jobs finished by one call")
    left.set_ylabel("seconds a job")
    _draw(right, by_files, "files")
    right.set_xlabel("files in the dataset")
    right.xaxis.set_major_formatter("{x:,.0f}")
    right.locator_params(axis="x", nbins=5)
    left.yaxis.set_major_formatter("{x:g}")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=2, fontsize="small", frameon=False)
    figure.suptitle("slurm-finish: median, least and most of the repetitions")
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.savefig(sys.argv[1], format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
