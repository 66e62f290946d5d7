"""Run a command that ends in ``sbatch``, and learn which jobs it submitted."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from datalad_slurm.jobs.names import JobName

__all__ = [
    "NotedCall",
    "Notes",
    "Submission",
    "parse_printed",
    "read_notes",
    "sbatch_path",
    "submit",
]

_SHIM_DIR = Path(__file__).resolve().parent / "shim"
#: sbatch(1): "Submitted batch job 12", with -M "... on cluster c1"; --parsable "12" or "12;c1"
_VERBOSE = re.compile(r"Submitted batch job (\d{1,18})(?!\d)(?: on cluster (\S+))?")
_PARSABLE = re.compile(r"(\d{1,18})(?:;(\S+))?", re.ASCII)


class NotedCall(NamedTuple):
    """One call of sbatch, as our own noted it."""

    cwd: str
    args: tuple[str, ...]
    jobs: tuple[JobName, ...]
    #: when sbatch had not read its script yet (ns since the epoch)
    noted_at: int


class Notes(NamedTuple):
    """What calls of sbatch have left so far, the oldest first."""

    calls: tuple[NotedCall, ...]
    #: all that were announced
    jobs: tuple[JobName, ...]
    #: whether a call began, but announced nothing: it may have been killed, or have
    #: failed after the controller took the job
    is_in_doubt: bool


class Submission(NamedTuple):
    """What came of running a command."""

    jobs: tuple[JobName, ...]
    exit_code: int
    #: the command's last words on stderr, or else on stdout
    said: str
    #: whether sbatch ran and it is not known what became of it
    is_in_doubt: bool = False
    #: whether our sbatch saw the jobs; else they are only what the command printed
    is_noted: bool = True
    #: whether Ctrl-C was typed meanwhile
    is_interrupted: bool = False
    #: how sbatch was called, as our own noted it
    calls: tuple[NotedCall, ...] = ()


def sbatch_path() -> str | None:
    """Return the path of the sbatch that a command would find, if any."""
    return shutil.which("sbatch")


def parse_printed(text: str) -> list[JobName]:
    """Return the jobs that are announced in what sbatch, or a wrapper, printed.

    A bare number counts only where no line is sbatch's own, and only when
    there is one such line: wrappers print all sorts of numbers.
    """
    found = [JobName(int(m[1]), m[2] or "") for m in _VERBOSE.finditer(text)]
    if found:
        return list(dict.fromkeys(found))
    bare = [m for line in text.splitlines() if (m := _PARSABLE.fullmatch(line.strip()))]
    return [JobName(int(bare[0][1]), bare[0][2] or "")] if len(bare) == 1 else []


def submit(command: str, cwd: Path, token: str, notes: Path) -> Submission:
    """Run `command` in a shell, as `datalad run` does, with our sbatch first on its PATH.

    Parameters
    ----------
    command : str
        What the user typed, placeholders filled in.
    cwd : Path
        Directory to run it in.
    token : str
        Travels with each submitted job as its comment, and in its SubmitLine.
    notes : Path
        An existing directory; each call of sbatch leaves a note in it. As long
        as the command or a child of it lives, its file ``alive`` is locked.

    Notes
    -----
    What the command prints is passed on to stderr while it runs: stdout
    belongs to DataLad's results.
    """
    env = dict(os.environ)
    env["PATH"] = f"{_SHIM_DIR}:{env.get('PATH', os.defpath)}"
    env["DATALAD_SLURM_TOKEN"] = token
    env["DATALAD_SLURM_NOTES"] = str(notes)
    with (notes / "alive").open("w") as alive:
        fcntl.flock(alive, fcntl.LOCK_SH)
        child = subprocess.Popen(  # noqa: S602 - the user's own command, as `datalad run` has it
            command,
            shell=True,
            cwd=cwd,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # An inherited lock outlives us: a later command sees that sbatch still runs.
            pass_fds=(alive.fileno(),),
        )
        with _relayed(child) as (out, err), _survives_interrupt(child) as interrupts:
            child.wait()
    printed = os.fsdecode(b"".join(out))
    noted = read_notes(notes)
    jobs = noted.jobs or tuple(parse_printed(printed))
    said = os.fsdecode(b"".join(err)).strip() or printed.strip()
    words = "; ".join(line.strip() for line in said.splitlines() if line.strip())
    return Submission(
        jobs,
        child.returncode,
        words,
        noted.is_in_doubt,
        is_noted=bool(noted.jobs),
        is_interrupted=bool(interrupts),
        calls=noted.calls,
    )


def read_notes(notes: Path) -> Notes:
    """Return what calls of sbatch have left in a directory so far.

    Each note is looked at once, as a command may submit thousands of jobs.
    """
    calls: list[NotedCall] = []
    jobs: dict[JobName, None] = {}
    is_in_doubt = False
    with suppress(FileNotFoundError):  # settled and dropped by somebody else meanwhile
        names = set(os.listdir(notes))  # noqa: PTH208 - names suffice
        for moment, call in _by_age(notes, names):
            announced = _announced(notes / f"{call}.printed")
            if f"{call}.begun" in names:
                jobs |= dict.fromkeys(announced)
                is_in_doubt = is_in_doubt or not announced
            if f"{call}.args" in names:
                words = os.fsdecode((notes / f"{call}.args").read_bytes())
                cwd, *args = words.removesuffix("\0").split("\0")
                calls.append(NotedCall(cwd, tuple(args), tuple(announced), moment))
    return Notes(tuple(calls), tuple(jobs), is_in_doubt)


def _by_age(notes: Path, names: Collection[str]) -> list[tuple[int, str]]:
    """Return when calls of sbatch were noted (ns), and what their notes are called."""
    found = []
    for call in {name.rpartition(".")[0] for name in names if name.endswith((".args", ".begun"))}:
        kind = "args" if f"{call}.args" in names else "begun"
        found.append(((notes / f"{call}.{kind}").stat().st_mtime_ns, call))
    return sorted(found)


def _announced(printed: Path) -> list[JobName]:
    """Return the jobs that a call of sbatch announced so far."""
    try:
        return parse_printed(printed.read_text(errors="replace"))
    except FileNotFoundError:
        return []


def is_alive(notes: Path) -> bool:
    """Return whether a command that was started with these notes still runs.

    On file systems whose locks are local to a node (``localflock``) this sees
    only processes of the same node.
    """
    try:
        with (notes / "alive").open("r") as alive:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def began(notes: Path) -> int | None:
    """Return when a command with these notes was run, by their file system's clock (ns)."""
    try:
        return (notes / "alive").stat().st_ctime_ns
    except FileNotFoundError:
        return None


@contextmanager
def _relayed(child: subprocess.Popen[bytes]) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Pass on what `child` prints and keep it."""
    kept: tuple[list[bytes], list[bytes]] = ([], [])

    def relay(stream: IO[bytes] | None, chunks: list[bytes]) -> None:
        assert stream is not None  # noqa: S101 - both were opened as pipes
        while chunk := os.read(stream.fileno(), 65536):
            chunks.append(chunk)
            sys.stderr.write(os.fsdecode(chunk).encode(errors="replace").decode())
            sys.stderr.flush()

    threads = [
        threading.Thread(target=relay, args=args, daemon=True)
        for args in ((child.stdout, kept[0]), (child.stderr, kept[1]))
    ]
    for thread in threads:
        thread.start()
    yield kept
    # A background process of the command's may keep the pipes open for ever.
    for thread in threads:
        thread.join(timeout=5)


@contextmanager
def _survives_interrupt(child: subprocess.Popen[bytes]) -> Iterator[list[KeyboardInterrupt]]:
    """Let an interrupt reach the command, which got it too, but see it through; yields it.

    sbatch may have submitted just before; only when it has ended is that known.
    """
    caught: list[KeyboardInterrupt] = []
    try:
        yield caught
    except KeyboardInterrupt as exc:
        caught.append(exc)
        child.wait()
