"""The origins of a file, as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from datalad_slurm.jobs.script import as_line

__all__ = ["origins_tree"]

_PATHS_SHOWN = 3
_STEP = "  "


def origins_tree(results: Sequence[Mapping[str, Any]]) -> str:
    """Return origins as text: what each thing comes from is set in below it.

    Parameters
    ----------
    results : sequence of mapping
        First what was asked for, then the commits from which all that comes.
    """
    target, *commits = results
    by_commit = {res["commit"]: res for res in commits}
    shown: set[str] = set()
    lines: list[str] = []
    # not by recursion: a chain may have thousands of jobs
    todo = _lines_of(target["reads"], 0)
    stack = [todo]
    while stack:
        try:
            depth, line, commit = next(stack[-1])
        except StopIteration:
            stack.pop()
            continue
        res = by_commit.get(commit, {})
        if commit:
            line = _maker(res, again=commit in shown)
        lines.append(f"{_STEP * depth}{line}")
        if commit and commit not in shown:
            shown.add(commit)
            stack.append(_lines_of(res["reads"], depth + 1))
    return "\n".join(lines)


def _lines_of(reads: Sequence[Mapping[str, Any]], depth: int) -> Iterator[tuple[int, str, str]]:
    """Yield depth and text, or depth and commit, for what one job has read."""
    groups: dict[tuple[str, tuple[str, ...]], list[Mapping[str, Any]]] = {}
    for read in reads:
        sources = tuple(source["commit"] for source in read["from"])
        groups.setdefault((read["role"], sources), []).append(read)
    for (role, sources), members in groups.items():
        noun = "" if role == "target" else f"{role}{'s' if len(members) > 1 else ''} "
        yield depth, f"{noun}{_paths([read['path'] for read in members])}", ""
        if not sources:
            is_outside = members[0]["path"].startswith(("/", "../"))
            yield depth + 1, "outside of the dataset" if is_outside else "not in these commits", ""
        for position, commit in enumerate(sources):
            files = [path for read in members for path in read["from"][position]["files"]]
            if len(sources) > 1:
                yield depth + 1, f"of these {_paths(files)}", ""
            yield depth + 1 + (len(sources) > 1), "", commit


def _paths(paths: Sequence[str]) -> str:
    shown = " ".join(as_line(path) or "." for path in paths[:_PATHS_SHOWN])
    more = len(paths) - _PATHS_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _maker(res: Mapping[str, Any], *, again: bool) -> str:
    commit = res["commit"][:10]
    if "label" not in res:
        return f'from no job: commit {commit} "{as_line(res["subject"])}", {res["date"][:10]}'
    name = f" {as_line(res['name'])}" if res["name"] else ""
    job = f"made by job {as_line(res['label'])}{name}, commit {commit}"
    if again:
        return f"{job}, see above"
    return f"{job}, {res['date'][:10]}, {as_line(res['slurm_state'])}: {as_line(res['cmd'])}"
