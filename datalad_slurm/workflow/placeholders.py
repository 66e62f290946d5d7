"""Placeholders in commands, inputs and outputs, as `datalad run` knows them."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from datalad_slurm.jobs.errors import InvalidRequestError
from datalad_slurm.workflow.context import Outcome

__all__ = ["Placeholders", "message_of", "substitutions"]

_PREFIX = "datalad.run.substitutions."


def message_of(result: Mapping[str, Any]) -> str:
    """Return the message of a result of datalad's, which may come with values to fill in."""
    message = result.get("message") or ""
    return message[0] % message[1:] if isinstance(message, tuple) else str(message)


def substitutions(dataset: Any) -> dict[str, Any]:
    """Return the placeholders that are configured, with their values."""
    return {
        name.removeprefix(_PREFIX): value
        for name, value in dataset.config.items(_PREFIX.rstrip("."))
    }


class Placeholders:
    """Fills in placeholders and retrieves inputs.

    datalad's own code for this takes time to load, so it is loaded only where
    there is a brace or an input.

    Parameters
    ----------
    dataset : datalad.distribution.dataset.Dataset
        Holds ``datalad.run.substitutions``.
    cwd : Path
        Directory the command is for, in the dataset.
    inputs, outputs : sequence of str
        As typed, relative to `cwd`.
    tmpdir : Path
        What ``{tmpdir}`` stands for.
    top : Path, optional
        What stands for the dataset's root where the command runs, if not that itself.

    Raises
    ------
    InvalidRequestError
        When a placeholder is unknown.
    """

    def __init__(
        self,
        dataset: Any,
        cwd: Path,
        inputs: Sequence[str],
        outputs: Sequence[str],
        tmpdir: Path,
        *,
        top: Path | None = None,
    ) -> None:
        self._dataset = dataset
        self._cwd = cwd
        self._tmpdir = tmpdir
        self._dspath, self._pwd = str(dataset.path), str(cwd)
        if top is not None:
            self._dspath = str(top)
            self._pwd = str(top / cwd.relative_to(Path(dataset.path).resolve()))
        self._unformatted = {"inputs": list(inputs), "outputs": list(outputs)}
        self.inputs = self.formatted(inputs)
        self.outputs = self.formatted(outputs)

    @cached_property
    def _substitutions(self) -> dict[str, Any]:
        return substitutions(self._dataset)

    def formatted(self, specs: Sequence[str]) -> list[str]:
        """Return paths as typed with placeholders filled in.

        Raises
        ------
        InvalidRequestError
            When a placeholder is unknown.
        """
        if not any(brace in spec for spec in specs for brace in "{}"):
            return list(specs)
        values = self._substitutions | self._unformatted
        if len(specs) == 1 and isinstance(values.get(specs[0][1:-1]), list):
            return list(values[specs[0][1:-1]])  # "{outputs}" as input stands for all of them
        try:
            return [spec.format(**values) for spec in specs]
        except (KeyError, IndexError, ValueError, AttributeError) as exc:
            raise InvalidRequestError(_unknown("an input or output", exc)) from exc

    def check_command(self, cmd: str) -> Callable[[], str]:
        """Return a function that fills in the command, once inputs are there.

        It makes the directory for which ``{tmpdir}`` stands.

        Raises
        ------
        InvalidRequestError
            When the command has a placeholder that is unknown.
        """
        self._expanded(cmd, self._tmpdir)

        def expanded() -> str:
            if "{tmpdir}" in cmd:
                self._tmpdir.mkdir(parents=True, exist_ok=True)
            return self._expanded(cmd, self._tmpdir)

        return expanded

    def preview(self, cmd: str, tmpdir: Path | None = None) -> str:
        """Return a command as it would be run now; a {tmpdir} is named, not made.

        Raises
        ------
        InvalidRequestError
            When the command has a placeholder that is unknown.
        """
        return self._expanded(cmd, tmpdir or self._tmpdir)

    def expand(self, paths: Sequence[str]) -> list[str]:
        """Return inputs or outputs with globs replaced by what they match now."""
        if not any(map(glob.has_magic, paths)):
            return list(paths)
        from datalad.support.globbedpaths import GlobbedPaths

        return list(GlobbedPaths(paths, pwd=str(self._cwd)).expand())

    def expand_for_record(self, paths: Sequence[str]) -> list[str]:
        """Return paths with globs replaced, such that as globs they match themselves only."""
        return [
            glob.escape(path) if os.path.lexists(self._cwd / path) else path
            for path in self.expand(paths)
        ]

    def _expanded(self, cmd: str, tmpdir: Path) -> str:
        if not any(brace in cmd for brace in "{}"):
            return cmd
        from datalad.core.local.run import format_command
        from datalad.support.globbedpaths import GlobbedPaths

        globbed = {
            name: GlobbedPaths(paths, pwd=str(self._cwd))
            for name, paths in (("inputs", self.inputs), ("outputs", self.outputs))
        }
        try:
            expanded = format_command(
                self._dataset,
                cmd,
                pwd=self._pwd,
                dspath=self._dspath,
                tmpdir=str(tmpdir),
                **globbed,
            )
        except (KeyError, IndexError, ValueError, AttributeError) as exc:
            raise InvalidRequestError(_unknown("the command", exc)) from exc
        return str(expanded)

    def fetch_inputs(
        self,
        extra_inputs: Sequence[str],
        jobs: int | str | None = None,
        without: Collection[str] = (),
    ) -> Iterator[Outcome]:
        """Retrieve the content of inputs, and yield what came of each.

        Parameters
        ----------
        extra_inputs : sequence of str
            Further inputs, which no placeholder stands for.
        jobs : int or "auto", optional
            How many downloads may run at a time.
        without : collection of str
            Inputs that are left out.

        Raises
        ------
        InvalidRequestError
            When an input does not exist, or cannot be retrieved.
        """
        wanted = [
            [path for path in paths if path not in without] for paths in (self.inputs, extra_inputs)
        ]
        if not any(wanted):
            return
        from datalad.core.local.run import prepare_inputs
        from datalad.support.exceptions import FileNotInRepositoryError
        from datalad.support.globbedpaths import GlobbedPaths
        from datalad.utils import chpwd

        inputs, extra = (GlobbedPaths(paths, pwd=str(self._cwd)) for paths in wanted)
        # datalad resolves these paths against the working directory
        try:
            with chpwd(self._cwd):
                results = list(prepare_inputs(self._dataset.path, inputs, extra, jobs=jobs))
        except FileNotInRepositoryError as exc:
            raise InvalidRequestError(
                f"an input lies outside the dataset, behind a link: {exc.filename}"
            ) from exc
        for result in results:
            text = message_of(result)
            path = Path(result.get("path", ""))
            if result["status"] in ("error", "impossible"):
                said = text or result["status"]
                raise InvalidRequestError(f"cannot get the content of an input: {said} ({path})")
            root = Path(self._dataset.path)
            if result["status"] == "ok" and path.is_relative_to(root):
                where = str(path.relative_to(root))
                yield Outcome(result["action"], "ok", text, where, result.get("type", "file"))


def _unknown(where: str, exc: Exception) -> str:
    return (
        f"{where} has a placeholder that cannot be filled in: {exc}; a brace that stands for "
        "itself is typed twice, as {{ or }}"
    )
