"""Pages of the documentation, typed into a shell and compared with what it prints.

Of a page in MyST Markdown these count, in their order:

- Blocks of ``console``: a line that begins with ``$`` is typed (one that ends in a backslash
  goes on in the next line), and what follows is what it must print. An exit status other
  than 0 is an error unless a result is shown that is ``(impossible)`` or an ``(error)``.
- Blocks with a ``:caption:``: a file of that name is written.
- ``<!-- not executed: REASON -->`` leaves out the next block of ``console``.
- ``<!-- beforehand: COMMAND -->``: typed, whatever it prints.

In what must be printed, ``...`` stands for anything within a line, and a line of it for any
lines; two or more blanks for any number, a date or time for any, the name of an archived file for
any, and RUNNING for the state of a job on its way to COMPLETED. Ids of jobs and commits are
others in each run: each stands for what was first found in its place, in commands as well. The
directory in which a page begins is below ``/home/me``.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Command", "Comparison", "File", "NotExecuted", "Shell", "read_page", "type_page"]

_HOME = "/home/me"
_FENCE = re.compile(r"```(\{code-block\} \w+|\w+)$")
_BEFOREHAND = re.compile(r"<!-- beforehand: (.+) -->$")
_NOT_EXECUTED = re.compile(r"<!-- not executed: (.+) -->$")
_JOB = re.compile(r"(?:Slurm|batch) job (\d+)")
_ID = r"(?<!\d)(?:{})(?!\d)"
_COMMIT = r"\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{7,40}\b"
_ARCHIVED = r"archive/[0-9a-f]{2}/[0-9a-f]+"
_ANY_LINES = r"[\s\S]*?"
_TIME = r"(?:\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d:\d\d)?|(?:\d+-)?\d+:\d\d(?::\d\d)?)"
#: What varies: as a page shows it, and as it may be printed.
_VARYING = {
    "any": (r"\.{3}", r".*?"),
    "archived": (_ARCHIVED, _ARCHIVED),
    "blanks": (r" {2,}", r" +"),
    "state": (r"RUNNING", r"(?:PENDING|CONFIGURING|RUNNING|COMPLETING|COMPLETED)"),
    "time": (_TIME, _TIME),
}


@dataclass(frozen=True)
class Command:
    """What is typed, and what it must print."""

    line: int
    typed: str
    printed: str


@dataclass(frozen=True)
class File:
    """A file that is written."""

    name: str
    text: str


@dataclass(frozen=True)
class NotExecuted:
    """A block that is not typed."""

    reason: str


def read_page(text: str) -> Iterator[Command | File | NotExecuted]:
    """Yield what is to be done for a page."""
    reason = ""
    numbered = enumerate(text.splitlines(), 1)
    for number, line in numbered:
        if found := _NOT_EXECUTED.match(line):
            reason = found[1]
        elif found := _BEFOREHAND.match(line):
            yield Command(number, found[1], "...")
        elif found := _FENCE.match(line):
            block = []
            for _, inner in numbered:
                if inner == "```":
                    break
                block.append(inner)
            if found[1] != "console":
                yield from _file(block)
            elif reason:
                yield NotExecuted(reason)
                reason = ""
            else:
                yield from _commands(block, number + 1)


def _file(block: list[str]) -> Iterator[File]:
    if block and block[0].startswith(":caption: "):
        content = block[2:] if len(block) > 1 and not block[1] else block[1:]
        yield File(block[0].removeprefix(":caption: "), "\n".join(content) + "\n")


def _commands(block: list[str], first_line: int) -> Iterator[Command]:
    for found in re.finditer(r"^\$ ((?:.*\\\n)*.*)\n?((?:(?!\$ ).*\n?)*)", "\n".join(block), re.M):
        line = first_line + found.string.count("\n", 0, found.start())
        yield Command(line, found[1], found[2].rstrip("\n"))


class Shell:
    """One bash, so that its directory and variables hold from command to command."""

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc"], cwd=directory, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def type(self, command: str) -> tuple[str, int]:
        """Run a command; return what it printed, and its exit status."""
        mark = "=== exit status"
        self._process.stdin.write(
            f"eval {shlex.quote(command)} </dev/null; printf '\\n{mark} %d\\n' $?\n"
        )
        self._process.stdin.flush()
        printed = []
        for line in self._process.stdout:
            if line.startswith(mark):
                return "".join(printed).rstrip("\n"), int(line.removeprefix(mark))
            printed.append(line)
        raise AssertionError(f"the shell has ended during: {command}")


class Comparison:
    """Compares what a page shows with what was printed, and learns which ids stand for which."""

    def __init__(self, page: str) -> None:
        jobs = sorted(set(_JOB.findall(page)), key=len, reverse=True)
        id_of_job = _ID.format("|".join(jobs)) if jobs else r"(?!)"
        self._id = re.compile(rf"(?P<commit>{_COMMIT})|(?P<job>{id_of_job})")
        kinds = (f"(?P<{name}>{shown})" for name, (shown, _) in _VARYING.items())
        self._varying = re.compile("|".join([self._id.pattern, *kinds]))
        self._known: dict[str, str] = {}

    def typed(self, command: str) -> str:
        """Return a command of the page with the ids that are known by now."""
        return self._id.sub(lambda found: self._known.get(_key(found[0]), found[0]), command)

    def agrees(self, shown: str, printed: str) -> bool:
        """Return whether what a page shows is what was printed."""
        new: list[str] = []
        pattern = "\n".join(self._pattern(line, new) for line in shown.splitlines())
        pattern = pattern.replace("\n" + _ANY_LINES, f"(?:\n{_ANY_LINES})?")
        found = re.fullmatch(pattern, "\n".join(map(str.rstrip, printed.splitlines())))
        if found:
            self._known |= dict(zip(new, found.groups(), strict=True))
        return found is not None

    def _pattern(self, line: str, new: list[str]) -> str:
        """Return a line as a regular expression, with a group for each id in `new`."""
        if line.strip() == "...":
            return _ANY_LINES
        parts, end = [], 0
        for found in self._varying.finditer(line):
            parts.append(re.escape(line[end : found.start()]))
            parts.append(self._part(found, new))
            end = found.end()
        return "".join([*parts, re.escape(line[end:])])

    def _part(self, found: re.Match[str], new: list[str]) -> str:
        if found.lastgroup in _VARYING:
            return _VARYING[found.lastgroup][1]
        key = _key(found[0])
        if key in self._known:
            known = self._known[key]
            return re.escape(known[:7]) + "[0-9a-f]*" if found["commit"] else re.escape(known)
        if key in new:
            return rf"(?:\{new.index(key) + 1})"
        new.append(key)
        return r"([0-9a-f]{7,40})" if found["commit"] else r"(\d+)"


def _key(token: str) -> str:
    """Return what is common to a commit's name and its abbreviations."""
    return token[:7]


def type_page(text: str, directory: Path, home: Path) -> None:
    """Do all that a page says; fail where something else is printed than it shows.

    Parameters
    ----------
    text : str
        The page.
    directory : pathlib.Path
        Where it begins.
    home : pathlib.Path
        What is called ``/home/me`` in it.
    """
    comparison = Comparison(text)
    with Shell(directory) as shell:
        for step in read_page(text):
            if isinstance(step, File):
                _write(shell, step)
            elif isinstance(step, Command):
                _type(shell, comparison, step, str(home))


def _write(shell: Shell, file: File) -> None:
    where, _ = shell.type("pwd")
    path = Path(where, file.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(file.text)


def _type(shell: Shell, comparison: Comparison, command: Command, home: str) -> None:
    printed, status = shell.type(comparison.typed(command.typed).replace(_HOME, home))
    printed = printed.replace(home, _HOME)
    place = f"line {command.line}: {command.typed}"
    told = f"{place}\n--- shown:\n{command.printed}\n--- printed:\n{printed}"
    assert comparison.agrees(command.printed, printed), told
    is_announced = re.search(r"\((impossible|error)\)", command.printed)
    assert status == 0 or is_announced, f"exit status {status} of {told}"
