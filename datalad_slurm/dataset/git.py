"""The single place from which git and git-annex are started."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from datalad_slurm.jobs.errors import DatasetError

__all__ = [
    "IN_ORDER",
    "STATE_DIR",
    "Repo",
    "in_argument_chunks",
    "inherited",
    "nul_joined",
    "without_call_stack",
]

#: Has git-annex answer in the order in which it is asked: with any annex.jobs, be it 1, one of
#: 2025 answers as it gets done (seen with `git annex add --batch` of 10.20250416).
IN_ORDER = ("-c", "annex.jobs=")
#: Name of our directory inside a repository's git directory.
STATE_DIR = "datalad-slurm"
#: Bytes of paths on one command line, well below any limit.
_ARGUMENT_BYTES = 100_000
#: Variables by which a caller, such as a git hook, would redirect git elsewhere.
_REDIRECTING = frozenset(
    {
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_COMMON_DIR",
        "GIT_PREFIX",
        "GIT_NAMESPACE",
    }
)


_CALL_STACK = re.compile(r"CallStack \(from HasCallStack\):\n?(?:\s.*\n?)*")
_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
#: Descriptors that every git process keeps open.
_inherited: list[int] = []


@contextmanager
def inherited(descriptor: int) -> Iterator[None]:
    """Let all git processes that are started meanwhile have a file open."""
    _inherited.append(descriptor)
    try:
        yield
    finally:
        _inherited.remove(descriptor)


@dataclass(frozen=True)
class Repo:
    """A repository with a working tree.

    Parameters
    ----------
    root : Path
        Top of the working tree, symbolic links resolved.
    guest : str
        Given when the repository is a subdataset in which another dataset's
        jobs are committed: a name for that dataset, so that its files and refs
        do not meet those of the subdataset's own jobs.
    """

    root: Path
    guest: str = ""

    @cached_property
    def git_dir(self) -> Path:
        """The git directory of this working tree; ``.git`` may be a file that points to it."""
        dot_git = self.root / ".git"
        if dot_git.is_dir():
            return dot_git
        try:
            text = os.fsdecode(dot_git.read_bytes())
        except OSError as exc:
            raise DatasetError(f"{self.root} is not the top of a git repository") from exc
        return (self.root / text.removeprefix("gitdir:").strip()).resolve()

    @cached_property
    def common_dir(self) -> Path:
        """The git directory that all working trees of the repository share."""
        try:
            text = os.fsdecode((self.git_dir / "commondir").read_bytes())
        except OSError:
            return self.git_dir
        return (self.git_dir / text.strip()).resolve()

    @cached_property
    def registered_subdatasets(self) -> frozenset[str]:
        """Paths of subdatasets, whether they are here or not."""
        modules = self.root / ".gitmodules"
        if not modules.exists():
            return frozenset()
        pattern = r"^submodule\..*\.path$"
        listed = self.run(
            "config", "-z", "-f", str(modules), "--get-regexp", pattern, ok_codes=(0, 1)
        )
        paths = (entry.partition(b"\n")[2] for entry in listed.split(b"\0") if entry)
        return frozenset(os.fsdecode(path).strip("/") for path in paths)

    @property
    def state_dir(self) -> Path:
        """Where this extension keeps its files."""
        return self.git_dir / STATE_DIR / self.guest

    @property
    def private_refs(self) -> str:
        """Where commits grow until they are published."""
        # refs are those of all working trees, what is built is not
        tree = "" if self.git_dir == self.common_dir else f"-{self.git_dir.name}"
        return f"refs/datalad-slurm/{self.guest or 'own'}{tree}/"

    def state_file(self, name: str) -> Path:
        """Return the path of a file of ours; its directory is made."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        return self.state_dir / name

    @property
    def has_annex(self) -> bool:
        """Whether git-annex was initialised here."""
        return (self.common_dir / "annex").is_dir()

    def run(
        self,
        *args: str,
        input: bytes | None = None,
        env: Mapping[str, str] | None = None,
        ok_codes: Sequence[int] = (0,),
    ) -> bytes:
        """Run git in the working tree's top directory and return what it printed.

        Parameters
        ----------
        *args : str
            Arguments, or ``annex`` and its arguments.
        input : bytes, optional
            What git reads from stdin.
        env : mapping, optional
            Variables to add to the environment.
        ok_codes : sequence of int
            Exit codes that are no failure.

        Raises
        ------
        DatasetError
            When git cannot be started, or fails; holds its first words.
        """
        argv = ["git", "--literal-pathspecs", *args]
        try:
            done = subprocess.run(
                argv,
                cwd=self.root,
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                env=_environment(env),
                pass_fds=tuple(_inherited),
                check=False,
            )
        except OSError as exc:
            raise DatasetError(f"git could not be started: {exc.strerror}") from exc
        if done.returncode not in ok_codes:
            raise DatasetError(
                f"git {_subcommand(args)} failed: {_first_words(done.stderr, done.returncode)}"
            )
        return done.stdout

    def has_commit(self, commit: str) -> bool:
        """Return whether a commit is in the repository."""
        return self.ask("rev-parse", "--verify", "-q", f"{commit}^{{commit}}") is not None

    def head(self) -> str:
        """Return the commit that is checked out, or nothing before there is one.

        Where HEAD leads to a loose ref, which counts before any other
        (git-pack-refs(1)), two files tell, and no process is needed.
        """
        try:
            found = os.fsdecode((self.git_dir / "HEAD").read_bytes()).strip()
            if found.startswith("ref: refs/heads/"):
                name = found.removeprefix("ref: ")
                found = os.fsdecode((self.common_dir / name).read_bytes()).strip()
        except OSError:
            found = ""  # a packed ref, another format of refs, or a broken repository
        if _COMMIT.fullmatch(found):
            return found
        return self.ask("rev-parse", "-q", "--verify", "HEAD") or ""

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        """Start a git process to talk to through pipes."""
        try:
            return subprocess.Popen(
                ["git", *args],
                cwd=self.root,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(None),
                pass_fds=tuple(_inherited),
            )
        except OSError as exc:
            raise DatasetError(f"git could not be started: {exc.strerror}") from exc

    def ask(self, *args: str) -> str | None:
        """Return git's one-line answer, or None when it exits with 1 or has none to give."""
        answer = os.fsdecode(self.run(*args, ok_codes=(0, 1))).strip()
        return answer or None


def _subcommand(args: Sequence[str]) -> str:
    """Return git's command among its arguments, behind any ``-c name=value``."""
    position = 0
    while position < len(args) and args[position] == "-c":
        position += 2
    return args[position] if position < len(args) else ""


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name not in _REDIRECTING}
    # git's words are read here and there, and shown to users as they are
    return env | {"LC_ALL": "C.UTF-8", "GIT_TERMINAL_PROMPT": "0"} | dict(extra or {})


def _first_words(stderr: bytes, code: int) -> str:
    said = without_call_stack(os.fsdecode(stderr))
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return " / ".join(lines[:3]) if lines else f"exit code {code}"


def without_call_stack(text: str) -> str:
    """Return what git-annex said, without the place in its code where it has failed."""
    return _CALL_STACK.sub("", text)


def in_argument_chunks(paths: Iterable[str]) -> Iterator[list[str]]:
    """Yield lists of paths that fit on a command line."""
    chunk: list[str] = []
    size = 0
    for path in paths:
        size += len(os.fsencode(path)) + 1
        if chunk and size > _ARGUMENT_BYTES:
            yield chunk
            chunk, size = [], len(os.fsencode(path)) + 1
        chunk.append(path)
    if chunk:
        yield chunk


def nul_joined(paths: Iterable[str]) -> bytes:
    """Return paths for git or git-annex to read with ``-z``.

    Nothing follows the last one: git-annex would take the empty text there for a path.
    """
    return b"\0".join(map(os.fsencode, paths))
